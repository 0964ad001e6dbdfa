package ingress

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// recent keeps at least what it promises, and never more than its bound, whatever the order of puts and pauses.
func TestRecentKeepsAndForgets(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		const generations, span = 3, time.Minute
		limit := rapid.SampledFrom([]int{5, 1000}).Draw(t, "limit")
		r := newRecent[int, int](generations, span, limit)
		now := time.Unix(1_700_000_000, 0)
		put := map[int]time.Time{}
		for i := range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 90).Draw(t, "pause")) * time.Second)
			r.put(i, -i, now)
			put[i] = now
			total := 0
			for _, g := range r.generations {
				total += len(g)
			}
			if total > generations*limit {
				t.Fatalf("%d entries, the limit is %d", total, generations*limit)
			}
			for k, at := range put {
				v, ok := r.get(k, now)
				if ok && v != -k {
					t.Fatalf("%d is %d", k, v)
				}
				if !ok && limit == 1000 && now.Sub(at) < (generations-1)*span {
					t.Fatalf("%d is forgotten after %v", k, now.Sub(at))
				}
			}
		}
		if _, ok := r.get(0, now.Add(10*generations*span)); ok {
			t.Fatal("kept for ever")
		}
	})
}

func TestIsLast(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		deliveries, count int
		seenFor, age      time.Duration
		want              bool
	}{
		{3, 1, 0, 0, false},
		{3, 1, 0, 7900 * time.Millisecond, false}, // the second delivery, late, by a clock that is ahead
		{3, 1, 0, 8 * time.Second, true},
		{3, 2, 5 * time.Second, 5 * time.Second, false},
		{3, 2, 10 * time.Second, -time.Hour, true}, // our clock is behind
		{3, 3, 0, 0, true},
		{3, 4, 0, 0, true},
		{3, 1, 0, -time.Hour, false},
		{4, 3, 10 * time.Second, 10 * time.Second, false},
		{2, 1, 0, 2 * time.Second, false},
		{2, 1, 0, 5 * time.Second, true},
		{1, 1, 0, 0, true},
	} {
		if got := isLast(c.deliveries, c.count, c.seenFor, c.age); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
