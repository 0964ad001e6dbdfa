package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"hongyan/stream"
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
// Streams 0 takes what is recorded, else one stream for each replica, so that every server leads one. It returns what is
// recorded. The bucket is made with that many replicas, or changed to them.
func CheckLayout(ctx context.Context, conn *nats.Conn, want Layout, replicas int) (Layout, error) {
	bucket, err := openBucket(ctx, conn, replicas)
	if err != nil {
		return Layout{}, err
	}
	return checkLayout(ctx, bucket, want, replicas)
}

func checkLayout(ctx context.Context, bucket jetstream.KeyValue, want Layout, replicas int) (Layout, error) {
	next := Layout{
		Partitions: want.Partitions, Streams: want.Streams, Created: time.Now().UTC().Truncate(time.Second), Version: layoutVersion,
	}
	if next.Streams == 0 {
		next.Streams = max(replicas, 1)
	}
	value, err := json.Marshal(next)
	if err != nil {
		return Layout{}, fmt.Errorf("encode the layout: %w", err)
	}
	_, err = bucket.Create(ctx, layoutKey, value)
	if err == nil {
		return next, nil
	}
	if !errors.Is(err, jetstream.ErrKeyExists) {
		return Layout{}, fmt.Errorf("record the layout in bucket %s: %w", bucketName, err)
	}
	have, recorded, err := readLayout(ctx, bucket)
	if err != nil {
		return Layout{}, err
	}
	if !recorded {
		return Layout{}, fmt.Errorf("record the layout in bucket %s: it is there and cannot be read back; start again", bucketName)
	}
	return have, have.Fits(want)
}

// Fits compares what is recorded with what the configuration wants.
func (have Layout) Fits(want Layout) error {
	switch {
	case have.Version > layoutVersion:
		return fmt.Errorf("%w: it was written in version %d, this program knows version %d: start a newer one",
			ErrLayout, have.Version, layoutVersion)
	case have.Partitions != want.Partitions:
		return fmt.Errorf("%w: the log has %d partitions, the configuration asks for %d: set cluster.partitions to %d, or start with an empty data folder",
			ErrLayout, have.Partitions, want.Partitions, have.Partitions)
	case want.Streams != 0 && have.Streams != want.Streams:
		return fmt.Errorf("%w: the log is split into %d streams, the configuration asks for %d: set nats.streams to %d or to 0, or start on an empty log",
			ErrLayout, have.Streams, want.Streams, have.Streams)
	}
	return nil
}

// RecordedLayout is the layout as it stands in the bucket; false where no worker has recorded one yet. It changes nothing.
func RecordedLayout(ctx context.Context, conn *nats.Conn) (Layout, bool, error) {
	js, err := jetstream.New(conn)
	if err != nil {
		return Layout{}, false, fmt.Errorf("open the bucket %s: %w", bucketName, err)
	}
	bucket, err := js.KeyValue(ctx, bucketName)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return Layout{}, false, nil
	}
	if err != nil {
		return Layout{}, false, fmt.Errorf("open the bucket %s: %w", bucketName, err)
	}
	return readLayout(ctx, bucket)
}

func readLayout(ctx context.Context, bucket jetstream.KeyValue) (Layout, bool, error) {
	entry, err := bucket.Get(ctx, layoutKey)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return Layout{}, false, nil
	}
	if err != nil {
		return Layout{}, false, fmt.Errorf("read the layout in bucket %s: %w", bucketName, err)
	}
	var have Layout
	if err := json.Unmarshal(entry.Value(), &have); err != nil {
		return Layout{}, false, fmt.Errorf("key %s of bucket %s is not a layout: %w", layoutKey, bucketName, err)
	}
	return have, true, nil
}

// layoutPoll is how often WaitLayout looks.
const layoutPoll = 250 * time.Millisecond

// WaitLayout is for an ingress: it waits until a worker has recorded the layout, which it does once the log and the checkpoints
// are there, and compares it with want as CheckLayout does. A server that cannot be asked is waited for too. It says once what
// it waits for. It ends with ctx.
func WaitLayout(ctx context.Context, conn *nats.Conn, want Layout, logger *slog.Logger) (Layout, error) {
	var last error
	for said := false; ; said = true {
		asking, cancel := context.WithTimeout(ctx, 2*storeTimeout)
		have, recorded, err := RecordedLayout(asking, conn)
		cancel()
		if err == nil && recorded {
			return have, have.Fits(want)
		}
		last = err
		if !said {
			logger.Info("waiting for a worker to record the log's layout; start a node with the role worker if there is none",
				"bucket", bucketName, "error", err)
		}
		select {
		case <-time.After(layoutPoll):
		case <-ctx.Done():
			return Layout{}, fmt.Errorf("no worker has recorded the log's layout in bucket %s: %w", bucketName, errors.Join(context.Cause(ctx), last))
		}
	}
}

// openBucket opens the bucket with the layout and the leases, and makes it where there is none. Of more than one replica only
// the leader answers: a follower may tell what was true a moment ago, and a lease that is read must not be older than the epoch
// that follows from it.
func openBucket(ctx context.Context, conn *nats.Conn, replicas int) (jetstream.KeyValue, error) {
	replicas = max(replicas, 1)
	js, err := jetstream.New(conn)
	if err != nil {
		return nil, fmt.Errorf("open the bucket %s: %w", bucketName, err)
	}
	want := jetstream.StreamConfig{
		Name:              "KV_" + bucketName,
		Description:       "Hongyan: layout of the log, owners of the partitions",
		Subjects:          []string{"$KV." + bucketName + ".>"},
		MaxMsgsPerSubject: 1,
		MaxBytes:          -1,
		MaxMsgSize:        -1,
		MaxMsgs:           -1,
		MaxConsumers:      -1,
		Storage:           jetstream.FileStorage,
		Discard:           jetstream.DiscardNew,
		Replicas:          replicas,
		AllowRollup:       true,
		DenyDelete:        true,
		AllowDirect:       replicas == 1,
	}
	if err := patiently(ctx, func(ctx context.Context) error { return ensureStream(ctx, js, want) }); err != nil {
		return nil, fmt.Errorf("open the bucket %s: %w; check that NATS runs with JetStream and at least %d server(s)", bucketName, err, replicas)
	}
	var bucket jetstream.KeyValue
	err = patiently(ctx, func(ctx context.Context) (err error) {
		bucket, err = js.KeyValue(ctx, bucketName)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open the bucket %s: %w", bucketName, err)
	}
	return bucket, nil
}

// How long the bucket may take to come up: a cluster of NATS servers elects a leader in 4 to 6 s, and in more on a busy machine.
const (
	bucketPatience = 30 * time.Second
	bucketEvery    = 250 * time.Millisecond
)

// patiently repeats a step while its error is one that goes away by itself.
func patiently(ctx context.Context, step func(context.Context) error) error {
	patience, cancel := context.WithTimeout(ctx, bucketPatience)
	defer cancel()
	for {
		within, done := context.WithTimeout(patience, 3*storeTimeout)
		err := step(within)
		done()
		if err == nil || !stream.ComingUp(err) {
			return err
		}
		select {
		case <-time.After(bucketEvery):
		case <-patience.Done():
			return err
		}
	}
}

// ensureStream makes the stream, or changes how many replicas an existing one has.
func ensureStream(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig) error {
	found, err := js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		_, err = js.CreateStream(ctx, want)
		if !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return err //nolint:wrapcheck // openBucket says what it was for
		}
		found, err = js.Stream(ctx, want.Name) // another node was faster
	}
	if err != nil {
		return err //nolint:wrapcheck // as above
	}
	have := found.CachedInfo().Config
	if have.Replicas == want.Replicas && have.AllowDirect == want.AllowDirect {
		return nil
	}
	have.Replicas, have.AllowDirect = want.Replicas, want.AllowDirect
	_, err = js.UpdateStream(ctx, have)
	return err //nolint:wrapcheck // as above
}
