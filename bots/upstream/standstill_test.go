package upstream

import (
	"testing"
	"time"
)

// jumps is a clock that stands ahead of the bubble's by what it has jumped: the process stood still meanwhile, and its timers did not.
type jumps struct{ ahead time.Duration }

func (j *jumps) now() time.Time { return time.Now().Add(j.ahead) }

func TestAProcessThatStoodStillJudgesNobodyAtFirst(t *testing.T) {
	clock := &jumps{}
	stage(t, func(o *Options) { o.Now = clock.now }, func(s *scene) {
		s.train(10, 500*time.Millisecond)
		ctx, cut := loose(s)
		s.hangs(ctx, 10)
		time.Sleep(time.Second)
		s.mu.Lock()
		clock.ahead = time.Minute
		s.mu.Unlock()
		time.Sleep(3 * time.Second)
		is(t, "closed", s.state(0), "what came meanwhile may not have been read yet")
		time.Sleep(2 * time.Second)
		is(t, "open", s.state(0), "but it had its time now")
		cut()
	})
}

func TestAStandstillsFailuresAreNobodysFault(t *testing.T) {
	clock := &jumps{}
	stage(t, func(o *Options) { o.Now = clock.now }, func(s *scene) {
		s.train(10, 500*time.Millisecond)
		for range 10 {
			s.start(s.Context(), after(time.Second+10*time.Millisecond, errBoom))
		}
		time.Sleep(time.Second)
		s.mu.Lock()
		clock.ahead = time.Minute
		s.mu.Unlock()
		s.calls.Wait()
		is(t, "closed", s.state(0))
		is(t, 0, s.Status().Endpoints[0].Failures)
		usual, ok := s.endpoints[0].usual.silence()
		is(t, true, ok)
		is(t, 500*time.Millisecond, usual)

		time.Sleep(2 * time.Second)
		s.fail(2)
		is(t, "open", s.state(0), "the moment is over")
	})
}

func TestAStandstillTeachesNothing(t *testing.T) {
	clock := &jumps{}
	stage(t, func(o *Options) { o.Now = clock.now }, func(s *scene) {
		s.train(10, 500*time.Millisecond)
		for range 20 {
			s.start(s.Context(), after(2*time.Second, nil))
		}
		time.Sleep(time.Second)
		s.mu.Lock()
		clock.ahead = time.Minute
		s.mu.Unlock()
		s.calls.Wait()
		usual, _ := s.endpoints[0].usual.silence()
		is(t, 500*time.Millisecond, usual)
	})
}
