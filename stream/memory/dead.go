package memory

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	"hongyan/messages"
	"hongyan/stream"
)

// Letter is a dead letter and its revision, as stream.Log.Letter gives them.
func (l *Log) Letter(_ context.Context, letterID string) (*messages.DeadLetter, uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.failing("letter"); err != nil {
		return nil, 0, err
	}
	_, letter, err := l.letter(letterID)
	if err != nil {
		return nil, 0, err
	}
	if letter.GetRedriven() != nil { // a letter changes at most once
		return proto.CloneOf(letter), 2, nil
	}
	return proto.CloneOf(letter), 1, nil
}

// TakeUp gives a letter to the first entry that asks, as stream.Log.TakeUp does. A fault of "take_up_done" comes after the effect.
func (l *Log) TakeUp(_ context.Context, letterID string, r *messages.Redriven) (taken bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.failing("take_up"); err != nil {
		return false, err
	}
	id, letter, err := l.letter(letterID)
	if err != nil {
		return false, nil // dropped, or never there: not this entry's
	}
	if by := letter.GetRedriven(); by != nil {
		return by.SameEntry(r), nil
	}
	taking := proto.CloneOf(letter)
	taking.Redriven = r
	l.letters[id] = taking
	return true, l.failing("take_up_done")
}

// letter finds a letter under the id that Bury was given for it.
func (l *Log) letter(letterID string) (id string, letter *messages.DeadLetter, err error) {
	if _, _, id, err = stream.ParseLetterID(letterID); err != nil {
		return "", nil, err
	}
	if letter = l.letters[id]; letter == nil {
		return "", nil, fmt.Errorf("%w: %s", stream.ErrNoLetter, letterID)
	}
	return id, letter, nil
}
