package console_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"hongyan/console"
	"hongyan/messages"
	"hongyan/stream"
)

// byUser are the message numbers of the accepted entries, in their order.
func (d *deadBundle) byUser() map[string][]uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make(map[string][]uint64)
	for _, e := range d.accepted {
		var n uint64
		_, _ = fmt.Sscan(e.GetInbound().GetMsgId(), &n)
		out[e.GetInbound().GetOpenId()] = append(out[e.GetInbound().GetOpenId()], n)
	}
	return out
}

// A letter that is named goes to the end of the log as what it is.
func TestRedriveByID(t *testing.T) {
	t.Parallel()
	d := setUpDead(t)
	sooner := func(l *messages.DeadLetter) { l.AtMs = 1 }
	late, early := d.bury(t, "u1", 7, sooner), d.bury(t, "u1", 3, nil) // the later message died first
	gone := "1.demo.gone.1"
	dry := d.change(t, "redrive", console.DeadChange{IDs: []string{late, early, gone}, DryRun: true})
	if dry.Done != 2 || dry.Refused != 1 || len(d.accepted) != 0 {
		t.Fatalf("dry run: %+v, %d entries", dry, len(d.accepted))
	}
	got := d.change(t, "redrive", console.DeadChange{IDs: []string{late, early, gone, late}})
	if got.Done != 2 || got.Refused != 1 || got.Failed != 0 {
		t.Fatalf("%+v", got)
	}
	if i := slices.IndexFunc(got.Results, func(r console.DeadResult) bool { return r.ID == gone }); i < 0 ||
		got.Results[i].Code != "no_letter" {
		t.Errorf("%+v", got.Results)
	}
	if len(d.accepted) != 2 {
		t.Fatalf("%d entries", len(d.accepted))
	}
	for i, want := range []struct{ id, msg string }{{early, "3"}, {late, "7"}} {
		e := d.accepted[i]
		if e.GetSource() != messages.Source_SOURCE_REDRIVE || e.GetSlot() != nil || e.GetRedrive().GetLetter() != want.id ||
			e.GetRedrive().GetAttempt() != 2 || e.GetInbound().GetMsgId() != want.msg ||
			e.GetInbound().GetText().GetContent() != "question "+want.msg {
			t.Errorf("entry %d: %v, want that of %s", i, e, want.id)
		}
	}
}

// What cannot be re-driven is refused with its reason, and the others are not held up by it.
func TestRedriveRefusals(t *testing.T) {
	t.Parallel()
	d := setUpDead(t)
	want := map[string]string{
		d.bury(t, "u1", 1, nil): "",
		d.bury(t, "u1", 2, func(l *messages.DeadLetter) { l.Inbound, l.Payload = nil, []byte("x") }): "undecodable",
		d.bury(t, "u1", 3, func(l *messages.DeadLetter) { l.Inbound.Key = nil }):                     "undecodable",
		d.bury(t, "u1", 4, func(l *messages.DeadLetter) { l.Inbound.Account = "old" }):               "no_account",
		d.bury(t, "u1", 5, func(l *messages.DeadLetter) { l.Inbound.Account = "_" }):                 "no_account",
		d.bury(t, "u1", 6, func(l *messages.DeadLetter) { l.Inbound.OpenId = "" }):                   "no_user",
		d.bury(t, "u1", 8, nil): "",
	}
	taken := d.bury(t, "u1", 7, nil)
	d.take(t, taken)
	want[taken] = "redriven"
	var ids []string
	for id := range want {
		ids = append(ids, id)
	}
	for _, dry := range []bool{true, false} {
		got := d.change(t, "redrive", console.DeadChange{IDs: ids, DryRun: dry})
		if len(got.Results) != len(want) || got.Done != 2 || got.Failed != 0 {
			t.Fatalf("%+v", got)
		}
		for _, r := range got.Results {
			if r.Code != want[r.ID] || (r.Code != "") != (r.Result == "refused") || (r.Code != "") != (r.Message != "") {
				t.Errorf("%+v, want code %q", r, want[r.ID])
			}
		}
	}
	if got := d.byUser(); !slices.Equal(got["u1"], []uint64{1, 8}) || len(got) != 1 {
		t.Errorf("entries %v", got)
	}
}

// By a filter all open letters go to the log, each once, every user's in the order of his messages, however they lie in the stream;
// and those that died meanwhile are no part of it.
func TestRedriveByFilter(t *testing.T) {
	t.Parallel()
	d := setUpDead(t)
	const users, each = 7, 60
	for n := each; n > 0; n-- { // youngest first
		for u := range users {
			d.bury(t, fmt.Sprint("u", u), n, func(l *messages.DeadLetter) { l.AtMs = int64(each - n) })
		}
	}
	d.take(t, d.bury(t, "u0", each+1, nil))
	var again atomic.Int64
	d.after = func(*messages.Entry, uint64) error { // messages die meanwhile, of users who were dealt with and of others
		n := int(again.Add(1))
		d.bury(t, fmt.Sprint("u", n%users), 1000+n, nil)
		return nil
	}
	ask := console.DeadChange{Filter: &console.DeadFilter{Account: "demo"}}
	done := 0
	for rounds := 0; ; rounds++ {
		got := d.change(t, "redrive", ask)
		done += got.Done
		if got.Refused+got.Failed != 0 || rounds > 100 {
			t.Fatalf("round %d: %d refused, %d failed", rounds, got.Refused, got.Failed)
		}
		if ask.Cursor = got.Next; ask.Cursor == "" {
			break
		}
	}
	entries := d.byUser()
	if done != users*each || len(entries) != users {
		t.Errorf("%d letters of %d users re-driven, want %d", done, len(entries), users*each)
	}
	for user, got := range entries {
		if len(got) != each || !slices.IsSorted(got) || got[0] != 1 {
			t.Errorf("%s: %v", user, got)
		}
	}
}

// A user's letters are chosen by a filter as well, and only his.
func TestRedriveOneUser(t *testing.T) {
	t.Parallel()
	d := setUpDead(t)
	for n := range 5 {
		for u := range 6 {
			d.bury(t, fmt.Sprint("u", u), n+1, nil)
		}
	}
	for u := range 6 {
		user := fmt.Sprint("u", u)
		got := d.change(t, "redrive", console.DeadChange{Filter: &console.DeadFilter{Account: "demo", User: user}})
		if got.Done != 5 || got.Next != "" || !slices.Equal(d.byUser()[user], []uint64{1, 2, 3, 4, 5}) {
			t.Errorf("%s: %+v, %v", user, got, d.byUser()[user])
		}
	}
}

// Behind a letter that the log did not take nothing of its user is written, so that the order stays; other users go on, the rest is not
// begun, and the same command later does the rest.
func TestRedriveOverABrokenLog(t *testing.T) {
	t.Parallel()
	d := setUpDead(t)
	for n := range 4 {
		for u := range 3 {
			d.bury(t, fmt.Sprint("u", u), n+1, nil)
		}
	}
	var broken atomic.Bool
	broken.Store(true)
	d.before = func(e *messages.Entry) error {
		if broken.Load() && e.GetInbound().GetOpenId() == "u1" && e.GetInbound().GetMsgId() == "2" {
			return fmt.Errorf("%w: maximum bytes exceeded", stream.ErrFull)
		}
		return nil
	}
	var ids []string
	for n := range 4 {
		for u := range 3 {
			p := messages.User{Account: "demo", OpenID: fmt.Sprint("u", u)}.Partition(deadPartitions)
			ids = append(ids, stream.LetterID(p, "demo", fmt.Sprintf("u%d.1.%d", u, n+1)))
		}
	}
	got := d.change(t, "redrive", console.DeadChange{IDs: ids})
	if got.Done != 9 || got.Failed != 3 {
		t.Fatalf("%+v", got)
	}
	codes := map[string]int{}
	for _, r := range got.Results {
		codes[r.Code]++
	}
	if codes["unavailable"] != 1 || codes["order"] != 2 {
		t.Errorf("%v", codes)
	}
	if entries := d.byUser(); !slices.Equal(entries["u1"], []uint64{1}) || len(entries["u0"]) != 4 || len(entries["u2"]) != 4 {
		t.Errorf("%v", entries)
	}
	byFilter := d.change(t, "redrive", console.DeadChange{Filter: &console.DeadFilter{}})
	if byFilter.Failed == 0 || byFilter.Next == "" {
		t.Errorf("by filter over a broken log: %+v", byFilter)
	}
	broken.Store(false)
	d.accepted = nil
	if got = d.change(t, "redrive", console.DeadChange{Filter: &console.DeadFilter{Account: "demo", User: "u1"}}); got.Done != 4 ||
		got.Failed != 0 {
		t.Errorf("%+v", got)
	}
	if entries := d.byUser(); !slices.Equal(entries["u1"], []uint64{1, 2, 3, 4}) {
		t.Errorf("%v", entries)
	}
}

// An acknowledgement that was lost makes a second entry for the same letter; only one of them takes it up.
func TestRedriveWithUnknownOutcome(t *testing.T) {
	t.Parallel()
	d := setUpDead(t)
	id := d.bury(t, "u1", 1, nil)
	var calls atomic.Int64
	var sequences []uint64
	d.after = func(_ *messages.Entry, sequence uint64) error {
		sequences = append(sequences, sequence)
		if calls.Add(1) == 1 {
			return fmt.Errorf("%w: no acknowledgement", stream.ErrUnknown)
		}
		return nil
	}
	if got := d.change(t, "redrive", console.DeadChange{IDs: []string{id}}); got.Done != 1 || len(sequences) != 2 {
		t.Fatalf("%+v, entries %v", got, sequences)
	}
	won := 0
	for _, sequence := range sequences {
		taken, err := d.log.TakeUp(t.Context(), id, &messages.Redriven{Generation: 1, Sequence: sequence})
		if err != nil {
			t.Fatal(err)
		}
		if taken {
			won++
		}
	}
	if won != 1 {
		t.Errorf("%d of 2 entries took the letter up", won)
	}
	if got := d.change(t, "redrive", console.DeadChange{IDs: []string{id}}); got.Refused != 1 || got.Results[0].Code != "redriven" {
		t.Errorf("afterwards: %+v", got)
	}
}

func TestDropLetters(t *testing.T) {
	t.Parallel()
	d := setUpDead(t)
	var ids []string
	for n := range 10 {
		ids = append(ids, d.bury(t, fmt.Sprint("u", n%2), n, nil))
	}
	d.take(t, ids[9])
	if got := d.change(t, "drop", console.DeadChange{Filter: &console.DeadFilter{}, DryRun: true}); got.Done != 9 {
		t.Errorf("dry run: %+v", got)
	}
	if got := d.change(t, "drop", console.DeadChange{IDs: []string{ids[0], "1.demo.gone"}}); got.Done != 1 || got.Refused != 1 {
		t.Errorf("by id: %+v", got)
	}
	if n, err := d.log.DeadCount(t.Context()); n != 9 || err != nil {
		t.Fatal(n, err)
	}
	if got := d.change(t, "drop", console.DeadChange{Filter: &console.DeadFilter{}}); got.Done != 8 || got.Next != "" {
		t.Errorf("by filter: %+v", got)
	}
	if letter, _, err := d.log.Letter(t.Context(), ids[9]); err != nil || letter.GetRedriven() == nil {
		t.Errorf("the one that was taken up: %v, %v", letter, err)
	}
	if got := d.change(t, "drop", console.DeadChange{Filter: &console.DeadFilter{State: "redriven"}}); got.Done != 1 {
		t.Errorf("by state: %+v", got)
	}
	if n, err := d.log.DeadCount(t.Context()); n != 0 || err != nil {
		t.Error(n, err)
	}
}

// A letter that an entry takes up between the look and the deletion stays.
func TestDropOfATakenLetterIsRefused(t *testing.T) {
	t.Parallel()
	d := setUpDead(t)
	d.bury(t, "u1", 1, nil)
	id := d.bury(t, "u1", 2, nil)
	d.over(t, &brokenLetters{DeadLetters: d.log, drop: func(dropped string) {
		if dropped == id {
			d.take(t, id)
		}
	}})
	got := d.change(t, "drop", console.DeadChange{Filter: &console.DeadFilter{}})
	if got.Done != 1 || got.Refused != 1 || got.Failed != 0 {
		t.Fatalf("%+v", got)
	}
	if letter, _, err := d.log.Letter(t.Context(), id); err != nil || letter.GetRedriven() == nil {
		t.Errorf("%v, %v", letter, err)
	}
}

// brokenLetters are dead letters with something in their way.
type brokenLetters struct {
	console.DeadLetters
	drop func(id string) // called before each deletion
	err  error           // of every question
}

func (b *brokenLetters) Drop(ctx context.Context, id string, revision uint64) error {
	b.drop(id)
	return b.DeadLetters.Drop(ctx, id, revision)
}

func (b *brokenLetters) Letter(ctx context.Context, id string) (*messages.DeadLetter, uint64, error) {
	if b.err != nil {
		return nil, 0, b.err
	}
	return b.DeadLetters.Letter(ctx, id)
}

func (b *brokenLetters) Letters(ctx context.Context, f stream.LetterFilter, cursor uint64, limit int) (stream.LetterPage, error) {
	if b.err != nil {
		return stream.LetterPage{}, b.err
	}
	return b.DeadLetters.Letters(ctx, f, cursor, limit)
}

// over makes the API anew over other dead letters.
func (d *deadBundle) over(t *testing.T, dead console.DeadLetters) {
	t.Helper()
	d.options.Dead, d.options.Metrics = dead, prometheus.NewRegistry()
	var err error
	if d.handler, err = console.New(d.options); err != nil {
		t.Fatal(err)
	}
}

// The log cannot be asked: nothing was done, and the API says so.
func TestDeadLettersThatCannotBeAsked(t *testing.T) {
	t.Parallel()
	d := setUpDead(t)
	id := d.bury(t, "u1", 1, nil)
	for _, c := range []struct {
		err    error
		status int
		code   string
	}{
		{fmt.Errorf("%w: no leader", stream.ErrUnavailable), http.StatusServiceUnavailable, "unavailable"},
		{fmt.Errorf("%w: %w", stream.ErrUnavailable, context.DeadlineExceeded), http.StatusGatewayTimeout, "timeout"},
	} {
		d.over(t, &brokenLetters{DeadLetters: d.log, err: c.err})
		for what, w := range map[string]*httptest.ResponseRecorder{
			"list":       d.do(http.MethodGet, "/api/v1/dead", "Authorization", "Bearer the-admin-token"),
			"show":       d.do(http.MethodGet, "/api/v1/dead/"+id, "Authorization", "Bearer the-admin-token"),
			"by id":      d.post("/api/v1/dead/redrive", "the-admin-token", `{"ids":["`+id+`"]}`),
			"by filter":  d.post("/api/v1/dead/drop", "the-admin-token", `{"filter":{}}`),
			"in a dream": d.post("/api/v1/dead/redrive", "the-admin-token", `{"filter":{},"dry_run":true}`),
		} {
			if w.Code != c.status || !strings.Contains(w.Body.String(), `"`+c.code+`"`) {
				t.Errorf("%s over %v: %d %s", what, c.err, w.Code, w.Body)
			}
		}
	}
	if len(d.accepted) != 0 {
		t.Errorf("%d entries", len(d.accepted))
	}
}
