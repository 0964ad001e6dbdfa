package simulator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Banner is the line that WeChat shows instead of an answer that never came or made no sense.
const Banner = "该公众号提供的服务出现故障，请稍后再试"

// Outcome is how one delivery ended.
type Outcome string

// The outcomes. The first two end a message well; a malformed reply ends it with the banner; the others lead to the next delivery.
const (
	OutcomeAnswered  Outcome = "answered"
	OutcomeSilent    Outcome = "silent" // `success` or an empty body
	OutcomeMalformed Outcome = "malformed reply"
	OutcomeCutoff    Outcome = "cutoff"
	OutcomeRefused   Outcome = "refused connection" // refused, reset or closed without a reply
	OutcomeBadStatus Outcome = "bad status"         // anything but 200
)

func (o Outcome) final() bool {
	return o == OutcomeAnswered || o == OutcomeSilent || o == OutcomeMalformed
}

// Result is what became of one message.
type Result struct {
	MsgID      string        `json:"msg_id,omitempty"`
	CreateTime int64         `json:"create_time"`
	Deliveries []Delivery    `json:"deliveries"`
	Answer     *Answer       `json:"answer,omitempty"` // what the user saw; nil for silence and banner
	Answered   bool          `json:"answered"`
	Silent     bool          `json:"silent"` // the back end deliberately said nothing
	Banner     bool          `json:"banner"` // the user saw Banner
	Elapsed    time.Duration `json:"elapsed_ns"`
}

// Delivery is one POST of a message.
type Delivery struct {
	Number  int           `json:"number"` // from 1
	At      time.Time     `json:"at"`
	Status  int           `json:"status,omitempty"` // HTTP status; 0 without one
	Elapsed time.Duration `json:"elapsed_ns"`
	Outcome Outcome       `json:"outcome"`
	Body    Body          `json:"body,omitempty"`   // the reply as received, encrypted or not
	Detail  string        `json:"detail,omitempty"` // why, for every outcome but answered and silent
}

// Body is the bytes of a reply; JSON shows them as text.
type Body []byte

// MarshalText makes JSON show the bytes as text.
func (b Body) MarshalText() ([]byte, error) { return b, nil }

// UnmarshalText reverses MarshalText.
func (b *Body) UnmarshalText(text []byte) error {
	*b = append((*b)[:0], text...)
	return nil
}

// progress watches a push from inside. Both functions are called on the pushing goroutine, in order.
type progress struct {
	sent     func(number int, at time.Time)
	received func(Delivery)
	quiet    bool // the witness does not write it down
}

// unwatched is a push that nobody watches from inside.
var unwatched = progress{sent: func(int, time.Time) {}, received: func(Delivery) {}}

// Push delivers one message of openID to the account's callback as WeChat does: POST, cut off after Options.Cutoff, delivered again
// with a fresh timestamp and nonce but the same MsgId and CreateTime about one cut-off after the delivery before began, at most
// Options.Deliveries times. It returns when the user knows: an answer, silence or the banner.
//
// The error is for misuse (ErrUnknownAccount, ErrMessage), a closed platform (ErrClosed) or the end of ctx; whatever the back end
// does is in the Result.
func (p *Platform) Push(ctx context.Context, account, openID string, m Message) (Result, error) {
	a, err := p.account(account)
	if err != nil {
		return Result{}, err
	}
	if openID == "" {
		return Result{}, fmt.Errorf("%w: it needs a user", ErrMessage)
	}
	if m, err = p.complete(m); err != nil {
		return Result{}, err
	}
	return p.push(ctx, a, openID, m, unwatched)
}

// push is Push for a message that is complete.
func (p *Platform) push(ctx context.Context, a *account, openID string, m Message, watch progress) (Result, error) {
	if !p.begin() {
		return Result{}, ErrClosed
	}
	defer p.run.Done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(p.ctx, func() { cancel(ErrClosed) })()

	started := p.now()
	note := Record{Account: a.ID, OpenID: openID, MsgID: m.MsgID, CreateTime: m.CreateTime, Type: m.Type, Event: m.Event, EventKey: m.EventKey}
	first := note
	first.At, first.Kind, first.Content = started, RecordPush, m.Content
	p.interact(a, openID, m)
	p.note(watch, first)

	result := Result{MsgID: m.MsgID, CreateTime: m.CreateTime}
	turn := a.turn.Add(1) - 1
	for number := 1; number <= p.deliveries; number++ {
		delivery, answer, err := p.deliver(ctx, a, a.address(turn, number), openID, m, number, note, watch)
		if err != nil {
			return result, p.gaveUp(ctx, watch, note, started, err)
		}
		result.Deliveries = append(result.Deliveries, delivery)
		result.Answer = answer
		if delivery.Outcome.final() {
			break
		}
		if number < p.deliveries {
			if err := p.waitUntil(ctx, delivery.At.Add(p.cutoff)); err != nil {
				return result, p.gaveUp(ctx, watch, note, started, err)
			}
		}
	}
	last := result.Deliveries[len(result.Deliveries)-1].Outcome
	result.Answered = last == OutcomeAnswered
	result.Silent = last == OutcomeSilent
	// Whoever unfollowed has no chat left to show a banner in.
	result.Banner = !result.Answered && !result.Silent && !m.unsubscribes()
	ended := p.now()
	result.Elapsed = ended.Sub(started)
	note.At, note.Kind, note.Outcome, note.Banner = ended, RecordEnd, last, result.Banner
	note.ElapsedMS = milliseconds(result.Elapsed)
	p.note(watch, note)
	return result, nil
}

// note writes a record of a push down, unless it is a quiet one.
func (p *Platform) note(watch progress, r Record) {
	if !watch.quiet {
		p.witness.add(r)
	}
}

// gaveUp notes a push that the caller, not the back end, ended.
func (p *Platform) gaveUp(ctx context.Context, watch progress, note Record, started time.Time, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	ended := p.now()
	note.At, note.Kind, note.Detail = ended, RecordEnd, "given up: "+err.Error()
	note.ElapsedMS = milliseconds(ended.Sub(started))
	p.note(watch, note)
	return err
}

// deliver makes one delivery and notes its two ends. The error is for the end of ctx and for requests that cannot be built.
func (p *Platform) deliver(
	ctx context.Context, a *account, address, openID string, m Message, number int, note Record, watch progress,
) (Delivery, *Answer, error) {
	if err := ctx.Err(); err != nil {
		return Delivery{}, nil, err
	}
	limited, cancel := context.WithTimeout(ctx, p.cutoff)
	defer cancel()
	req, err := p.request(limited, a, address, openID, m)
	if err != nil {
		return Delivery{}, nil, err
	}
	d := Delivery{Number: number, At: p.now()}
	note.At, note.Kind, note.Number = d.At, RecordSent, number
	if len(a.MoreURLs) > 0 {
		note.Host = req.URL.Host
	}
	p.note(watch, note)
	watch.sent(number, d.At)

	var answer *Answer
	d.Status, d.Body, err = p.exchange(req)
	ended := p.now()      // before it is judged: a crowd of replies to judge must not make them look late
	if ctx.Err() != nil { // the caller ended it, not the cut-off
		return Delivery{}, nil, ctx.Err()
	}
	switch {
	case err != nil && timedOut(limited, err):
		d.Outcome, d.Detail = OutcomeCutoff, fmt.Sprintf("no whole reply within %v", p.cutoff)
	case err != nil:
		d.Outcome, d.Detail = OutcomeRefused, err.Error()
	case d.Status != http.StatusOK:
		d.Outcome, d.Detail = OutcomeBadStatus, fmt.Sprintf("HTTP status %d instead of 200", d.Status)
	default:
		answer, err = a.judge(openID, m, d.Body)
		switch {
		case err != nil:
			d.Outcome, d.Detail = OutcomeMalformed, err.Error()
		case answer == nil:
			d.Outcome = OutcomeSilent
		case m.unsubscribes():
			d.Outcome, d.Detail, answer = OutcomeSilent, "nobody is left to see the answer", nil
		default:
			d.Outcome = OutcomeAnswered
		}
	}
	d.Elapsed = ended.Sub(d.At)
	note.At, note.Kind = ended, RecordReceived
	note.Outcome, note.Status, note.Answer, note.Detail = d.Outcome, d.Status, answer, d.Detail
	note.ElapsedMS = milliseconds(d.Elapsed)
	p.note(watch, note)
	watch.received(d)
	return d, answer, nil
}

// exchange sends req and reads the reply, at most one byte more than a reply may have.
func (p *Platform) exchange(req *http.Request) (status int, body []byte, err error) {
	resp, err := p.client.Do(req)
	if err != nil {
		var wrapped interface{ Unwrap() error }
		if errors.As(err, &wrapped) && wrapped.Unwrap() != nil {
			err = wrapped.Unwrap() // without the URL, which carries the signature
		}
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxReply+1))
	return resp.StatusCode, body, err
}

func timedOut(ctx context.Context, err error) bool {
	var t interface{ Timeout() bool }
	return ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}

// waitUntil pauses until at, on the platform's clock.
func (p *Platform) waitUntil(ctx context.Context, at time.Time) error {
	timer := time.NewTimer(at.Sub(p.now()))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (m Message) unsubscribes() bool { return m.IsEvent() && m.Event == EventUnsubscribe }

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
