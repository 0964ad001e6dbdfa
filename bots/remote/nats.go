package remote

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"hongyan/bots/upstream"
)

// SubjectPrefix is in front of a bot's name in the subject that it listens on, where the configuration names no other.
const SubjectPrefix = "hy.bot."

// ReplyPrefix is where answers come back. Bots need the right to publish below it, and nothing else: with _INBOX.> they could write
// into what the engine reads (docs/decisions/0019-remote-bots.md).
const ReplyPrefix = "hy.reply."

// The headers of a request.
const (
	headerVersion = "Hongyan-Version"
	headerID      = "Hongyan-Id"
)

const (
	signTime = 3 * time.Second // a bot that showed one sign of life and then none for so long is dead
	maxSends = 3               // how often a request goes out at most
	// How often one goes out of which no sign was ever seen. A bot that works one by one, with the request in its queue, looks like a
	// dead one, and must not be asked more than once in vain.
	maxUnsignedSends = 2
)

// noRespondersStatus is the server's word that nobody listens on a subject.
const noRespondersStatus = "503"

// errSilent: an instance gave signs of life, and then none any more.
var errSilent = errors.New("the bot's instance gave signs of life and then none for " + signTime.String())

// NATS is one connection's way to bots: all requests of the connection share one subscription for their answers, because an answer may
// have many messages, which nats.go's own requests do not have.
type NATS struct {
	conn   *nats.Conn
	prefix string
	sub    *nats.Subscription
	silent time.Duration // signTime; shorter in tests

	mu      sync.Mutex
	waiting map[string]*waiter // by the reply subject's last token
}

// waiter is a call that waits for its answer.
type waiter struct {
	answer chan *nats.Msg // the first one; later ones are dropped
	life   chan struct{}  // a sign of life since it was last looked at
	signed bool           // there was one; of the call's own goroutine
}

// NewNATS subscribes for answers on conn. The caller calls Close, and closes conn.
func NewNATS(conn *nats.Conn) (*NATS, error) {
	n := &NATS{conn: conn, prefix: ReplyPrefix + rand.Text() + ".", silent: signTime, waiting: make(map[string]*waiter)}
	sub, err := conn.Subscribe(n.prefix+"*", n.receive)
	if err != nil {
		return nil, fmt.Errorf("subscribing for the answers of bots: %w", err)
	}
	n.sub = sub
	return n, nil
}

// Close ends the subscription. Calls that wait end with their own time.
func (n *NATS) Close() error {
	if err := n.sub.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) && !errors.Is(err, nats.ErrBadSubscription) {
		return fmt.Errorf("ending the subscription for the answers of bots: %w", err)
	}
	return nil
}

// Subject is the transport to those that listen on a subject: instances in one queue group share what comes.
func (n *NATS) Subject(subject string) (Transport, error) {
	if subject == "" || strings.ContainsAny(subject, " \t\r\n*>") || strings.HasPrefix(subject, ".") || strings.HasSuffix(subject, ".") ||
		strings.Contains(subject, "..") {
		return nil, fmt.Errorf("the subject %q: words with dots between them, without wildcards and blanks", subject)
	}
	return &natsSubject{NATS: n, subject: subject}, nil
}

// receive hands a message to the call that waits for it. It never blocks.
func (n *NATS) receive(msg *nats.Msg) {
	n.mu.Lock()
	w := n.waiting[strings.TrimPrefix(msg.Subject, n.prefix)]
	n.mu.Unlock()
	if w == nil {
		return // too late
	}
	if isLife(msg.Data) {
		select {
		case w.life <- struct{}{}:
		default:
		}
		return
	}
	select {
	case w.answer <- msg:
	default:
	}
}

// maxLife bounds a sign of life, so that answers are not parsed twice.
const maxLife = 128

// isLife tells {"working": true} from an answer.
func isLife(data []byte) bool {
	if len(data) == 0 || len(data) > maxLife {
		return false
	}
	var sign struct {
		Working bool `json:"working"`
	}
	return json.Unmarshal(data, &sign) == nil && sign.Working
}

// expect registers a call under a name that nobody can guess.
func (n *NATS) expect() (token string, w *waiter) {
	token, w = rand.Text(), &waiter{answer: make(chan *nats.Msg, 1), life: make(chan struct{}, 1)}
	n.mu.Lock()
	n.waiting[token] = w
	n.mu.Unlock()
	return token, w
}

func (n *NATS) forget(token string) {
	n.mu.Lock()
	delete(n.waiting, token)
	n.mu.Unlock()
}

type natsSubject struct {
	*NATS
	subject string
	// signing says that the bots there give signs of life: the last call saw some. An instance that died before its first sign, with the
	// request in its connection, is noticed then.
	signing atomic.Bool
}

// Call implements Transport. An instance that dies over the request is noticed by the end of its signs of life, and the request goes out
// again: to another instance, since the server has dropped the dead one. All sends share one reply subject, so the first answer counts.
//
// Where the bots give signs of life, one that does not even give the first is taken for dead as well, but only once: the instances may be
// others by now, which give none, or busy with what came before, and then the call has all its time.
func (s *natsSubject) Call(ctx context.Context, x Exchange) ([]byte, error) {
	token, w := s.expect()
	defer s.forget(token)
	for sends := 1; ; sends++ {
		if err := s.send(token, x); err != nil {
			return nil, err
		}
		msg, err := s.await(ctx, w, x.Alive, sends < maxUnsignedSends)
		switch {
		case err == nil:
			return s.open(msg)
		case !errors.Is(err, errSilent) || sends == maxSends:
			return nil, err
		}
		x.Again()
	}
}

// send publishes the request.
func (s *natsSubject) send(token string, x Exchange) error {
	msg := nats.NewMsg(s.subject)
	msg.Reply = s.prefix + token
	msg.Header.Set(headerVersion, strconv.Itoa(Version))
	msg.Header.Set(headerID, x.ID)
	limit := int(s.conn.MaxPayload()) - headerRoom - len(x.ID) // 0 before the first server has said how much it takes
	body, err := x.Body(max(0, limit))
	if err != nil {
		return err
	}
	msg.Data = body
	if err := s.conn.PublishMsg(msg); err != nil {
		return fmt.Errorf("sending to %s: %w", s.subject, err)
	}
	return nil
}

// headerRoom is what the headers take of a server's max_payload.
const headerRoom = 256

// await waits for the answer, or for the end of the signs of life: from the first one on, or, where impatient, from now on if the bots there
// are known to give signs.
func (s *natsSubject) await(ctx context.Context, w *waiter, alive func(), impatient bool) (*nats.Msg, error) {
	silence := time.NewTimer(s.silent)
	defer silence.Stop()
	if !w.signed && (!impatient || !s.signing.Load()) {
		silence.Stop() // it runs from the first sign on
	}
	sign := func() {
		w.signed = true
		s.signing.Store(true)
		alive()
	}
	for {
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for %s: %w", s.subject, context.Cause(ctx))
		case msg := <-w.answer:
			select {
			case <-w.life: // came before it
				sign()
			default:
			}
			if !w.signed && !noResponders(msg) {
				s.signing.Store(false)
			}
			alive()
			return msg, nil
		case <-w.life:
			sign()
			silence.Reset(s.silent)
		case <-silence.C:
			return nil, fmt.Errorf("%s: %w", s.subject, errSilent)
		}
	}
}

// noResponders tells whether the server says that nobody listens.
func noResponders(msg *nats.Msg) bool {
	return len(msg.Data) == 0 && msg.Header.Get("Status") == noRespondersStatus
}

// open is the answer's body, or the error that it reports.
func (s *natsSubject) open(msg *nats.Msg) ([]byte, error) {
	if noResponders(msg) {
		return nil, &upstream.Fault{Kind: upstream.Broken, Err: fmt.Errorf(
			"no bot listens on %s: %w; start one, or compare the subject", s.subject, nats.ErrNoResponders)}
	}
	code := msg.Header.Get(micro.ErrorCodeHeader)
	if code == "" && msg.Header.Get(micro.ErrorHeader) == "" {
		return msg.Data, nil
	}
	if status, err := strconv.Atoi(code); err == nil && status >= 300 && status < 600 {
		return nil, faultOf(status, 0, "the bot on "+s.subject)
	}
	return nil, fmt.Errorf("the bot on %s answers with an error", s.subject)
}
