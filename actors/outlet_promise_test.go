package actors

import (
	"testing"
	"time"
)

// Of thousands who ask at once, as many are told that they may send as there is room for; whoever sends makes room again, and so does
// time for those who never came.
func TestPromises(t *testing.T) {
	t.Parallel()
	var p promises
	now := time.UnixMilli(0).Add(1000 * promiseFor)
	crowd := func(at time.Time, room int) (told int) {
		for range 5000 {
			if p.make(at, room) {
				told++
			}
		}
		return told
	}
	for _, c := range []struct {
		after      time.Duration
		kept       int
		room, told int
	}{
		{0, 0, 100, 100},
		{promiseFor - time.Millisecond, 0, 100, 0},
		{0, 30, 100, 30},
		{promiseFor, 0, 1, 1}, // those of before count no more
		{promiseFor, 5, 1, 1},
		{2 * promiseFor, 0, 1 << 20, maxInFlight},
		{9 * promiseFor, 0, 0, 0},
		{9 * promiseFor, 0, -3, 0},
	} {
		for range c.kept {
			p.kept()
		}
		if told := crowd(now.Add(c.after), c.room); told != c.told {
			t.Errorf("%v later, room for %d, %d kept: %d were told that they may send, not %d", c.after, c.room, c.kept, told, c.told)
		}
	}
}

// A whole crowd is ready at once: so many hear yes as calls fit beside each other, and one alone while the breaker tries.
func TestReadyIsAPromise(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		o.start()
		s := o.node("n1")
		pushUntil(t, s, "u", "first", time.Second)
		crowd := func() (told int) {
			for range 5000 {
				if ok, _, _ := s.Ready(account); ok {
					told++
				}
			}
			return told
		}
		time.Sleep(promiseFor)
		if told := crowd(); told == 0 || told > maxInFlight {
			t.Errorf("%d were told that they may send, %d calls fit beside each other", told, maxInFlight)
		}
		if told := crowd(); told != 0 {
			t.Errorf("%d more were told so", told)
		}
		time.Sleep(promiseFor)
		if told := crowd(); told == 0 {
			t.Error("nobody may send, though none of those who were told did")
		}
	})
}
