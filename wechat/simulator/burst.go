package simulator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Burst is a crowd of pushes, made as fast as the back end takes them.
type Burst struct {
	Count       int // messages altogether
	Concurrency int // under way at once; 256 when zero
	// Message is message number i, from 0, and the user it is of. TemplateResults is one. It is called by several goroutines.
	Message func(i int) (openID string, m Message)
}

// BurstResult is what became of a burst. Its counts add up to Pushed.
type BurstResult struct {
	Pushed, Answered, Silent, Banner int
	Retried                          int // messages that needed more than one delivery
	Elapsed                          time.Duration
	P50, P99, Max                    time.Duration // of a message: from its push to its end, redeliveries included
}

// String is the result in one line.
func (r BurstResult) String() string {
	return fmt.Sprintf("%d pushed in %v (%.0f/s): %d answered, %d silent, %d banner, %d retried; p50 %v, p99 %v, max %v",
		r.Pushed, r.Elapsed.Round(time.Millisecond), float64(r.Pushed)/max(r.Elapsed.Seconds(), 1e-9), r.Answered, r.Silent, r.Banner, r.Retried,
		r.P50.Round(10*time.Microsecond), r.P99.Round(10*time.Microsecond), r.Max.Round(10*time.Microsecond))
}

// TemplateResults are results of template messages to users of their own: what WeChat pushes after a mass notification.
func TemplateResults(i int) (openID string, m Message) {
	return fmt.Sprintf("job-%06d", i), Message{Type: "event", Event: EventTemplateDone, MsgID: fmt.Sprint(2_000_000_000 + i), Status: "success"}
}

// Burst pushes a crowd of messages by the same rules as Push, but the witness does not write them down: the result counts them. It
// returns when all have come to their end. The error is that of the first push that could not be made.
func (p *Platform) Burst(ctx context.Context, account string, b Burst) (BurstResult, error) {
	a, err := p.account(account)
	if err != nil {
		return BurstResult{}, err
	}
	if b.Message == nil || b.Count <= 0 {
		return BurstResult{}, errors.New("a burst needs a count and messages")
	}
	if b.Concurrency <= 0 {
		b.Concurrency = 256
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	quiet := unwatched
	quiet.quiet = true
	var next atomic.Int64
	var mu sync.Mutex
	var out BurstResult
	took := make([]time.Duration, 0, b.Count)
	started := time.Now()
	var crowd sync.WaitGroup
	for range min(b.Concurrency, b.Count) {
		crowd.Go(func() { // ends when the messages are used up, or with ctx
			for i := int(next.Add(1)) - 1; i < b.Count && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				openID, m := b.Message(i)
				begun := time.Now()
				m, err := p.complete(m)
				var r Result
				if err == nil {
					r, err = p.push(ctx, a, openID, m, quiet)
				}
				if err != nil {
					cancel(err)
					return
				}
				mu.Lock()
				took = append(took, time.Since(begun))
				out = out.with(r)
				mu.Unlock()
			}
		})
	}
	crowd.Wait()
	out.Elapsed = time.Since(started)
	if len(took) > 0 {
		slices.Sort(took)
		out.P50, out.P99, out.Max = took[len(took)/2], took[len(took)*99/100], took[len(took)-1]
	}
	return out, context.Cause(ctx)
}

// with is r and one message more.
func (r BurstResult) with(one Result) BurstResult {
	r.Pushed++
	switch {
	case one.Answered:
		r.Answered++
	case one.Banner:
		r.Banner++
	default:
		r.Silent++
	}
	if len(one.Deliveries) > 1 {
		r.Retried++
	}
	return r
}
