package conversation

import (
	"slices"
	"time"

	"hongyan/messages"
)

// Grant is leave to send: what a user did lets the account send so many customer-service messages for a while (wechat-protocol
// §5.1). Tencent does not say how grants of several kinds combine, so each is counted by itself, and WeChat's error is believed.
type Grant struct {
	Class   GrantClass `cbor:"1,keyasint" json:"class"`
	FromMS  int64      `cbor:"2,keyasint" json:"from_ms"`  // the CreateTime of what opened it, Unix milliseconds
	UntilMS int64      `cbor:"3,keyasint" json:"until_ms"` // Unix milliseconds
	Left    int        `cbor:"4,keyasint,omitempty" json:"left"`
}

// GrantClass is what opened a grant. Numbers are stored.
type GrantClass uint8

// The classes.
const (
	GrantMessage   GrantClass = 1
	GrantMenu      GrantClass = 2
	GrantSubscribe GrantClass = 3
	GrantScan      GrantClass = 4
)

// MarshalText shows it as a word.
func (c GrantClass) MarshalText() ([]byte, error) {
	return []byte([...]string{"unknown", "message", "menu", "subscribe", "scan"}[min(c, GrantScan)]), nil
}

func grantClass(k messages.Kind) GrantClass {
	switch k {
	case messages.Kind_KIND_SUBSCRIBE:
		return GrantSubscribe
	case messages.Kind_KIND_SCAN:
		return GrantScan
	case messages.Kind_KIND_CLICK, messages.Kind_KIND_SCANCODE_PUSH, messages.Kind_KIND_SCANCODE_WAITMSG:
		return GrantMenu
	default:
		return GrantMessage
	}
}

// granted notes the grant that a push opens; the same push again changes nothing. A later one of its class takes the place of an
// earlier one. now bounds its end, should WeChat's clock be ahead.
func (s State) granted(kind messages.Kind, a Arrival, now time.Time) State {
	count, valid, ok := kind.Grant()
	if !ok || a.Late { // a message that is run again is nothing that the user did now
		return s
	}
	from := a.created() * 1000
	grants := make([]Grant, 0, len(s.Grants)+1)
	class := grantClass(kind)
	for _, g := range s.Grants {
		switch {
		case g.Class == class && g.FromMS >= from:
			return s
		case g.Class == class || g.UntilMS <= now.UnixMilli():
		default:
			grants = append(grants, g)
		}
	}
	grants = append(grants, Grant{Class: class, FromMS: from, UntilMS: min(from, now.UnixMilli()) + valid.Milliseconds(), Left: count})
	s.Grants = grants
	return s
}

// GrantOpen tells whether the user may be sent a message at now.
func (s State) GrantOpen(now time.Time) bool { return s.openGrant(now) >= 0 }

// OpensOrHasGrant tells whether the push, or one before it, lets the account send at now.
func (s State) OpensOrHasGrant(in *messages.Inbound, a Arrival, now time.Time) bool {
	return s.granted(in.GetKind(), a, now).GrantOpen(now)
}

// openGrant is the grant to use at now: the one that ends first. -1: there is none.
func (s State) openGrant(now time.Time) int {
	best := -1
	for i, g := range s.Grants {
		if g.Left <= 0 || g.UntilMS <= now.UnixMilli() {
			continue
		}
		if best < 0 || g.UntilMS < s.Grants[best].UntilMS {
			best = i
		}
	}
	return best
}

// useGrant takes one message from the grant that ends first.
func (s State) useGrant(now time.Time) (State, bool) {
	i := s.openGrant(now)
	if i < 0 {
		return s, false
	}
	s.Grants = slices.Clone(s.Grants)
	s.Grants[i].Left--
	return s, true
}

// refund gives back what was taken for a message that WeChat did not take: to the grant that ends first and is not whole.
func (s State) refund(now time.Time) State {
	best := -1
	for i, g := range s.Grants {
		if whole(g) || g.UntilMS <= now.UnixMilli() {
			continue
		}
		if best < 0 || g.UntilMS < s.Grants[best].UntilMS {
			best = i
		}
	}
	if best < 0 {
		return s
	}
	s.Grants = slices.Clone(s.Grants)
	s.Grants[best].Left++
	return s
}

func whole(g Grant) bool {
	if g.Class == GrantMessage {
		return g.Left >= messageGrant
	}
	return g.Left >= eventGrant
}

var (
	messageGrant, _, _ = messages.Kind_KIND_TEXT.Grant()
	eventGrant, _, _   = messages.Kind_KIND_CLICK.Grant()
)

// noGrants believes WeChat's word that the user cannot be sent anything (45015, 45047).
func (s State) noGrants() State {
	s.Grants = slices.Clone(s.Grants)
	for i := range s.Grants {
		s.Grants[i].Left = 0
	}
	return s
}
