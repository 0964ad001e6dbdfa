package console

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"hongyan/messages"
	"hongyan/stream"
)

// usersAtOnce is how many users' letters are dealt with side by side, and how many letters are looked up.
const usersAtOnce = 32

// acceptPauses are the waits before a letter's entry is offered to the log again: two entries for one letter have one effect.
var acceptPauses = []time.Duration{200 * time.Millisecond, time.Second}

// dealer deals with one letter; dry changes nothing. An error is a failure: the letter may have been dealt with or not.
type dealer func(ctx context.Context, h *handler, ref letterRef, dry bool) (refusal DeadResult, err error)

// slice deals with letters in the order of work: each user's one after the other, the next only when the one before is done, and
// users side by side. What is behind a failed letter of its user fails as well, so that the order stays.
func (c *change) slice(ctx context.Context, refs []letterRef) {
	results := make([]DeadResult, len(refs))
	var users errgroup.Group
	users.SetLimit(usersAtOnce)
	for from := 0; from < len(refs); {
		to := from + 1
		for to < len(refs) && refs[to].Partition == refs[from].Partition && refs[to].User == refs[from].User {
			to++
		}
		mine, out := refs[from:to], results[from:to]
		users.Go(func() error {
			c.oneUser(ctx, mine, out)
			return nil
		})
		from = to
	}
	_ = users.Wait() // the results tell
	for _, r := range results {
		c.note(r)
	}
}

// oneUser deals with letters of one user, in their order.
func (c *change) oneUser(ctx context.Context, refs []letterRef, out []DeadResult) {
	failed := ""
	for i, ref := range refs {
		if failed != "" {
			out[i] = DeadResult{Result: ResultFailed, Code: "order", Message: "letter " + failed + " of the same user comes before it, and failed"}
		} else {
			r, err := c.deal(ctx, c.handler, ref, c.out.DryRun)
			if err != nil {
				failed = ref.ID
				r = DeadResult{Result: ResultFailed, Code: "unavailable", Message: err.Error()}
			}
			out[i] = r
		}
		out[i].ID, out[i].Reason = ref.ID, ref.reason
	}
}

// redrive writes the letter's entry to the end of the log. Which entry runs, where there are several, is decided when its turn has
// come, by compare-and-set on the letter (DESIGN §3 rule 19); what is looked at here only spares the log entries that lead nowhere.
func redrive(ctx context.Context, h *handler, ref letterRef, dry bool) (DeadResult, error) {
	letter, _, err := h.Dead.Letter(ctx, ref.ID)
	if r, done := h.missing(err); done {
		return r, nil
	}
	if err != nil {
		return DeadResult{}, err
	}
	if r, refused := h.refusal(letter); refused {
		return r, nil
	}
	if dry {
		return DeadResult{Result: ResultDone}, nil
	}
	entry := &messages.Entry{
		Inbound: letter.GetInbound(), Source: messages.Source_SOURCE_REDRIVE,
		Redrive: &messages.Redrive{Letter: ref.ID, Attempt: letter.GetAttempt() + 1, Entry: rand.Text()},
	}
	for try := 0; ; try++ {
		if _, err = h.Log.Accept(ctx, entry); err == nil {
			return DeadResult{Result: ResultDone}, nil
		}
		if errors.Is(err, stream.ErrFull) || try == len(acceptPauses) {
			return DeadResult{}, fmt.Errorf("write its entry to the log: %w", err)
		}
		select {
		case <-time.After(acceptPauses[try]):
		case <-ctx.Done():
			return DeadResult{}, fmt.Errorf("write its entry to the log: %w", err)
		}
	}
}

// missing is the refusal of a letter that is not there or cannot be read.
func (h *handler) missing(err error) (DeadResult, bool) {
	switch {
	case errors.Is(err, stream.ErrNoLetter):
		return refuse("no_letter", "it was dropped, or never there")
	case errors.Is(err, stream.ErrBadLetter):
		return refuse("unreadable", "what is stored is no dead letter of this version: ask a node of a newer one, or drop it")
	}
	return DeadResult{}, false
}

// refusal says why a letter cannot be re-driven, if it cannot.
func (h *handler) refusal(letter *messages.DeadLetter) (DeadResult, bool) {
	in := letter.GetInbound()
	switch by := letter.GetRedriven(); {
	case by != nil:
		return refuse("redriven", fmt.Sprintf("entry %d:%d of the log took it up at %s", by.GetGeneration(), by.GetSequence(),
			instant(by.GetAtMs()).Format(time.RFC3339)))
	case in == nil || len(in.GetKey()) != messages.KeySize:
		return refuse("undecodable", "the log entry could not be decoded, so there is no message to re-drive: see its payload "+
			"(hongyan dead show), let the user write again, then drop it")
	case !slices.Contains(h.Accounts, in.GetAccount()):
		return refuse("no_account", fmt.Sprintf("account %q is not configured here: put it back into the configuration of every node, "+
			"start them again, and re-drive it then", in.GetAccount()))
	case in.GetOpenId() == "":
		return refuse("no_user", "the push names no user, so no actor would take it: drop it")
	}
	return DeadResult{}, false
}

func refuse(code, message string) (DeadResult, bool) {
	return DeadResult{Result: ResultRefused, Code: code, Message: message}, true
}

// drop deletes the version of the letter that was looked at.
func drop(ctx context.Context, h *handler, ref letterRef, dry bool) (DeadResult, error) {
	if dry {
		return DeadResult{Result: ResultDone}, nil
	}
	err := h.Dead.Drop(ctx, ref.ID, ref.revision)
	switch {
	case errors.Is(err, stream.ErrNoLetter):
		r, _ := refuse("no_letter", "it was dropped already")
		return r, nil
	case errors.Is(err, stream.ErrLetterChanged):
		r, _ := refuse("changed", "it changed since it was looked at, most probably because an entry of the log took it up: look at it again")
		return r, nil
	}
	return DeadResult{Result: ResultDone}, err
}

// inParallel calls f for every index, some at a time, and returns the first error.
func inParallel(ctx context.Context, n int, f func(i int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(usersAtOnce)
	for i := range n {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return f(i)
		})
	}
	return g.Wait()
}
