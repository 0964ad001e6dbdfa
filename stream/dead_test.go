package stream_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"hongyan/messages"
	"hongyan/stream"
)

// letterOf is the dead letter of a user's n-th message.
func letterOf(user string, n int, reason string, at time.Time) *messages.DeadLetter {
	return &messages.DeadLetter{Inbound: entry(user, n).GetInbound(), Generation: 1, Sequence: uint64(n), Reason: reason,
		AtMs: at.UnixMilli(), Attempt: 1}
}

// bury stores a letter where its user's letters are, and returns its id.
func bury(t *testing.T, l *stream.Log, user string, n int, reason string, at time.Time) string {
	t.Helper()
	p := messages.User{Account: "demo", OpenID: user}.Partition(4)
	id := fmt.Sprintf("%s.%d", user, n)
	if err := l.Bury(t.Context(), p, "demo", id, letterOf(user, n, reason, at)); err != nil {
		t.Fatal(err)
	}
	return stream.LetterID(p, "demo", id)
}

func redriven(sequence uint64) *messages.Redriven {
	return &messages.Redriven{Generation: 1, Sequence: sequence, AtMs: 7}
}

// Rule 19: of many entries that take one letter up at once exactly one wins, it wins again whenever it asks, and the letter says
// which it was, also after a restart of the server.
func TestTakeUpHasOneWinner(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openIn(t, dir, stream.Options{})
	const letters, racers = 20, 8
	var ids []string
	for n := range letters {
		ids = append(ids, bury(t, s.log, "u", n, "bot", time.Now()))
	}
	winners := make([]uint64, letters)
	for n, id := range ids {
		var won atomic.Int64
		var race sync.WaitGroup
		for r := range racers {
			race.Go(func() {
				switch taken, err := s.log.TakeUp(t.Context(), id, redriven(uint64(r+1))); {
				case err != nil:
					t.Error(err)
				case taken:
					won.Add(1)
					winners[n] = uint64(r + 1)
				}
			})
		}
		race.Wait()
		if won.Load() != 1 {
			t.Fatalf("%d entries took letter %s up", won.Load(), id)
		}
	}
	s.end()

	s = openIn(t, dir, stream.Options{})
	for n, id := range ids {
		letter, _, err := s.log.Letter(t.Context(), id)
		if err != nil || letter.GetRedriven().GetSequence() != winners[n] || letter.GetInbound().GetMsgId() != fmt.Sprint(n) {
			t.Fatalf("%s after a restart: %v, %v, want it taken up by %d", id, letter, err, winners[n])
		}
		for r := range racers {
			taken, err := s.log.TakeUp(t.Context(), id, redriven(uint64(r+1)))
			if err != nil || taken != (uint64(r+1) == winners[n]) {
				t.Errorf("entry %d asks again for %s: %v, %v; the winner was %d", r+1, id, taken, err, winners[n])
			}
		}
		other := redriven(winners[n])
		other.Generation++
		if taken, err := s.log.TakeUp(t.Context(), id, other); err != nil || taken {
			t.Errorf("an entry of another generation at the same place: %v, %v", taken, err)
		}
	}
	if n, err := s.log.DeadCount(t.Context()); err != nil || n != letters {
		t.Errorf("%d letters, %v, want one version of each", n, err)
	}
}

// A letter that was taken up is not buried anew as an open one by an owner that publishes it again.
func TestBuriedAgainStaysTakenUp(t *testing.T) {
	t.Parallel()
	s := open(t, stream.Options{})
	id := bury(t, s.log, "u", 1, "bot", time.Now())
	if taken, err := s.log.TakeUp(t.Context(), id, redriven(5)); err != nil || !taken {
		t.Fatal(taken, err)
	}
	if again := bury(t, s.log, "u", 1, "bot", time.Now()); again != id {
		t.Fatal(again)
	}
	if letter, _, err := s.log.Letter(t.Context(), id); err != nil || letter.GetRedriven().GetSequence() != 5 {
		t.Errorf("%v, %v", letter, err)
	}
}

// An unknown outcome is asked again and finds what the first call wrote: its PubAck was there and the fsync was not.
func TestTakeUpWithUnknownOutcome(t *testing.T) {
	t.Parallel()
	b := new(barrier)
	s := open(t, stream.Options{Barrier: b})
	id := bury(t, s.log, "u", 1, "bot", time.Now())
	b.err = errors.New("disk")
	for range 2 { // the second finds the first's version, which is no more on disk than it was
		if taken, err := s.log.TakeUp(t.Context(), id, redriven(5)); !errors.Is(err, stream.ErrUnknown) {
			t.Fatalf("taken %v, %v, over a broken disk", taken, err)
		}
	}
	if taken, err := s.log.TakeUp(t.Context(), id, redriven(6)); err != nil || taken {
		t.Errorf("another entry: %v, %v", taken, err)
	}
	b.err = nil
	before := b.calls
	if taken, err := s.log.TakeUp(t.Context(), id, redriven(5)); err != nil || !taken || b.calls == before {
		t.Errorf("asked again: %v, %v, behind %d fsyncs", taken, err, b.calls-before)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if taken, err := s.log.TakeUp(ctx, id, redriven(5)); err == nil {
		t.Errorf("said %v where nobody could be asked", taken)
	}
}

// What is dropped is gone; a version that the caller did not see is not dropped; who comes late is told.
func TestDrop(t *testing.T) {
	t.Parallel()
	s := open(t, stream.Options{})
	id := bury(t, s.log, "u", 1, "bot", time.Now())
	_, seen, err := s.log.Letter(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if taken, err := s.log.TakeUp(t.Context(), id, redriven(5)); err != nil || !taken {
		t.Fatal(taken, err)
	}
	if err := s.log.Drop(t.Context(), id, seen); !errors.Is(err, stream.ErrLetterChanged) {
		t.Errorf("drop of a version that was taken up: %v", err)
	}
	letter, now, err := s.log.Letter(t.Context(), id)
	if err != nil || letter.GetRedriven() == nil {
		t.Fatal(letter, err)
	}
	if err := s.log.Drop(t.Context(), id, now); err != nil {
		t.Fatal(err)
	}
	if err := s.log.Drop(t.Context(), id, now); !errors.Is(err, stream.ErrNoLetter) {
		t.Errorf("drop again: %v", err)
	}
	if _, _, err := s.log.Letter(t.Context(), id); !errors.Is(err, stream.ErrNoLetter) {
		t.Errorf("letter: %v", err)
	}
	if taken, err := s.log.TakeUp(t.Context(), id, redriven(5)); err != nil || taken {
		t.Errorf("take up what was dropped: %v, %v", taken, err)
	}
	if n, err := s.log.DeadCount(t.Context()); err != nil || n != 0 {
		t.Errorf("%d letters, %v", n, err)
	}
}

// Taking up and dropping race: exactly one of them gets the letter.
func TestTakeUpOrDrop(t *testing.T) {
	t.Parallel()
	s := open(t, stream.Options{})
	for n := range 60 {
		id := bury(t, s.log, "u", n, "bot", time.Now())
		_, revision, err := s.log.Letter(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		var taken bool
		var takeErr, dropErr error
		var race sync.WaitGroup
		race.Go(func() { taken, takeErr = s.log.TakeUp(t.Context(), id, redriven(5)) })
		race.Go(func() { dropErr = s.log.Drop(t.Context(), id, revision) })
		race.Wait()
		if takeErr != nil || taken == (dropErr == nil) {
			t.Fatalf("taken up %v (%v), dropped: %v", taken, takeErr, dropErr)
		}
	}
}

// An id cannot be a pattern, and names one letter alone.
func TestLetterIDs(t *testing.T) {
	t.Parallel()
	s := open(t, stream.Options{})
	bury(t, s.log, "u", 1, "bot", time.Now())
	for _, id := range []string{"", "1", "1.demo", "*.demo.>", "0.demo.>", "0.demo.*.1", "x.demo.u.1", "-1.demo.u.1", "0..u.1",
		"0.demo.u 1", "0.demo.u.", "0.demo.你"} {
		if _, _, err := s.log.Letter(t.Context(), id); !errors.Is(err, stream.ErrNoLetter) {
			t.Errorf("letter %q: %v", id, err)
		}
		if err := s.log.Drop(t.Context(), id, 1); !errors.Is(err, stream.ErrNoLetter) {
			t.Errorf("drop %q: %v", id, err)
		}
		if taken, err := s.log.TakeUp(t.Context(), id, redriven(1)); taken || err != nil {
			t.Errorf("take up %q: %v, %v", id, taken, err)
		}
	}
	if p, account, id, err := stream.ParseLetterID("63._.ab.1.2"); p != 63 || account != "_" || id != "ab.1.2" || err != nil {
		t.Error(p, account, id, err)
	}
}

// A stream that is full of letters refuses more of them, cleanly, and still lets every one be taken up; dropping makes room again.
func TestFullOfLetters(t *testing.T) {
	t.Parallel()
	s := open(t, stream.Options{DeadMaxBytes: 256 << 10})
	var ids []string
	for n := 0; ; n++ {
		p := messages.User{Account: "demo", OpenID: "u"}.Partition(4)
		err := s.log.Bury(t.Context(), p, "demo", fmt.Sprint("u.", n), letterOf("u", n, "bot", time.Now()))
		if errors.Is(err, stream.ErrFull) {
			break
		}
		if err != nil || n > 5000 {
			t.Fatal(n, err)
		}
		ids = append(ids, stream.LetterID(p, "demo", fmt.Sprint("u.", n)))
	}
	if len(ids) < 300 {
		t.Fatalf("full with %d letters", len(ids))
	}
	for n, id := range ids {
		if taken, err := s.log.TakeUp(t.Context(), id, redriven(uint64(n)+1<<40)); err != nil || !taken {
			t.Fatalf("letter %d of %d: %v, %v", n, len(ids), taken, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = s.log.Run(ctx) })
	defer running.Wait()
	defer cancel()
	for _, id := range ids[:len(ids)/2] {
		_, revision, err := s.log.Letter(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.log.Drop(t.Context(), id, revision); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "room for one more", func() bool {
		return s.log.Bury(t.Context(), 0, "demo", "one.more", &messages.DeadLetter{Reason: "bot"}) == nil
	})
}

// all reads every page.
func all(t *testing.T, l *stream.Log, f stream.LetterFilter, limit int) (ids []string, pages int) {
	t.Helper()
	for cursor := uint64(0); ; {
		page, err := l.Letters(t.Context(), f, cursor, limit)
		if err != nil {
			t.Fatal(err)
		}
		pages++
		for _, letter := range page.Letters {
			ids = append(ids, letter.ID)
		}
		if len(page.Letters) > limit || page.Next != 0 && page.Next <= cursor {
			t.Fatalf("a page of %d letters up to %d behind %d", len(page.Letters), page.Next, cursor)
		}
		if cursor = page.Next; cursor == 0 {
			return ids, pages
		}
	}
}

// Letters are listed in the order of the stream, page by page, each once, and by every condition.
func TestLetters(t *testing.T) {
	t.Parallel()
	s := open(t, stream.Options{})
	if ids, pages := all(t, s.log, stream.LetterFilter{}, 10); len(ids) != 0 || pages != 1 {
		t.Fatal(ids, pages)
	}
	began := time.UnixMilli(1_700_000_000_000)
	var ids []string
	const users, each = 5, 40
	for n := range each {
		for u := range users {
			ids = append(ids, bury(t, s.log, fmt.Sprint("u", u), n, []string{"bot", "panic"}[n%2], began.Add(time.Duration(n)*time.Minute)))
		}
	}
	for _, limit := range []int{1, 7, 128, 129, 200, 1000} {
		if got, _ := all(t, s.log, stream.LetterFilter{}, limit); !slices.Equal(got, ids) {
			t.Fatalf("%d letters in pages of %d, want %d in their order", len(got), limit, len(ids))
		}
	}
	for n, id := range ids { // every third one is taken up, and so moves to the end
		if n%3 == 0 {
			if taken, err := s.log.TakeUp(t.Context(), id, redriven(9)); err != nil || !taken {
				t.Fatal(taken, err)
			}
		}
	}
	yes, no, partition := true, false, messages.User{Account: "demo", OpenID: "u1"}.Partition(4)
	for _, c := range []struct {
		what   string
		filter stream.LetterFilter
		want   func(n, u int) bool
	}{
		{"all", stream.LetterFilter{Account: "demo"}, func(int, int) bool { return true }},
		{"another account", stream.LetterFilter{Account: "other"}, func(int, int) bool { return false }},
		{"one user", stream.LetterFilter{Account: "demo", OpenID: "u1"}, func(_, u int) bool { return u == 1 }},
		{"one reason", stream.LetterFilter{Reason: "panic"}, func(n, _ int) bool { return n%2 == 1 }},
		{"one message", stream.LetterFilter{Key: messages.KeyOf(entry("u2", 3).GetInbound())}, func(n, u int) bool { return n == 3 && u == 2 }},
		{"since", stream.LetterFilter{Since: began.Add(10 * time.Minute)}, func(n, _ int) bool { return n >= 10 }},
		{"until", stream.LetterFilter{Until: began.Add(10 * time.Minute)}, func(n, _ int) bool { return n < 10 }},
		{"redriven", stream.LetterFilter{Redriven: &yes}, func(n, u int) bool { return (n*users+u)%3 == 0 }},
		{"open", stream.LetterFilter{Redriven: &no}, func(n, u int) bool { return (n*users+u)%3 != 0 }},
		{"a partition", stream.LetterFilter{Partition: &partition}, func(_, u int) bool {
			return messages.User{Account: "demo", OpenID: fmt.Sprint("u", u)}.Partition(4) == partition
		}},
	} {
		var want []string
		for n := range each {
			for u := range users {
				if c.want(n, u) {
					want = append(want, ids[n*users+u])
				}
			}
		}
		got, _ := all(t, s.log, c.filter, 17)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %d letters, want %d", c.what, len(got), len(want))
		}
	}
}

// What is no letter is listed and can be dropped, so that it cannot stay for ever.
func TestUnreadableLetter(t *testing.T) {
	t.Parallel()
	s := open(t, stream.Options{})
	if _, err := s.conn.Request("hy.dead.1.demo.garbage", []byte("\xff"), 5*time.Second); err != nil {
		t.Fatal(err)
	}
	page, err := s.log.Letters(t.Context(), stream.LetterFilter{}, 0, 10)
	if err != nil || len(page.Letters) != 1 || page.Letters[0].Letter != nil || page.Letters[0].ID != "1.demo.garbage" {
		t.Fatal(page, err)
	}
	if _, _, err := s.log.Letter(t.Context(), "1.demo.garbage"); !errors.Is(err, stream.ErrBadLetter) {
		t.Error(err)
	}
	if taken, err := s.log.TakeUp(t.Context(), "1.demo.garbage", redriven(1)); err != nil || taken {
		t.Error(taken, err)
	}
	if err := s.log.Drop(t.Context(), "1.demo.garbage", page.Letters[0].Revision); err != nil {
		t.Error(err)
	}
}

// A stream that an older version made keeps its letters, and from now on one version of each.
func TestOlderStreamOfLetters(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openIn(t, dir, stream.Options{})
	js, err := jetstream.New(s.conn)
	if err != nil {
		t.Fatal(err)
	}
	st, err := js.Stream(t.Context(), stream.DeadStream)
	if err != nil {
		t.Fatal(err)
	}
	config := st.CachedInfo().Config
	config.MaxMsgsPerSubject = -1
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	id := bury(t, s.log, "u", 1, "bot", time.Now())
	if taken, err := s.log.TakeUp(t.Context(), id, redriven(5)); err != nil || !taken {
		t.Fatal(taken, err)
	}
	if n, err := s.log.DeadCount(t.Context()); err != nil || n != 2 {
		t.Fatalf("%d versions, %v: this is no older stream", n, err)
	}
	s.end()
	s = openIn(t, dir, stream.Options{})
	if n, err := s.log.DeadCount(t.Context()); err != nil || n != 1 {
		t.Errorf("%d versions, %v", n, err)
	}
	if letter, _, err := s.log.Letter(t.Context(), id); err != nil || letter.GetRedriven().GetSequence() != 5 {
		t.Error(letter, err)
	}
}

// With replicas as well, through changes of the leader that lose acknowledgements, exactly one entry takes a letter up, and every
// one that asks until somebody answers learns whether it is the one.
func TestTakeUpThroughLeaderChanges(t *testing.T) {
	t.Parallel()
	all := cluster(t)
	conn := dial(t, "n", all[0].Addr().String())
	opts := stream.Options{Replicas: 3, PublishTimeout: time.Second}
	nodes := []*stream.Log{openOn(t, conn, opts)}
	opts.Attach = true
	for i, s := range all[1:] {
		nodes = append(nodes, openOn(t, dial(t, fmt.Sprint("n", i), s.Addr().String()), opts))
	}
	const letters = 30
	var ids []string
	for n := range letters {
		until(t, "a letter", func() bool {
			return nodes[0].Bury(t.Context(), 1, "demo", fmt.Sprint("key.", n), letterOf("u", n, "bot", time.Now())) == nil
		})
		ids = append(ids, stream.LetterID(1, "demo", fmt.Sprint("key.", n)))
	}
	var mu sync.Mutex
	won := make(map[string][]uint64)
	var racing sync.WaitGroup
	for r, node := range nodes {
		racing.Go(func() {
			for n, id := range ids {
				if r == 0 && n%10 == 5 {
					if _, err := conn.RequestWithContext(t.Context(), "$JS.API.STREAM.LEADER.STEPDOWN.HY_DEAD", nil); err != nil {
						t.Error(err)
					}
				}
				var taken bool
				until(t, "a word about "+id, func() (ok bool) {
					var err error
					taken, err = node.TakeUp(t.Context(), id, redriven(uint64(r+1)))
					return err == nil
				})
				if taken {
					mu.Lock()
					won[id] = append(won[id], uint64(r+1))
					mu.Unlock()
				}
			}
		})
	}
	racing.Wait()
	for _, id := range ids {
		var letter *messages.DeadLetter
		until(t, "the letter", func() (ok bool) {
			var err error
			letter, _, err = nodes[0].Letter(t.Context(), id)
			return err == nil
		})
		if len(won[id]) != 1 || letter.GetRedriven().GetSequence() != won[id][0] {
			t.Errorf("%s was taken up by %v, and says %v", id, won[id], letter.GetRedriven())
		}
	}
	var page stream.LetterPage
	until(t, "all letters in the list", func() (ok bool) { // the server that lists them may lag a moment
		var err error
		page, err = nodes[2].Letters(t.Context(), stream.LetterFilter{}, 0, 1000)
		return err == nil && len(page.Letters) == letters && page.Letters[0].Letter.GetRedriven() != nil
	})
}
