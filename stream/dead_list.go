package stream

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"hongyan/messages"
)

// LetterFilter chooses dead letters. What is zero matches all.
type LetterFilter struct {
	Account   string
	OpenID    string // with Account alone
	Reason    string
	Key       messages.Key // the message's
	Since     time.Time    // buried at or after
	Until     time.Time    // buried before
	Partition *int
	Redriven  *bool // whether an entry of the log has taken the letter up
}

// StoredLetter is one dead letter as it stands in the stream.
type StoredLetter struct {
	ID       string
	Revision uint64               // place in the stream, by which pages go on; every change gives the letter a new one
	Letter   *messages.DeadLetter // nil where it cannot be decoded
}

// LetterPage is one answer of Letters.
type LetterPage struct {
	Letters []StoredLetter
	Next    uint64 // the cursor of the next page; 0: the end of the stream was reached
	Scanned int    // letters looked at
	Left    uint64 // letters of the accounts and partitions in question that are still to look at
}

// Bounds of one page: messages under way at once, how many letters are looked at and how many bytes they may have before the page
// ends with what it has, and how often nothing may come of what the server has.
const (
	pageFetch   = 256
	pageScan    = 20_000
	pageBytes   = 16 << 20
	pagePatient = 3
	pageIdle    = 30 * time.Second // after which the server forgets a page's consumer by itself
)

// Letters lists dead letters in the order of the stream, up to limit of them, from the place that the page before ended at; 0 is the
// beginning. A page may be short, even empty, and still have a next one: it ends after a number of letters looked at, or of
// bytes, so that a question about few of very many stays short and none takes much memory. A letter that is taken up moves to the
// end of the stream. Errors: ErrUnavailable.
func (l *Log) Letters(ctx context.Context, f LetterFilter, cursor uint64, limit int) (page LetterPage, err error) {
	if f.OpenID != "" && f.Partition == nil { // a user's letters are all in his partition
		p := l.Partition(messages.User{Account: f.Account, OpenID: f.OpenID})
		f.Partition = &p
	}
	within, cancel := context.WithTimeout(ctx, readOpen)
	defer cancel()
	consumer, err := l.dead.stream.CreateConsumer(within, jetstream.ConsumerConfig{
		FilterSubject: f.subject(), AckPolicy: jetstream.AckNonePolicy, DeliverPolicy: jetstream.DeliverByStartSequencePolicy,
		OptStartSeq: cursor + 1, InactiveThreshold: pageIdle, MemoryStorage: true, Replicas: 1,
	})
	if err != nil {
		return page, fmt.Errorf("%w: list dead letters: %w", ErrUnavailable, err)
	}
	info := consumer.CachedInfo()
	defer func() { _ = l.conn.Publish("$JS.API.CONSUMER.DELETE."+info.Stream+"."+info.Name, nil) }()
	s := letterScan{consumer: consumer, filter: f, limit: limit}
	s.page.Left = info.NumPending
	if err := s.run(ctx); err != nil {
		return page, fmt.Errorf("%w: list dead letters behind %d: %w", ErrUnavailable, max(cursor, s.page.Next), err)
	}
	return s.page, nil
}

// subject is what the server itself filters by.
func (f *LetterFilter) subject() string {
	partition, account := "*", "*"
	if f.Partition != nil {
		partition = strconv.Itoa(*f.Partition)
	}
	if f.Account != "" {
		account = subjectToken(f.Account)
	}
	return deadPrefix + partition + "." + account + ".>"
}

// matches tells whether the filter wants the letter. One that cannot be decoded has nothing to compare with.
func (f *LetterFilter) matches(d *messages.DeadLetter) bool {
	if d == nil {
		return f.OpenID == "" && f.Reason == "" && f.Key == messages.Key{} && f.Since.IsZero() && f.Until.IsZero() &&
			(f.Redriven == nil || !*f.Redriven)
	}
	at := time.UnixMilli(d.GetAtMs())
	switch {
	case f.OpenID != "" && d.GetInbound().GetOpenId() != f.OpenID,
		f.Reason != "" && d.GetReason() != f.Reason,
		f.Key != messages.Key{} && messages.KeyOf(d.GetInbound()) != f.Key,
		!f.Since.IsZero() && at.Before(f.Since),
		!f.Until.IsZero() && !at.Before(f.Until),
		f.Redriven != nil && *f.Redriven != (d.GetRedriven() != nil):
		return false
	}
	return true
}

// letterScan reads one page.
type letterScan struct {
	consumer  jetstream.Consumer
	filter    LetterFilter
	limit     int
	page      LetterPage
	delivered uint64 // by the consumer's own count
	bytes     int    // of the letters on the page
}

// run reads until the page is full or the stream's end is reached.
func (s *letterScan) run(ctx context.Context) error {
	for empty := 0; s.page.Left > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		batch, err := s.consumer.FetchNoWait(pageFetch)
		if err != nil {
			return err
		}
		before, full := s.page.Scanned, false
		for msg := range batch.Messages() { // to its end, which stops the library's goroutine
			if full || err != nil {
				continue
			}
			full, err = s.take(msg)
		}
		switch {
		case err != nil:
			return err
		case batch.Error() != nil:
			return batch.Error()
		case full:
			return nil
		case s.page.Scanned > before:
			empty = 0
			continue
		}
		if empty++; empty == pagePatient {
			return fmt.Errorf("%d letters are there and do not come", s.page.Left)
		}
		info, err := s.consumer.Info(ctx) // what was to come may have been dropped
		if err != nil {
			return err
		}
		s.page.Left = info.NumPending
	}
	s.page.Next = 0
	return nil
}

// take puts one message on the page where it is wanted, and tells whether the page ends with it.
func (s *letterScan) take(msg jetstream.Msg) (full bool, err error) {
	meta, err := msg.Metadata()
	if err != nil {
		return false, err
	}
	if s.delivered++; meta.Sequence.Consumer != s.delivered {
		return false, fmt.Errorf("the consumer's message %d came as its %d", meta.Sequence.Consumer, s.delivered)
	}
	s.page.Scanned++
	s.page.Left, s.page.Next = meta.NumPending, meta.Sequence.Stream
	stored := StoredLetter{ID: strings.TrimPrefix(msg.Subject(), deadPrefix), Revision: meta.Sequence.Stream, Letter: new(messages.DeadLetter)}
	if proto.Unmarshal(msg.Data(), stored.Letter) != nil {
		stored.Letter = nil
	}
	if s.filter.matches(stored.Letter) {
		s.page.Letters = append(s.page.Letters, stored)
		s.bytes += len(msg.Data())
	}
	return meta.NumPending > 0 && (len(s.page.Letters) >= s.limit || s.page.Scanned >= pageScan || s.bytes >= pageBytes), nil
}

// DeadEnd is the revision of the newest version of any letter: what is buried or taken up later has a higher one.
func (l *Log) DeadEnd(ctx context.Context) (uint64, error) {
	info, err := l.info(ctx, l.dead)
	if err != nil {
		return 0, err
	}
	return info.State.LastSeq, nil
}

// Partitions is how many partitions the log has.
func (l *Log) Partitions() int { return l.opts.Partitions }
