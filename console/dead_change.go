package console

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"hongyan/messages"
	"hongyan/stream"
)

const (
	changeLimit = 12 * time.Second // of one request; less than requestLimit
	changeWork  = 6 * time.Second  // after which a request by filter begins nothing new, and ends with a cursor
	changeMost  = 5000             // letters that one request by filter deals with
	changeIDs   = 1000             // letters that one request may name
	changeBody  = 1 << 20          // bytes
	scanMost    = 20_000           // letters that are asked for at once; the log bounds their bytes
	sliceSize   = 512              // letters that are dealt with before the next look at the clock
)

// DeadChange is the body of POST /api/v1/dead/redrive and /drop: either ids or a filter. A filter needs no condition; an empty one
// means every letter. Letters that are re-driven already are no part of it, unless its state says so.
type DeadChange struct {
	IDs    []string    `json:"ids,omitempty"`
	Filter *DeadFilter `json:"filter,omitempty"`
	DryRun bool        `json:"dry_run,omitempty"` // tell what would happen, and change nothing
	Cursor string      `json:"cursor,omitempty"`  // with a filter: the next of the answer before
}

// DeadChanged is the answer: what became of each letter.
type DeadChanged struct {
	Results []DeadResult `json:"results"`
	Done    int          `json:"done"`
	Refused int          `json:"refused"`
	Failed  int          `json:"failed"`
	DryRun  bool         `json:"dry_run"`
	Next    string       `json:"next,omitempty"` // with a filter: ask again with this cursor; without one all is done
}

// DeadResult is what became of one letter.
type DeadResult struct {
	ID string `json:"id"`
	// done: its entry is in the log, or it is dropped; with dry_run: it would be. refused: it cannot be, and why. failed: it may have
	// been done or not, and doing it again is safe.
	Result string `json:"result"`
	// Code is append-only: no_letter, redriven, changed, undecodable, no_account, no_user, unreadable; failed: unavailable, order.
	Code    string `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
	Reason  string `json:"reason,omitempty"` // of the letter
}

// The values of DeadResult.Result.
const (
	ResultDone    = "done"
	ResultRefused = "refused"
	ResultFailed  = "failed"
)

// letterRef is what is known of a letter while its turn has not come: many of them are in memory at once.
type letterRef struct {
	place
	revision uint64
	reason   string
}

// place is a letter's place in the order of work: partition by partition, in them user by user, of a user the oldest message first.
type place struct {
	Partition  int    `json:"p"`
	User       string `json:"u"` // messages.User.Hash
	Generation uint64 `json:"g"`
	Sequence   uint64 `json:"s"` // 0 where an answer died long after its message's entry was gone
	AtMS       int64  `json:"t"`
	ID         string `json:"i"`
}

func (a place) compare(b place) int {
	return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.User, b.User), cmp.Compare(a.Generation, b.Generation),
		cmp.Compare(a.Sequence, b.Sequence), cmp.Compare(a.AtMS, b.AtMS), cmp.Compare(a.ID, b.ID))
}

func refOf(s *stream.StoredLetter) letterRef {
	partition, _, _, _ := stream.ParseLetterID(s.ID) // what is listed has an id
	d := s.Letter
	user := messages.User{Account: d.GetInbound().GetAccount(), OpenID: d.GetInbound().GetOpenId()}
	return letterRef{place{partition, user.Hash(), d.GetGeneration(), d.GetSequence(), d.GetAtMs(), s.ID}, s.Revision, d.GetReason()}
}

// changeCursor says how far a change by filter is. Letters beyond End were buried since it began and are no part of it: among them
// are those that it re-drove and that died again.
type changeCursor struct {
	End   uint64 `json:"e"`
	After place  `json:"a"`
}

func (c changeCursor) String() string {
	text, _ := json.Marshal(c) // numbers and strings: it cannot fail
	return base64.RawURLEncoding.EncodeToString(text)
}

func parseChangeCursor(text string) (c changeCursor, err error) {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(raw, &c)
	}
	if err != nil || c.After.Partition < 0 {
		return c, errors.New("cursor is not one that an answer gave")
	}
	return c, nil
}

// deadChange answers POST /api/v1/dead/redrive and /drop.
func (h *handler) deadChange(what string, deal dealer) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ask, filter, err := readChange(w, r)
		if err != nil {
			h.fail(w, http.StatusBadRequest, "bad_request", err.Error())
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), changeLimit)
		defer cancel()
		c := change{handler: h, deal: deal, out: DeadChanged{Results: []DeadResult{}, DryRun: ask.DryRun}}
		if ask.Filter != nil {
			err = c.byFilter(ctx, filter, ask.Cursor)
		} else {
			err = c.byID(ctx, ask.IDs)
		}
		switch {
		case errors.Is(err, errBadCursor):
			h.fail(w, http.StatusBadRequest, "bad_request", err.Error())
			return
		case err != nil && len(c.out.Results) == 0:
			h.deadFailed(w, "dead letters not changed", err)
			return
		case err != nil: // what was done is told; the cursor goes on behind it
			h.Logger.Warn("dead letters changed in part", "error", err)
		}
		h.Logger.Info("dead letters changed", "how", what, "dry_run", ask.DryRun, "done", c.out.Done, "refused", c.out.Refused,
			"failed", c.out.Failed, "by_filter", ask.Filter != nil)
		h.writeJSON(w, http.StatusOK, c.out)
	}
}

var errBadCursor = errors.New("bad cursor")

// readChange reads and checks what is asked.
func readChange(w http.ResponseWriter, r *http.Request) (ask DeadChange, filter stream.LetterFilter, err error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, changeBody))
	if err != nil {
		return ask, filter, fmt.Errorf("the body cannot be read: %w", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields() // a misspelt filter must not match everything
	if err := decoder.Decode(&ask); err != nil {
		return ask, filter, fmt.Errorf("the body is not what this call takes: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return ask, filter, errors.New("the body has more than one JSON value")
	}
	switch {
	case (ask.Filter == nil) == (len(ask.IDs) == 0):
		return ask, filter, errors.New("name ids, or a filter, and not both")
	case len(ask.IDs) > changeIDs:
		return ask, filter, fmt.Errorf("%d ids are more than %d: send them in several requests, one user's in one of them",
			len(ask.IDs), changeIDs)
	case ask.Filter == nil && ask.Cursor != "":
		return ask, filter, errors.New("cursor needs a filter")
	case ask.Filter != nil:
		filter, err = ask.Filter.parse(StateOpen)
	}
	return ask, filter, err
}

// change is one request under way.
type change struct {
	*handler
	deal dealer
	out  DeadChanged
}

// byID deals with the letters that are named.
func (c *change) byID(ctx context.Context, ids []string) error {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	ids = slices.Compact(ids)
	found := make([]*letterRef, len(ids))
	refused := make([]DeadResult, len(ids))
	if err := inParallel(ctx, len(ids), func(i int) error {
		letter, revision, err := c.Dead.Letter(ctx, ids[i])
		switch {
		case errors.Is(err, stream.ErrNoLetter):
			refused[i] = DeadResult{ID: ids[i], Result: ResultRefused, Code: "no_letter", Message: err.Error()}
			return nil
		case err != nil && !errors.Is(err, stream.ErrBadLetter):
			return err
		}
		ref := refOf(&stream.StoredLetter{ID: ids[i], Revision: revision, Letter: letter})
		found[i] = &ref
		return nil
	}); err != nil {
		return err
	}
	var refs []letterRef
	for i, ref := range found {
		if ref != nil {
			refs = append(refs, *ref)
		} else {
			c.note(refused[i])
		}
	}
	slices.SortFunc(refs, func(a, b letterRef) int { return a.compare(b.place) })
	c.slice(ctx, refs)
	return nil
}

// byFilter deals with letters until the request has had its time, partition by partition. It ends early, without a cursor's loss,
// where a letter failed: the next ones would most probably, too.
func (c *change) byFilter(ctx context.Context, filter stream.LetterFilter, text string) (err error) {
	var at changeCursor
	if text == "" {
		at.End, err = c.Dead.DeadEnd(ctx)
	} else if at, err = parseChangeCursor(text); err != nil {
		err = fmt.Errorf("%w: %w", errBadCursor, err)
	}
	if err != nil {
		return err
	}
	until := c.Now().Add(changeWork)
	first, end := 0, c.Dead.Partitions()
	if filter.OpenID != "" { // a user's letters are all in his partition
		first = messages.User{Account: filter.Account, OpenID: filter.OpenID}.Partition(end)
		end = first + 1
	}
	for p := max(first, at.After.Partition); p < end; p++ {
		refs, err := c.scan(ctx, filter, p, at)
		if err != nil {
			return c.pause(at, err)
		}
		for part := range slices.Chunk(refs, sliceSize) {
			if len(c.out.Results) > 0 && (c.Now().After(until) || len(c.out.Results)+len(part) > changeMost) {
				return c.pause(at, nil)
			}
			c.slice(ctx, part)
			at.After = part[len(part)-1].place
			if c.out.Failed > 0 {
				return c.pause(at, nil)
			}
		}
		at.After = place{Partition: p + 1}
		if c.Now().After(until) && p+1 < end {
			return c.pause(at, nil)
		}
	}
	return nil
}

// pause ends the request with a cursor.
func (c *change) pause(at changeCursor, err error) error {
	c.out.Next = at.String()
	return err
}

// scan finds a partition's letters that are still to be dealt with, in the order of work.
func (c *change) scan(ctx context.Context, filter stream.LetterFilter, partition int, at changeCursor) (refs []letterRef, err error) {
	filter.Partition = &partition
	for cursor := uint64(0); cursor < at.End; {
		page, err := c.Dead.Letters(ctx, filter, cursor, scanMost)
		if err != nil {
			return nil, err
		}
		for i := range page.Letters {
			if ref := refOf(&page.Letters[i]); ref.revision <= at.End && ref.compare(at.After) > 0 {
				refs = append(refs, ref)
			}
		}
		if cursor = page.Next; cursor == 0 {
			break
		}
	}
	slices.SortFunc(refs, func(a, b letterRef) int { return a.compare(b.place) })
	return refs, nil
}

// note adds one result.
func (c *change) note(r DeadResult) {
	switch r.Result {
	case ResultDone:
		c.out.Done++
	case ResultRefused:
		c.out.Refused++
	default:
		c.out.Failed++
	}
	c.out.Results = append(c.out.Results, r)
}
