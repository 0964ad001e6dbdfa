package stream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"hongyan/messages"
)

// ErrNoIngress: the ingress that held the slot is gone. An owner's own first offer is refused by that; a former owner's commit
// stays unknown (DESIGN §3 rule 12).
var ErrNoIngress = errors.New("the ingress of this slot is gone")

// Slots is the ingress as offers see it: it alone judges whether an answer can still be written, and its word is kept.
type Slots interface {
	Offer(ctx context.Context, o *messages.Offer) *messages.OfferReply
}

// offerTimeout bounds one request to another process. Its ingress answers as soon as its handler has written.
const offerTimeout = time.Second

// Offers carries answers to the HTTP exchanges that wait for them: by a call where the ingress is in this process, else by
// request and reply, so that the sender learns the verdict.
type Offers struct {
	conn  *nats.Conn
	mu    sync.RWMutex
	local map[string]Slots
}

// NewOffers uses conn for the ingresses of other processes.
func NewOffers(conn *nats.Conn) *Offers {
	return &Offers{conn: conn, local: make(map[string]Slots)}
}

// Serve makes slots reachable under the ingress id until ctx ends.
func (o *Offers) Serve(ctx context.Context, ingress string, slots Slots) error {
	o.mu.Lock()
	o.local[ingress] = slots
	o.mu.Unlock()
	defer func() {
		o.mu.Lock()
		delete(o.local, ingress)
		o.mu.Unlock()
	}()

	places := make(chan struct{}, 1024) // one per call under way
	sub, err := o.conn.Subscribe(slotPrefix+ingress, func(m *nats.Msg) {
		offer := new(messages.Offer)
		if err := proto.Unmarshal(m.Data, offer); err != nil {
			return // not ours: the sender's request runs into its timeout
		}
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			return
		}
		go func() { // ended by the slot's verdict or offerTimeout; Serve waits for it
			defer func() { <-places }()
			within, cancel := context.WithTimeout(ctx, offerTimeout)
			defer cancel()
			data, err := proto.Marshal(slots.Offer(within, offer))
			if err == nil {
				_ = m.Respond(data) // a lost reply is an unknown outcome at the other end, as it must be
			}
		}()
	})
	if err != nil {
		return fmt.Errorf("serve the slots of ingress %s: %w", ingress, err)
	}
	<-ctx.Done()
	err = sub.Unsubscribe()
	for range cap(places) { // all places are taken once no call is under way, and none can begin
		places <- struct{}{}
	}
	if err != nil && !o.conn.IsClosed() {
		return fmt.Errorf("stop serving the slots of ingress %s: %w", ingress, err)
	}
	return nil
}

// Offer hands an offer to the ingress that holds the slot. A nil error carries that ingress's verdict. ErrNoIngress says that
// it is gone; any other error that the offer was sent and no verdict came.
func (o *Offers) Offer(ctx context.Context, ingress string, offer *messages.Offer) (*messages.OfferReply, error) {
	o.mu.RLock()
	slots := o.local[ingress]
	o.mu.RUnlock()
	if slots != nil {
		return slots.Offer(ctx, offer), nil // bounded by the ingress's own write deadline
	}
	ctx, cancel := context.WithTimeout(ctx, offerTimeout)
	defer cancel()
	data, err := proto.Marshal(offer)
	if err != nil {
		return nil, fmt.Errorf("encode an offer: %w", err)
	}
	m, err := o.conn.RequestWithContext(ctx, slotPrefix+ingress, data)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return nil, fmt.Errorf("%w: %s", ErrNoIngress, ingress)
	case err != nil:
		return nil, fmt.Errorf("offer to ingress %s: %w", ingress, err)
	}
	reply := new(messages.OfferReply)
	if err := proto.Unmarshal(m.Data, reply); err != nil {
		return nil, fmt.Errorf("verdict of ingress %s: %w", ingress, err)
	}
	return reply, nil
}
