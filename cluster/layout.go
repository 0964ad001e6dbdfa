package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// bucketName is the KV bucket with the layout and the leases.
const bucketName = "hy_cluster"

const layoutKey = "layout"

// layoutVersion is the version of the record itself; a higher one is from a later Hongyan.
const layoutVersion = 1

// Layout is what is fixed for the life of the log. It is recorded once, by compare-and-set, and every role checks it at start:
// with another number of partitions users would be read by one actor and written by another.
type Layout struct {
	Partitions int       `json:"partitions"`
	Streams    int       `json:"streams"`
	Created    time.Time `json:"created"`
	Version    int       `json:"version"`
}

// ErrLayout says that the log was made with another layout than the configuration asks for.
var ErrLayout = errors.New("the log's layout differs from the configuration")

// CheckLayout records want if nothing is recorded yet, and compares it otherwise; only Partitions and Streams of want count.
// It returns what is recorded. The bucket is created with that many replicas if it is missing.
func CheckLayout(ctx context.Context, conn *nats.Conn, want Layout, replicas int) (Layout, error) {
	bucket, err := openBucket(ctx, conn, replicas)
	if err != nil {
		return Layout{}, err
	}
	return checkLayout(ctx, bucket, want)
}

func checkLayout(ctx context.Context, bucket jetstream.KeyValue, want Layout) (Layout, error) {
	want.Created, want.Version = time.Now().UTC().Truncate(time.Second), layoutVersion
	value, err := json.Marshal(want)
	if err != nil {
		return Layout{}, fmt.Errorf("encode the layout: %w", err)
	}
	_, err = bucket.Create(ctx, layoutKey, value)
	if err == nil {
		return want, nil
	}
	if !errors.Is(err, jetstream.ErrKeyExists) {
		return Layout{}, fmt.Errorf("record the layout in bucket %s: %w", bucketName, err)
	}
	entry, err := bucket.Get(ctx, layoutKey)
	if err != nil {
		return Layout{}, fmt.Errorf("read the layout in bucket %s: %w", bucketName, err)
	}
	var have Layout
	if err := json.Unmarshal(entry.Value(), &have); err != nil {
		return Layout{}, fmt.Errorf("key %s of bucket %s is not a layout: %w", layoutKey, bucketName, err)
	}
	switch {
	case have.Version > layoutVersion:
		return have, fmt.Errorf("%w: it was written in version %d, this program knows version %d: start a newer one",
			ErrLayout, have.Version, layoutVersion)
	case have.Partitions != want.Partitions:
		return have, fmt.Errorf("%w: the log has %d partitions, the configuration asks for %d: set cluster.partitions to %d, or start with an empty data folder",
			ErrLayout, have.Partitions, want.Partitions, have.Partitions)
	case have.Streams != want.Streams:
		return have, fmt.Errorf("%w: the log is split into %d streams, this program expects %d: start it on an empty log",
			ErrLayout, have.Streams, want.Streams)
	}
	return have, nil
}

func openBucket(ctx context.Context, conn *nats.Conn, replicas int) (jetstream.KeyValue, error) {
	js, err := jetstream.New(conn)
	if err != nil {
		return nil, fmt.Errorf("open the bucket %s: %w", bucketName, err)
	}
	bucket, err := js.KeyValue(ctx, bucketName)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		bucket, err = js.CreateKeyValue(ctx, jetstream.KeyValueConfig{
			Bucket:      bucketName,
			Description: "Hongyan: layout of the log, owners of the partitions",
			History:     1,
			Storage:     jetstream.FileStorage,
			Replicas:    max(replicas, 1),
		})
		if errors.Is(err, jetstream.ErrBucketExists) { // another node was faster
			bucket, err = js.KeyValue(ctx, bucketName)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open the bucket %s: %w", bucketName, err)
	}
	return bucket, nil
}
