package actors

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"regexp"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hongyan/state/memory"
	memlog "hongyan/stream/memory"
)

var (
	seeds     = flag.Uint64("seeds", 200, "how many seeds TestSimulation runs")
	firstSeed = flag.Uint64("first", 0, "the first of them")
	story     = flag.Bool("story", false, "tell what happens in a seed")
)

// TestSimulation runs many users, nodes and ingresses through every fault that the promises speak of, in virtual time and by seed, and
// lets a witness outside the engine compare what happened with invariants I1 to I5. A seed that fails names the command that runs it
// alone; with `-args -story` that tells what happened.
func TestSimulation(t *testing.T) {
	t.Parallel()
	run := make([]uint64, 0, *seeds)
	for seed := range *seeds {
		run = append(run, *firstSeed+seed)
	}
	if m := regexp.MustCompile(`seed_(\d+)`).FindStringSubmatch(flag.Lookup("test.run").Value.String()); m != nil {
		seed, err := strconv.ParseUint(m[1], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		run = []uint64{seed}
	}
	var done, bad atomic.Uint64
	for _, seed := range run {
		t.Run(fmt.Sprintf("seed_%d", seed), func(t *testing.T) {
			t.Parallel()
			if bad.Load() > 0 {
				return // one failing seed at a time
			}
			synctest.Test(t, func(t *testing.T) { simulate(t, seed) })
			if t.Failed() {
				bad.Add(1)
				t.Logf("this seed alone: go test ./actors -run 'TestSimulation/seed_%d$'", seed)
			}
			if n := done.Add(1); n%250 == 0 && len(run) > 250 {
				fmt.Fprintf(os.Stderr, "%d of %d seeds\n", n, len(run))
			}
		})
	}
}

// sim is one run: the world around the engines, in virtual time.
type sim struct {
	t          *testing.T
	chance     chance
	rnd        *rand.Rand // of the driver alone
	log        *memlog.Log
	store      *memory.Store
	weather    atomic.Pointer[weather]
	fleet      *fleet
	doors      *doors
	wechat     *platform
	hall       *hall
	watch      *observer
	ids        atomic.Uint64
	failedOver atomic.Bool
	story      *journal

	// What the seed decides for the whole run.
	partitions, streams int
	users               []string
	unknown             UnknownPolicy
	barrier             bool
	passivateAfter      time.Duration
	deadly              string // the text that kills the process which handles it
	keptFor             time.Duration
	patient             bool // what may be pushed later is, before anybody writes again
	floods, cuts, fails bool // a user floods, a stream loses its tail, the store fails over
	rated               bool // users have a rate, and now and then write faster
}

// random stands for Options.Random.
func (s *sim) random() uint64 { return s.ids.Add(1) * 0x9e3779b97f4a7c15 }

func (s *sim) logger(node string) *slog.Logger {
	if s.story == nil {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(s.story, &slog.HandlerOptions{Level: slog.LevelDebug})).With("node", node)
}

// note tells the story.
func (s *sim) note(what string, args ...any) {
	if s.story != nil {
		s.logger("").Info("## "+what, args...)
	}
}

func newSim(t *testing.T, seed uint64) *sim {
	t.Helper()
	rnd := rand.New(rand.NewPCG(seed, 1))
	s := &sim{t: t, chance: chance(seed), rnd: rnd, partitions: 1 + rnd.IntN(3), streams: 1 + rnd.IntN(2), barrier: rnd.IntN(2) == 0,
		passivateAfter: time.Duration(5+rnd.IntN(60)) * time.Second}
	if *story {
		s.story = new(journal)
	}
	if rnd.IntN(4) == 0 {
		s.unknown = UnknownOnce
	}
	for i := range 2 {
		s.users = append(s.users, fmt.Sprint("u", i), fmt.Sprint("p", i))
	}
	s.users = append(s.users, "p2")
	s.keptFor, s.patient = 48*time.Hour, rnd.IntN(2) == 0
	s.rated = s.chance.fixed(3, "rated") == 0
	if rnd.IntN(3) == 0 {
		s.keptFor = time.Duration(20+rnd.IntN(100)) * time.Second
	}
	switch rnd.IntN(12) {
	case 0:
		s.deadly = fmt.Sprintf("[%s-%d]", s.users[rnd.IntN(4)], rnd.IntN(3))
	case 1:
		s.floods = true
	case 2, 3:
		s.cuts = true
	case 4:
		s.fails, s.passivateAfter = true, time.Hour // what left the memory cannot be put back from there
	}
	s.weather.Store(new(weather))
	s.watch = newObserver(s)
	s.log = memlog.NewStreams(s.partitions, s.streams, time.Now)
	s.store = memory.New(memory.Options{Committed: s.watch.committed})
	s.doors, s.wechat, s.hall = &doors{sim: s}, &platform{sim: s}, &hall{sim: s, leave: make(map[string]*leave)}
	s.fleet = &fleet{sim: s, lease: make([]tenancy, s.partitions)}
	return s
}

func simulate(t *testing.T, seed uint64) {
	t.Helper()
	s := newSim(t, seed)
	ctx, cancel := context.WithCancel(t.Context())
	if err := Prepare(ctx, s.log, s.store, s.partitions, s.random, 4); err != nil {
		t.Fatal(err)
	}
	s.fleet.size = 2 + s.rnd.IntN(2)
	for range s.fleet.size {
		s.fleet.join()
		s.doors.open()
	}
	kept := make(chan struct{})
	go func() { // ended by cancel
		defer close(kept)
		s.fleet.keep(ctx)
	}()
	time.Sleep(time.Second)
	const rounds = 6
	for n := range rounds {
		for _, user := range s.users {
			s.wechat.send(user, fmt.Sprintf("[%s-%d]", user, n))
			if s.rated && s.chance.fixed(3, fmt.Sprint("hasty", user, n)) == 0 {
				s.hurry(user, n)
			}
			time.Sleep(time.Duration(s.rnd.IntN(800)) * time.Millisecond)
		}
		s.trouble(ctx, n)
		if s.rnd.IntN(3) == 0 {
			s.redrive(2)
		}
	}
	s.calm()
	cancel()
	<-kept
	for _, n := range s.fleet.alive() {
		s.fleet.kill(n)
	}
	for _, wrong := range s.watch.check() {
		t.Error(wrong)
	}
	if s.story != nil {
		fmt.Fprint(os.Stderr, s.story.b.String())
	}
	time.Sleep(time.Minute) // proto.actor's throttle of dead letters ends by its own clock
}

// calm makes everything work again, waits for the end of all that is under way, and lets every user take what is kept.
func (s *sim) calm() {
	s.note("calm")
	s.weather.Store(new(weather))
	s.fleet.mu.Lock()
	nodes := append([]*node(nil), s.fleet.nodes...)
	s.fleet.mu.Unlock()
	for _, n := range nodes {
		n.wake()
	}
	s.hall.setDown(time.Now())
	s.rest()
	s.fleet.settleDown()
	s.watch.audit("at rest")
	if until, used := s.hall.quotaUntil(); s.patient && used {
		time.Sleep(time.Until(until) + overdue + time.Second)
		s.rest()
		s.watch.audit("after the quota's end")
	}
	s.redrive(1)
	s.rest()
	for _, user := range s.users {
		s.wechat.send(user, "["+user+"-end]")
	}
	s.rest()
	if s.keptFor < time.Hour {
		time.Sleep(s.keptFor + overdue)
		s.rest()
	}
	s.watch.audit("at the end")
}

// rest waits until WeChat has nothing more to deliver and every entry is settled, or five minutes.
func (s *sim) rest() {
	time.Sleep(3 * time.Second)
	s.wechat.open.Wait()
	for range 100 {
		time.Sleep(3 * time.Second)
		if s.watch.settled() {
			return
		}
	}
}

// trouble makes some things go wrong for a while, or lets all go well.
func (s *sim) trouble(ctx context.Context, round int) {
	rnd := s.rnd
	some := func(most int) int { // nothing in two of three cases
		if rnd.IntN(3) > 0 {
			return 0
		}
		return 1 + rnd.IntN(most)
	}
	w := &weather{store: some(40), storeSlow: some(30), log: some(30), logSlow: some(20), offer: some(50), offerSlow: some(50),
		accept: some(30), acceptSlow: some(30), full: some(4) == 1, brokenWrite: some(20), diesOnWrite: some(20),
		send: some(60), sendSlow: some(40)}
	switch rnd.IntN(8) {
	case 0:
		s.hall.setQuota(time.Now().Add(time.Duration(65+rnd.IntN(200)) * time.Second))
	case 1:
		s.hall.setDown(time.Now().Add(time.Duration(1+rnd.IntN(100)) * time.Second))
	}
	s.weather.Store(w)
	s.note("weather", "round", round, "weather", fmt.Sprintf("%+v", *w))
	partition := rnd.IntN(s.partitions)
	switch last := round == 5; {
	case last && s.fails:
		s.failOver()
		return
	case s.fails && round >= 4:
	case s.cuts && round%2 == 1:
		s.cut(rnd.IntN(s.streams))
	case s.floods && round == 2:
		s.flood()
	default:
		s.disturb(ctx, partition)
	}
	time.Sleep(time.Duration(rnd.IntN(6000)) * time.Millisecond)
}

// disturb hits one process, or one partition.
func (s *sim) disturb(ctx context.Context, partition int) {
	nodes := s.fleet.alive()
	if len(nodes) == 0 {
		return
	}
	n, wait := nodes[s.rnd.IntN(len(nodes))], time.Duration(s.rnd.IntN(5000))*time.Millisecond
	what := s.rnd.IntN(8)
	s.note("disturb", "what", what, "node", n.id, "partition", partition, "wait", wait)
	switch what {
	case 0, 1:
		go s.fleet.kill(n) // ended by the death of the node's actors
	case 2, 3:
		n.stop()
		go func() { // ended by its sleep
			time.Sleep(4 * wait)
			n.wake()
		}()
	case 4, 5:
		s.fleet.misjudge(ctx, partition)
	case 6:
		s.fleet.handOver(partition)
	default:
		if g := s.doors.any("kill"); g != nil {
			s.doors.kill(g)
			time.Sleep(wait / 4)
			s.doors.open()
		}
	}
}

// cut is a power cut of the log's server: nothing works for a while, and then the newest entries are gone.
func (s *sim) cut(stream int) {
	w := *s.weather.Load()
	w.log, w.accept, w.acceptSlow, w.full = 100, 0, 0, true
	s.weather.Store(&w)
	time.Sleep(7 * time.Second) // what was on its way to the log has arrived
	end, err := s.log.End(s.t.Context(), stream)
	if err != nil {
		s.t.Fatal(err)
	}
	from := end + 1 - min(uint64(s.rnd.IntN(8)), end)
	s.watch.lost(stream, s.streams, from)
	s.log.LoseTailOf(stream, from)
	s.note("cut", "stream", stream, "from", from)
	over := w
	over.log, over.full = 0, false
	s.weather.Store(&over)
}

// hurry lets a user write faster than the rate.
func (s *sim) hurry(user string, round int) {
	for n := range 2 * burst {
		s.wechat.send(user, fmt.Sprintf("[%s-%d-hasty%d]", user, round, n))
		time.Sleep(time.Duration(s.chance.fixed(300, fmt.Sprint("pause", user, round, n))) * time.Millisecond)
	}
}

// flood lets one user write more than its queue holds.
func (s *sim) flood() {
	user := s.users[s.rnd.IntN(2)]
	for n := range maxQueued + 40 {
		s.wechat.send(user, fmt.Sprintf("[%s-flood%d]", user, n))
	}
}

// failOver makes the store lose its latest writes while every owner lives (rule 9).
func (s *sim) failOver() {
	s.weather.Store(new(weather))
	time.Sleep(20 * time.Second)
	image := s.store.Snapshot()
	for _, user := range s.users {
		s.wechat.send(user, "["+user+"-lost]")
	}
	time.Sleep(time.Duration(s.rnd.IntN(1000)) * time.Millisecond)
	s.failedOver.Store(true)
	s.store.Restore(image)
	s.watch.restored(s.store.Records())
	s.note("fail-over")
	for _, user := range s.users {
		s.wechat.send(user, "["+user+"-found]")
	}
}
