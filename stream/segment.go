package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// segment is one stream of the log, or that of the dead letters.
type segment struct {
	name     string
	subjects []string
	probe    string // the subject of this node's probe; empty for dead letters
	maxBytes int64
	stream   jetstream.Stream
	full     atomic.Bool // the last entry was refused for want of space
	litter   atomic.Bool // a probe may have stayed in the stream

	// Of the dead letters alone: one version is kept per subject, and Bury leaves room for new versions.
	perSubject int64
	size       atomic.Int64 // bytes, as Run last saw them
	grown      atomic.Int64 // bytes that this process wrote since then
}

// SegmentName is the name of the log's i-th stream of several.
func SegmentName(i, streams int) string {
	if streams <= 1 {
		return InStream
	}
	return fmt.Sprintf("%s_%d", InStream, i)
}

// segments are the log's streams as the options want them. One stream has all of hy.in; several list their partitions one by
// one, so that the server itself refuses another layout beside an older one: the subjects would overlap.
func segments(opts Options) []*segment {
	out := make([]*segment, opts.Streams)
	for i := range out {
		out[i] = &segment{
			name: SegmentName(i, opts.Streams), subjects: []string{inPrefix + ">"},
			probe: fmt.Sprintf("%sprobe.%d.%s", inPrefix, i, subjectToken(opts.Node)), maxBytes: opts.MaxBytes / int64(opts.Streams),
		}
		if opts.Streams == 1 {
			continue
		}
		out[i].subjects = []string{fmt.Sprintf("%sprobe.%d.*", inPrefix, i)}
		for p := i; p < opts.Partitions; p += opts.Streams {
			out[i].subjects = append(out[i].subjects, partitionFilter(p))
		}
	}
	return out
}

// subjectToken is a node's name with nothing in it that a subject gives a meaning to.
func subjectToken(node string) string {
	fit := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '_'
	}, node)
	if fit == "" {
		return "_"
	}
	return fit
}

// How long Open waits for each stream of a cluster that is still coming up, how often it asks, and how long one question may take: a
// cluster that has just elected its leader may make a stream and never say so, and the next question finds it.
const (
	openPatience = 30 * time.Second
	openEvery    = 500 * time.Millisecond
	openTimeout  = 3 * time.Second
)

// open finds or makes all streams.
func (l *Log) open(ctx context.Context) error {
	l.in = segments(l.opts)
	l.dead = &segment{name: DeadStream, subjects: []string{deadPrefix + ">"}, maxBytes: l.opts.DeadMaxBytes, perSubject: 1}
	for _, s := range append(slices.Clone(l.in), l.dead) {
		until := time.Now().Add(openPatience)
		for logged := false; ; {
			err := l.openSegment(ctx, s)
			if err == nil {
				break
			}
			if !ComingUp(err) || ctx.Err() != nil || time.Now().After(until) {
				return err
			}
			if !logged {
				l.opts.Logger.Warn("the log's servers are not ready yet; asking again", "stream", s.name, "error", err)
				logged = true
			}
			select {
			case <-time.After(openEvery):
			case <-ctx.Done():
			}
		}
	}
	return nil
}

func (l *Log) openSegment(ctx context.Context, s *segment) (err error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	if l.opts.Attach {
		s.stream, err = l.attach(ctx, s)
		return err
	}
	s.stream, err = l.ensure(ctx, s)
	return err
}

// ensure makes a stream, or takes the one that is there and gives it our cap and replicas. Limits retention with discard-new:
// a full stream refuses, and nothing that was accepted is ever pushed out (facts: a full disk wedges the server, a full stream
// fails cleanly).
func (l *Log) ensure(ctx context.Context, s *segment) (jetstream.Stream, error) {
	if found, err := l.js.Stream(ctx, s.name); err == nil {
		if err := s.fits(found); err != nil {
			return nil, err
		}
	} else if !errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, fmt.Errorf("look for stream %s: %w", s.name, err)
	}
	stream, err := l.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name:        s.name,
		Description: "Hongyan: " + strings.TrimSuffix(s.subjects[0], ".>"),
		Subjects:    s.subjects,
		Retention:   jetstream.LimitsPolicy,
		Discard:     jetstream.DiscardNew,
		MaxBytes:    s.maxBytes,
		MaxMsgSize:  1 << 20,
		// Of a dead letter only the newest version stays: whether it was taken up is part of it.
		MaxMsgsPerSubject: s.perSubject,
		Storage:           jetstream.FileStorage,
		Replicas:          l.opts.Replicas,
		// A follower answers direct reads with what was true a moment ago: with replicas the leader is asked.
		AllowDirect: l.opts.Replicas == 1,
	})
	var refusal *jetstream.APIError
	switch {
	case err == nil:
		return stream, nil
	case errors.As(err, &refusal) && refusal.ErrorCode == codeSubjectsOverlap:
		return nil, fmt.Errorf("%w: stream %s (%d of them) meets others with the same subjects; nats.streams and cluster.partitions "+
			"are fixed for the life of a log: set them as they were, or remove the old log (%w)", ErrLayout, s.name, l.opts.Streams, err)
	default:
		return nil, fmt.Errorf("open stream %s with a cap of %d bytes and %d replica(s): %w; check that the servers are as many, "+
			"and that their JetStream limits have room for it", s.name, s.maxBytes, l.opts.Replicas, err)
	}
}

// attach looks a stream up.
func (l *Log) attach(ctx context.Context, s *segment) (jetstream.Stream, error) {
	found, err := l.js.Stream(ctx, s.name)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return nil, fmt.Errorf("%w: no stream %s; start a worker, which makes it, and check that nats.streams is the same there",
			ErrMissing, s.name)
	case err != nil:
		return nil, fmt.Errorf("look for stream %s: %w", s.name, err)
	}
	return found, s.fits(found)
}

// fits tells whether a stream that is there has the subjects that this layout gives it.
func (s *segment) fits(found jetstream.Stream) error {
	have, want := slices.Clone(found.CachedInfo().Config.Subjects), slices.Clone(s.subjects)
	slices.Sort(have)
	slices.Sort(want)
	if slices.Equal(have, want) {
		return nil
	}
	return fmt.Errorf("%w: stream %s has %d subject(s) and would have %d; nats.streams and cluster.partitions are fixed for the life of "+
		"a log: set them as they were, or remove the old log", ErrLayout, s.name, len(have), len(want))
}

// ComingUp tells whether an error may go away by itself while servers start (no leader, too few servers, no answer), or while several
// workers make the stream at once: the server then reserves its room for each of them.
func ComingUp(err error) bool {
	var refusal *jetstream.APIError
	if errors.As(err, &refusal) {
		return slices.Contains([]jetstream.ErrorCode{codeNoLeader, codeNoPeers, codeNotLeader, codeStorageExceeded}, refusal.ErrorCode)
	}
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout) || errors.Is(err, nats.ErrNoResponders) ||
		errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, nats.ErrReconnectBufExceeded) || errors.Is(err, nats.ErrDisconnected)
}
