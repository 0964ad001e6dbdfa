// Package memory is a durable log's twin in memory: what simulations and tests run on. It behaves as stream.Log does towards its
// users, its server's clock is given, and it can be broken as real logs break.
package memory

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"hongyan/messages"
	"hongyan/stream"
)

// Log is a log in memory. Its methods may be called from any goroutine.
type Log struct {
	partitions int
	now        func() time.Time

	mu      sync.Mutex
	entries []entry // ascending; purged ones are gone
	last    uint64
	changed chan struct{} // closed and replaced whenever something was written
	letters map[string]*messages.DeadLetter
	fault   func(op string) error
}

type entry struct {
	partition int
	sequence  uint64
	at        time.Time
	data      []byte
}

// New makes an empty log whose server's clock is now.
func New(partitions int, now func() time.Time) *Log {
	return &Log{partitions: partitions, now: now, changed: make(chan struct{}), letters: make(map[string]*messages.DeadLetter)}
}

// Fail makes f decide about every later operation: accept, holds, end, has, purge, bury, caughtup. A non-nil error is returned
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
	l.last++
	l.entries = append(l.entries, entry{partition: partition, sequence: l.last, at: l.now(), data: data})
	close(l.changed)
	l.changed = make(chan struct{})
	return messages.Position{Sequence: l.last}, nil
}

// LoseTail forgets everything from the sequence on, as a server does after a power cut: it uses the sequences again.
func (l *Log) LoseTail(from uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.entries) > 0 && l.entries[len(l.entries)-1].sequence >= from {
		l.entries = l.entries[:len(l.entries)-1]
	}
	l.last = from - 1
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
		s.next = l.last + 1
		for _, e := range l.entries {
			if !e.at.Before(from.Time) {
				s.next = e.sequence
				break
			}
		}
	}
	return s, nil
}

// Holds tells whether the marked entry is still there.
func (l *Log) Holds(_ context.Context, _ int, m stream.Mark) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.failing("holds"); err != nil {
		return false, err
	}
	for _, e := range l.entries {
		if e.sequence == m.Sequence {
			return e.at.Equal(m.LogTime), nil
		}
	}
	return false, nil
}

// End is the newest sequence.
func (l *Log) End(context.Context, int) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last, l.failing("end")
}

// HasEntries tells whether the partition has any.
func (l *Log) HasEntries(_ context.Context, partition int) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.entries {
		if e.partition == partition {
			return true, l.failing("has")
		}
	}
	return false, l.failing("has")
}

// Purge removes the partition's entries below the sequence.
func (l *Log) Purge(_ context.Context, partition int, below uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.failing("purge"); err != nil {
		return err
	}
	kept := l.entries[:0]
	for _, e := range l.entries {
		if e.partition != partition || e.sequence >= below {
			kept = append(kept, e)
		}
	}
	l.entries = kept
	return nil
}

// Len is how many entries of the partition are there.
func (l *Log) Len(partition int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, e := range l.entries {
		if e.partition == partition {
			n++
		}
	}
	return n
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
	pending := uint64(0)
	var found *entry
	for i := range s.log.entries {
		e := &s.log.entries[i]
		if e.partition != s.partition || e.sequence < s.next {
			continue
		}
		if found == nil {
			found = e
		} else {
			pending++
		}
	}
	if found == nil {
		return stream.Received{}, s.log.changed, false
	}
	s.next = found.sequence + 1
	return stream.Decode(stream.Received{Sequence: found.sequence, LogTime: found.at, Pending: pending}, found.data), nil, true
}

func (s *source) CaughtUp(_ context.Context, last uint64) (bool, error) {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	if err := s.log.failing("caughtup"); err != nil {
		return false, err
	}
	for _, e := range s.log.entries {
		if e.partition == s.partition && e.sequence > last {
			return false, nil
		}
	}
	return true, nil
}

func (s *source) Close() { s.once.Do(func() { close(s.closed) }) }
