package console

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"hongyan/messages"
	"hongyan/stream"
)

// Letter is one dead letter in a list. It is an interface to other programs: fields are only ever added.
type Letter struct {
	ID       string    `json:"id"`
	Revision uint64    `json:"revision"` // every change gives the letter a new one
	State    string    `json:"state"`    // open, redriven or unreadable
	Account  string    `json:"account"`
	OpenID   string    `json:"openid,omitempty"`
	Key      string    `json:"key,omitempty"` // of the message
	Reason   string    `json:"reason"`
	Detail   string    `json:"detail,omitempty"`
	At       time.Time `json:"at"`                 // when it was buried
	Attempt  int32     `json:"attempt"`            // of its message; re-driving makes the next one
	Kind     string    `json:"kind,omitempty"`     // of the message: text, image, subscribe
	Text     string    `json:"text,omitempty"`     // what the user wrote, where that is known
	Answered bool      `json:"answered,omitempty"` // there is an answer that was not delivered
	Entry    Position  `json:"entry"`              // of the message in the log
	Redriven *Redriven `json:"redriven,omitempty"`
}

// Redriven says which entry of the log took a letter up.
type Redriven struct {
	Entry Position  `json:"entry"`
	At    time.Time `json:"at"`
}

// LetterDetail is the answer of GET /api/v1/dead/{id}.
type LetterDetail struct {
	Letter
	Meaning string          `json:"meaning"` // of the reason, in plain words
	Advice  string          `json:"advice"`  // what an operator can do
	Message json.RawMessage `json:"message,omitempty"`
	Answer  json.RawMessage `json:"answer,omitempty"`  // what was not delivered
	Payload []byte          `json:"payload,omitempty"` // the log entry that could not be decoded
	History []Letter        `json:"history"`           // the letters of the same message that are kept, this one included, oldest first
}

func newLetter(s *stream.StoredLetter) Letter {
	_, account, _, _ := stream.ParseLetterID(s.ID) // only a letter has a subject that is none
	if s.Letter == nil {
		return Letter{ID: s.ID, Revision: s.Revision, State: StateUnreadable, Account: account}
	}
	d, in := s.Letter, s.Letter.GetInbound()
	l := Letter{
		ID: s.ID, Revision: s.Revision, State: StateOpen, Account: account, OpenID: in.GetOpenId(),
		Reason: d.GetReason(), Detail: d.GetDetail(), At: instant(d.GetAtMs()), Attempt: d.GetAttempt(),
		Text: in.GetText().GetContent(), Answered: d.GetAnswer() != nil, Entry: Position{d.GetGeneration(), d.GetSequence()},
	}
	if len(in.GetKey()) == messages.KeySize {
		l.Key = messages.KeyOf(in).String()
	}
	if in.GetKind() != messages.Kind_KIND_UNKNOWN {
		l.Kind = strings.ToLower(strings.TrimPrefix(in.GetKind().String(), "KIND_"))
	}
	if by := d.GetRedriven(); by != nil {
		l.State = StateRedriven
		l.Redriven = &Redriven{Entry: Position{by.GetGeneration(), by.GetSequence()}, At: instant(by.GetAtMs())}
	}
	return l
}

func newLetterDetail(s *stream.StoredLetter) (*LetterDetail, error) {
	l := &LetterDetail{Letter: newLetter(s), Payload: s.Letter.GetPayload(), History: []Letter{}}
	l.Meaning, l.Advice = Explain(l.Reason)
	if s.Letter == nil {
		l.Meaning, l.Advice = "What is stored under this id is no dead letter of this version.",
			"If a newer version of Hongyan wrote it, ask a node of that version. Otherwise something else writes to hy.dead: drop it."
	}
	var err error
	if in := s.Letter.GetInbound(); in != nil {
		if l.Message, err = protojson.Marshal(in); err != nil {
			return nil, fmt.Errorf("the message of the dead letter cannot be shown: %w", err)
		}
	}
	if a := s.Letter.GetAnswer(); a != nil {
		if l.Answer, err = protojson.Marshal(a); err != nil {
			return nil, fmt.Errorf("the answer of the dead letter cannot be shown: %w", err)
		}
	}
	return l, nil
}
