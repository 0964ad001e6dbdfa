package jetstream

import (
	"context"
	"errors"
	"time"

	natsjs "github.com/nats-io/nats.go/jetstream"
)

const (
	openPatience = 30 * time.Second // for servers that elect a leader, and for other workers that make the bucket at this moment
	openEvery    = 250 * time.Millisecond
	openTimeout  = 3 * time.Second // of one try: with replicas a stream is made by several servers
)

// ensure makes the bucket's stream or brings it up to its configuration. What passes by itself is waited for: a cluster that elects
// a leader, and room that the server reserves twice while several workers make the bucket at once (10047).
func ensure(ctx context.Context, js natsjs.JetStream, config natsjs.StreamConfig) (natsjs.Stream, error) {
	patience, cancel := context.WithTimeout(ctx, openPatience)
	defer cancel()
	for {
		within, done := context.WithTimeout(patience, openTimeout)
		stream, err := js.CreateOrUpdateStream(within, config)
		done()
		if err == nil || !passing(err) {
			return stream, err
		}
		select {
		case <-time.After(openEvery):
		case <-patience.Done():
			return nil, err
		}
	}
}

// passing tells whether an error may go away by itself.
func passing(err error) bool {
	const (
		codeNotAvailable    natsjs.ErrorCode = 10008 // the meta leader is not elected
		codeNoPeers         natsjs.ErrorCode = 10005 // servers of the cluster are not up yet
		codeStorageExceeded natsjs.ErrorCode = 10047
	)
	var refusal *natsjs.APIError
	if errors.As(err, &refusal) {
		return refusal.ErrorCode == codeNotAvailable || refusal.ErrorCode == codeNoPeers || refusal.ErrorCode == codeStorageExceeded
	}
	return errors.Is(err, context.DeadlineExceeded)
}
