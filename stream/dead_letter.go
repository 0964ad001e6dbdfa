package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"hongyan/messages"
)

// The errors of dead letters, beside the log's own.
var (
	// ErrNoLetter: no letter has this id. It never was, or it was dropped.
	ErrNoLetter = errors.New("there is no such dead letter")
	// ErrLetterChanged: the letter is not the version any more that the caller saw.
	ErrLetterChanged = errors.New("the dead letter changed meanwhile")
	// ErrBadLetter: what is stored under the id is no dead letter.
	ErrBadLetter = errors.New("the stored dead letter cannot be decoded")
)

// takeUpTries bounds how often TakeUp looks again after it lost a race; each one is won by somebody.
const takeUpTries = 8

// LetterID is the id under which Bury stores a letter: its subject without the prefix.
func LetterID(partition int, account, id string) string {
	return strconv.Itoa(partition) + "." + account + "." + id
}

// ParseLetterID splits an id into what Bury was given. Errors: ErrNoLetter, for what cannot be the id of a letter.
func ParseLetterID(letterID string) (partition int, account, id string, err error) {
	tokens := strings.SplitN(letterID, ".", 3)
	if len(tokens) == 3 && plainTokens(letterID) {
		if partition, err = strconv.Atoi(tokens[0]); err == nil && partition >= 0 {
			return partition, tokens[1], tokens[2], nil
		}
	}
	return 0, "", "", fmt.Errorf("%w: an id has the form partition.account.rest, as hongyan dead ls shows it", ErrNoLetter)
}

// plainTokens tells whether s is a subject without wildcards: every token has something, and nothing that a subject gives a meaning to.
func plainTokens(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == '*' || r == '>' || r > '~' }) &&
		!strings.HasPrefix(s, ".") && !strings.HasSuffix(s, ".") && !strings.Contains(s, "..")
}

// Letter is the newest version of a dead letter and its revision, which every change raises. Errors: ErrNoLetter, ErrBadLetter,
// ErrUnavailable.
func (l *Log) Letter(ctx context.Context, id string) (*messages.DeadLetter, uint64, error) {
	if _, _, _, err := ParseLetterID(id); err != nil {
		return nil, 0, err
	}
	ctx, cancel := l.bound(ctx)
	defer cancel()
	msg, err := l.dead.stream.GetLastMsgForSubject(ctx, deadPrefix+id)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return nil, 0, fmt.Errorf("%w: %s; it may have been dropped", ErrNoLetter, id)
	case err != nil:
		return nil, 0, fmt.Errorf("%w: look for dead letter %s: %w", ErrUnavailable, id, err)
	}
	letter := new(messages.DeadLetter)
	if err := proto.Unmarshal(msg.Data, letter); err != nil {
		return nil, msg.Sequence, fmt.Errorf("%w: %s: %w", ErrBadLetter, id, err)
	}
	return letter, msg.Sequence, nil
}

// TakeUp notes in the letter that an entry of the log takes it up, by compare-and-set on the letter's own stored record (DESIGN §3
// rule 19). Of all entries that try, exactly one is told true, and it is told so again however often it asks; what a TakeUp with an
// unknown outcome wrote is found by the next. The others, and those whose letter was dropped, are told false.
//
// An error leaves open which of them it is: ask again. True is said behind the barrier, so that no crash can give the letter to
// another entry after this one has run.
func (l *Log) TakeUp(ctx context.Context, id string, r *messages.Redriven) (taken bool, err error) {
	for range takeUpTries {
		letter, revision, err := l.Letter(ctx, id)
		switch {
		case errors.Is(err, ErrNoLetter):
			return false, nil // a leader that lags may say so too: the letter then stays open, and is listed
		case errors.Is(err, ErrBadLetter):
			return false, nil // nor could anybody run it
		case err != nil:
			return false, err
		}
		if by := letter.GetRedriven(); by != nil {
			if !by.SameEntry(r) {
				return false, nil
			}
			return true, l.deadDurable(ctx, id)
		}
		letter.Redriven = r
		data, err := proto.Marshal(letter)
		if err != nil {
			return false, fmt.Errorf("encode dead letter %s: %w", id, err)
		}
		_, err = l.publish(ctx, l.dead, &nats.Msg{
			Subject: deadPrefix + id, Data: data,
			Header: nats.Header{nats.ExpectedLastSubjSeqHdr: []string{strconv.FormatUint(revision, 10)}},
		})
		switch {
		case err == nil:
			l.metrics.deadEnded.WithLabelValues("redriven").Inc()
			return true, nil
		case !held(err):
			return false, fmt.Errorf("take up dead letter %s: %w", id, err)
		}
	}
	return false, fmt.Errorf("%w: dead letter %s changed %d times while it was taken up", ErrUnavailable, id, takeUpTries)
}

// Drop deletes one version of a letter for good. Errors: ErrLetterChanged where the letter has another revision by now,
// ErrNoLetter, ErrUnavailable, and ErrUnknown where it may be gone: look.
//
// The stream keeps one version of a letter, so the revision names it, and the server refuses to delete what is not there any more:
// a letter is either dropped or taken up. Only with replicas may a leader propose both before it has seen either; then the entry
// runs, and its letter stands there as re-driven.
func (l *Log) Drop(ctx context.Context, id string, revision uint64) error {
	if err := l.unchanged(ctx, id, revision); err != nil {
		return err
	}
	within, cancel := l.bound(ctx)
	defer cancel()
	switch err := l.dead.stream.DeleteMsg(within, revision); {
	case errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful): // the reason is a text: the letter itself tells
		if changed := l.unchanged(ctx, id, revision); changed != nil {
			return changed
		}
		return fmt.Errorf("%w: dead letter %s could not be deleted: %w", ErrUnavailable, id, err)
	case err != nil:
		return fmt.Errorf("%w: delete dead letter %s: %w", ErrUnknown, id, err)
	}
	l.metrics.deadEnded.WithLabelValues("dropped").Inc()
	return nil
}

// unchanged is nil where the letter still has this revision.
func (l *Log) unchanged(ctx context.Context, id string, revision uint64) error {
	_, now, err := l.Letter(ctx, id)
	switch {
	case err != nil && !errors.Is(err, ErrBadLetter): // what nobody can read can be dropped all the same
		return err
	case now != revision:
		return fmt.Errorf("%w: %s has revision %d, not %d; look at it again", ErrLetterChanged, id, now, revision)
	}
	return nil
}
