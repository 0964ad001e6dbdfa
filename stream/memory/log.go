// Package memory is a durable log's twin in memory: what simulations and tests run on. It behaves as stream.Log does towards its
// users, its server's clock is given, and it can be broken as real logs break.
package memory

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"hongyan/messages"
	"hongyan/stream"
)

// Log is a log in memory, of one stream or of several. Its methods may be called from any goroutine.
type Log struct {
	partitions int
	now        func() time.Time

	mu      sync.Mutex
	streams []*segment
	changed chan struct{} // closed and replaced whenever something was written
	letters map[string]*messages.DeadLetter
	fault   func(op string) error
}

// segment is one stream: its partitions' entries, under sequences that they share.
type segment struct {
	entries map[int][]entry // by partition, ascending; purged ones are gone
	last    uint64
}

type entry struct {
	sequence uint64
	at       time.Time
	data     []byte
}

// New makes an empty log of one stream, whose server's clock is now.
func New(partitions int, now func() time.Time) *Log { return NewStreams(partitions, 1, now) }

// NewStreams makes an empty log of k streams: a partition's entries are in stream partition mod k.
func NewStreams(partitions, k int, now func() time.Time) *Log {
	l := &Log{partitions: partitions, now: now, changed: make(chan struct{}), letters: make(map[string]*messages.DeadLetter)}
	for range k {
		l.streams = append(l.streams, &segment{entries: make(map[int][]entry)})
	}
	return l
}

// of is the stream of a partition.
func (l *Log) of(partition int) *segment { return l.streams[partition%len(l.streams)] }

// from is the index of the partition's first entry at or behind the sequence.
func (s *segment) from(partition int, sequence uint64) int {
	all := s.entries[partition]
	return sort.Search(len(all), func(i int) bool { return all[i].sequence >= sequence })
}

// Fail makes f decide about every later operation: accept, read, holds, end, has, purge, bury, caughtup. A non-nil error is returned
// instead of the operation.
func (l *Log) Fail(f func(op string) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fault = f
}

func (l *Log) failing(op string) error {
	if l.fault == nil {
		return nil
	}
	return l.fault(op)
}

// Accept appends the entry to its user's partition.
func (l *Log) Accept(_ context.Context, e *messages.Entry) (messages.Position, error) {
	data, err := proto.Marshal(e)
	if err != nil {
		return messages.Position{}, fmt.Errorf("encode a log entry: %w", err)
	}
	user := messages.User{Account: e.GetInbound().GetAccount(), OpenID: e.GetInbound().GetOpenId()}
	return l.Append(user.Partition(l.partitions), data)
}

// Append adds raw bytes to a partition.
func (l *Log) Append(partition int, data []byte) (messages.Position, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.failing("accept"); err != nil {
		return messages.Position{}, err
	}
	s := l.of(partition)
	s.last++
	s.entries[partition] = append(s.entries[partition], entry{sequence: s.last, at: l.now(), data: data})
	close(l.changed)
	l.changed = make(chan struct{})
	return messages.Position{Sequence: s.last}, nil
}

// LoseTail makes the first stream forget everything from the sequence on, as a server does after a power cut: it uses the
// sequences again.
func (l *Log) LoseTail(from uint64) { l.LoseTailOf(0, from) }

// LoseTailOf is LoseTail for any stream. From 1 on, the stream was replaced by an empty one.
func (l *Log) LoseTailOf(stream int, from uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.streams[stream]
	for partition, all := range s.entries {
		s.entries[partition] = all[:s.from(partition, from)]
	}
	s.last = from - 1
}

// Read opens a source on one partition.
func (l *Log) Read(_ context.Context, partition int, from stream.Start) (stream.Source, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.failing("read"); err != nil {
		return nil, err
	}
	s := &source{log: l, partition: partition, next: max(from.Sequence, 1), closed: make(chan struct{})}
	if !from.Time.IsZero() {
		s.next = l.of(partition).last + 1
		for _, e := range l.of(partition).entries[partition] {
			if !e.at.Before(from.Time) {
				s.next = e.sequence
				break
			}
		}
	}
	return s, nil
}

// Holds tells whether the marked entry is still there.
func (l *Log) Holds(_ context.Context, partition int, m stream.Mark) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.failing("holds"); err != nil {
		return false, err
	}
	s := l.of(partition)
	i, all := s.from(partition, m.Sequence), s.entries[partition]
	return i < len(all) && all[i].sequence == m.Sequence && all[i].at.Equal(m.LogTime), nil
}

// End is the newest sequence of the partition's stream.
func (l *Log) End(_ context.Context, partition int) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.of(partition).last, l.failing("end")
}

// HasEntries tells whether the partition has any.
func (l *Log) HasEntries(_ context.Context, partition int) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.of(partition).entries[partition]) > 0, l.failing("has")
}

// Purge removes the partition's entries below the sequence.
func (l *Log) Purge(_ context.Context, partition int, below uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.failing("purge"); err != nil {
		return err
	}
	s := l.of(partition)
	s.entries[partition] = slices.Clone(s.entries[partition][s.from(partition, below):])
	return nil
}

// Len is how many entries of the partition are there.
func (l *Log) Len(partition int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.of(partition).entries[partition])
}

// Bury stores a dead letter, once per id.
func (l *Log) Bury(_ context.Context, _ int, _, id string, letter *messages.DeadLetter) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.failing("bury"); err != nil {
		return err
	}
	if _, ok := l.letters[id]; !ok {
		l.letters[id] = letter
	}
	return nil
}

// Letters are the dead letters by id.
func (l *Log) Letters() map[string]*messages.DeadLetter {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[string]*messages.DeadLetter, len(l.letters))
	for id, letter := range l.letters {
		out[id] = letter
	}
	return out
}

// source reads one partition.
type source struct {
	log       *Log
	partition int
	next      uint64
	closed    chan struct{}
	once      sync.Once
}

func (s *source) Next(ctx context.Context) (stream.Received, error) {
	for {
		rec, changed, ok := s.take()
		if ok {
			return rec, nil
		}
		select {
		case <-changed:
		case <-s.closed:
			return stream.Received{}, stream.ErrReaderClosed
		case <-ctx.Done():
			return stream.Received{}, ctx.Err()
		}
	}
}

// take is the next entry, or the channel that tells when there may be one.
func (s *source) take() (stream.Received, <-chan struct{}, bool) {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	seg := s.log.of(s.partition)
	i, all := seg.from(s.partition, s.next), seg.entries[s.partition]
	if i == len(all) {
		return stream.Received{}, s.log.changed, false
	}
	found := all[i]
	s.next = found.sequence + 1
	rec := stream.Received{Sequence: found.sequence, LogTime: found.at, Pending: uint64(len(all) - i - 1)}
	return stream.Decode(rec, found.data), nil, true
}

func (s *source) CaughtUp(_ context.Context, last uint64) (bool, error) {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	if err := s.log.failing("caughtup"); err != nil {
		return false, err
	}
	seg := s.log.of(s.partition)
	return seg.from(s.partition, last+1) == len(seg.entries[s.partition]), nil
}

func (s *source) Close() { s.once.Do(func() { close(s.closed) }) }
