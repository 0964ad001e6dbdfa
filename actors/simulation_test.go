package actors

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hongyan/state/memory"
)

// platform is WeChat as a simulation sees it: it delivers each message up to three times, five seconds apart, until one delivery is
// ended, and remembers what it was told.
type platform struct {
	w    *world
	mu   sync.Mutex
	sent map[string][]string // by user, in the order of the log
	said []string            // the answers, as they came
	open sync.WaitGroup
}

// send delivers a message until it is answered or given up.
func (p *platform) send(user, text string) {
	in := p.w.message(user, text, "["+text+"]")
	p.mu.Lock() // the order of the log is the order of sent
	s := p.w.door.open(in)
	p.w.accept(in, s)
	p.sent[user] = append(p.sent[user], "["+text+"]")
	p.mu.Unlock()
	p.open.Go(func() {
		for n := 1; !p.ended(s); n++ {
			p.w.door.close(s)
			if p.ended(s) || n == 3 { // it may have been ended at the last moment
				return
			}
			s = p.w.door.open(in)
			p.w.accept(in, s)
		}
	})
}

// ended waits for the end of a delivery while WeChat has patience, and notes the answer.
func (p *platform) ended(s *slot) bool {
	for range 100 {
		if s.isDone() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.said = append(p.said, s.text())
			return true
		}
		s.door.mu.Lock()
		closed := s.closed
		s.door.mu.Unlock()
		if closed {
			return false
		}
		time.Sleep(50 * time.Millisecond)
	}
	return false
}

// TestSimulation runs many users through crashes, faults of the store, of the log and of the way to the ingresses, and compares in the
// end what the platform saw with promises P1, P2, P3 and P5.
func TestSimulation(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) { simulate(t, w, rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

func simulate(t *testing.T, w *world, rnd *rand.Rand) {
	t.Helper()
	p := &platform{w: w, sent: make(map[string][]string)}
	w.opts.PassivateAfter = time.Duration(5+rnd.IntN(60)) * time.Second
	if rnd.IntN(2) == 0 {
		w.opts.Barrier = barrierFunc(func(context.Context) error { return nil })
	}
	w.start()
	users := []string{"u1", "u2", "u3", "u4"}
	const each = 8
	for n := range each {
		for _, user := range users {
			text := fmt.Sprint(user, "-", n)
			if rnd.IntN(4) == 0 {
				w.bot.slow("["+text+"]", time.Duration(rnd.IntN(20000))*time.Millisecond)
			}
			p.send(user, text)
			time.Sleep(time.Duration(rnd.IntN(800)) * time.Millisecond)
		}
		trouble(w, rnd)
	}
	// Everything works again.
	w.breakStore(func(memory.Call) memory.Fault { return memory.None })
	w.log.Fail(nil)
	w.door.behave(func(d *door) { d.deaf, d.mute, d.gone = false, false, false })
	time.Sleep(time.Second)
	w.revive()
	p.open.Wait()
	time.Sleep(2 * time.Minute)
	for _, user := range users { // and takes what was kept
		p.send(user, user+"-end")
	}
	p.open.Wait()
	time.Sleep(time.Second)
	p.check(t, users)
}

// trouble makes some things go wrong, or lets all go well for a while.
func trouble(w *world, rnd *rand.Rand) {
	faults := []memory.Fault{memory.Unreached, memory.LostRequest, memory.LostAnswer, memory.Late}
	fault, bits := faults[rnd.IntN(len(faults))], rnd.IntN(64)&rnd.IntN(64)
	has := func(n int) bool { return bits&(1<<n) != 0 }
	dice := rand.New(rand.NewPCG(rnd.Uint64(), 2))
	var mu sync.Mutex
	oneInThree := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return dice.IntN(3) == 0
	}
	w.breakStore(func(memory.Call) memory.Fault {
		if has(0) && oneInThree() {
			return fault
		}
		return memory.None
	})
	w.log.Fail(func(op string) error {
		if has(1) && op != "accept" && oneInThree() {
			return errors.New("cut off")
		}
		return nil
	})
	w.door.behave(func(d *door) { d.deaf, d.mute, d.gone = has(2), has(3), has(4) })
	if has(5) && !w.revive() {
		w.kill()
		time.Sleep(time.Duration(rnd.IntN(3000)) * time.Millisecond)
		w.start()
	}
	time.Sleep(time.Duration(rnd.IntN(6000)) * time.Millisecond)
	w.store.Land()
	w.revive()
}

// revive takes the partition anew where its actor has ended by itself, as the cluster does.
func (w *world) revive() bool {
	select {
	case <-w.gone:
		w.system.Shutdown()
		w.start()
		return true
	default:
		return false
	}
}

func (p *platform) check(t *testing.T, users []string) {
	t.Helper()
	var letters []string
	for _, l := range p.w.log.Letters() {
		letters = append(letters, l.GetAnswer().GetText().GetContent()+l.GetInbound().GetText().GetContent())
	}
	for _, user := range users {
		st, _ := p.w.state(user)
		want := slices.DeleteFunc(slices.Clone(p.sent[user]), func(text string) bool { return slices.Contains(letters, text) })
		if got := said(st); !slices.Equal(got, want) { // what was named at two deaths had no turn
			t.Errorf("committed turns of %s: %q, want %q", user, got, want)
		}
		for _, text := range p.sent[user] {
			times := 0
			for _, s := range p.said {
				times += strings.Count(s, "re: "+text)
			}
			dead := slices.ContainsFunc(letters, func(l string) bool { return strings.Contains(l, text) })
			if times > 1 || (times == 0 && !dead) {
				t.Errorf("the answer to %s was given %d times, dead letter %v, kept %d", text, times, dead, len(st.Kept))
			}
		}
	}
	if c := p.w.checkpoint(); c.Floor != c.Newest {
		t.Errorf("unsettled entries: checkpoint %+v", c)
	}
}
