package conversation

import (
	"slices"
	"time"

	"hongyan/messages"
)

// HandOver is a user who is to be handed over to a support agent, and whose message then could not be: only a passive reply can do it
// (wechat-protocol §3), so that the user's next message is.
type HandOver struct {
	Account string `cbor:"1,keyasint,omitempty" json:"account,omitempty"` // name@account; empty: whoever is free
	AtMS    int64  `cbor:"2,keyasint" json:"at_ms"`                       // Unix milliseconds
}

// HandsOver is what answers the message in place of a bot, where the user is owed a hand-over: it is due while the conversation lasts.
func (s State) HandsOver(in *messages.Inbound, limits Limits, now time.Time) (*messages.Answer, bool) {
	if in.GetKind().IsEvent() || !in.GetKind().Repliable() || !s.owesHandOver(limits, now) {
		return nil, false
	}
	transfer := &messages.TransferAnswer{KfAccount: s.HandOver.Account}
	return &messages.Answer{Content: &messages.Answer_Transfer{Transfer: transfer}}, true
}

func (s State) owesHandOver(limits Limits, now time.Time) bool {
	return s.HandOver != nil && (limits.Idle <= 0 || now.UnixMilli()-s.HandOver.AtMS <= limits.Idle.Milliseconds())
}

// oweHandOver puts a text in the place of what would hand the user over: no customer-service message can. The user's next message is
// handed over instead.
func (s State) oweHandOver(parts []Kept, limits Limits, now time.Time) (State, []Kept) {
	if limits.HandOver == "" {
		return s, parts
	}
	for i, part := range parts {
		a, err := part.Answer.Open()
		if err != nil || a.GetTransfer() == nil {
			continue // what cannot be opened stays as it is: whoever sends it finds out
		}
		told, err := Seal(textAnswer(limits.HandOver))
		if err != nil {
			continue
		}
		s.HandOver = &HandOver{Account: a.GetTransfer().GetKfAccount(), AtMS: now.UnixMilli()}
		parts = slices.Clone(parts)
		parts[i].Answer = told
	}
	return s, parts
}
