package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"hongyan/internal/checker"
	"hongyan/wechat/simulator"
)

// usersPerPartition, so that a partition's users share its floor and its checkpoint.
const usersPerPartition = 3

// load is a number of users who write at a steady rate and do not wait for answers: what a fault holds up piles up, as it does
// in front of a real account.
type load struct {
	platform *simulator.Platform
	users    []string // the first so many are of one partition each
	chance   *rand.Rand
	every    time.Duration
	serial   atomic.Int64
	pushes   sync.WaitGroup
	cancel   context.CancelFunc
	paced    chan struct{} // closed when the pacing has ended
	mu       sync.Mutex
	err      error
}

// newLoad makes fresh users, the same number for each partition.
func newLoad(p *simulator.Platform, partitions, rate int, chance *rand.Rand) *load {
	l := &load{platform: p, every: time.Second / time.Duration(rate), chance: rand.New(rand.NewPCG(chance.Uint64(), 0))}
	leg := strconv.FormatUint(chance.Uint64(), 36)
	byPartition := make([][]string, partitions)
	for missing, i := partitions*usersPerPartition, 0; missing > 0; i++ {
		openID := fmt.Sprintf("oChaos%s-%d", leg, i)
		if q := partitionOf(openID, partitions); len(byPartition[q]) < usersPerPartition {
			byPartition[q] = append(byPartition[q], openID)
			missing--
		}
	}
	for i := range usersPerPartition {
		for q := range byPartition {
			l.users = append(l.users, byPartition[q][i])
		}
	}
	return l
}

// start lets them write until stop.
func (l *load) start(ctx context.Context) {
	ctx, l.cancel = context.WithCancel(ctx)
	l.paced = make(chan struct{})
	go func() { // ended by stop
		defer close(l.paced)
		tick := time.NewTicker(l.every)
		defer tick.Stop()
		// Everybody writes once in a round, in a new order: else the platform, which takes the ingresses in turn, would always bring
		// one user's messages to the same one.
		round := slices.Clone(l.users)
		for i := 0; ; i++ {
			if i %= len(round); i == 0 {
				l.chance.Shuffle(len(round), func(a, b int) { round[a], round[b] = round[b], round[a] })
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				l.say(context.WithoutCancel(ctx), round[i])
			}
		}
	}()
}

// burst sends one question to every partition at once, beside the steady rate: so each has one under way from this very moment.
func (l *load) burst(ctx context.Context, partitions int) {
	for _, openID := range l.users[:partitions] {
		l.say(context.WithoutCancel(ctx), openID)
	}
}

// say sends one question, which no message before had, and does not wait for its end.
func (l *load) say(ctx context.Context, openID string) {
	text := checker.Question(fmt.Sprintf("%s-%d", openID[len("oChaos"):], l.serial.Add(1)))
	l.pushes.Go(func() { // ends after three deliveries of five seconds at the latest
		if _, err := l.platform.Push(ctx, "demo", openID, simulator.Message{Type: "text", Content: text}); err != nil {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.err = err
		}
	})
}

// stop ends the load and returns when every message has come to its end on the platform.
func (l *load) stop() error {
	if l.cancel != nil {
		l.cancel()
		<-l.paced
	}
	l.pushes.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}
