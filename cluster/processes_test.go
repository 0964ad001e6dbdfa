package cluster

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"hongyan/messages"
)

// split tells whether the nodes own all partitions, each of them some.
func split(partitions int, nodes ...*child) bool {
	all := 0
	for _, c := range nodes {
		n := len(c.owns())
		if n == 0 {
			return false
		}
		all += n
	}
	return all == partitions
}

func TestJoinAndLeaveAreOrderly(t *testing.T) {
	s := startListening(t)
	a := startChild(t, s.ClientURL(), "a", 32)
	a.awaitReady(t)
	b := startChild(t, s.ClientURL(), "b", 32)
	b.awaitReady(t)
	eventually(t, "both nodes own their shares", func() bool { return split(32, a, b) })
	if n := len(b.owns()); n < 12 || n > 20 {
		t.Errorf("b owns %d of 32 partitions", n)
	}
	// The one that was there first leaves: SIGTERM.
	began := time.Now()
	a.signal(t, syscall.SIGTERM)
	eventually(t, "the rest goes to b", func() bool { return len(b.owns()) == 32 })
	t.Logf("handed over within %v", time.Since(began))
	if err := a.wait(t); err != nil {
		t.Errorf("a ended with %v", err)
	}
	for _, c := range []*child{a, b} {
		if n := c.count(started(false)); n != 0 {
			t.Errorf("%d takeovers of %s were not planned", n, c.spec.Node)
		}
	}
	if strings.Contains(b.log.String(), "a member is gone") {
		t.Error("b judged a node that said goodbye")
	}
	epochsAreUnique(t, a, b)
}

func TestKilledProcessIsReplaced(t *testing.T) {
	s := startListening(t)
	a, b := startChild(t, s.ClientURL(), "a", 32), startChild(t, s.ClientURL(), "b", 32)
	a.awaitReady(t)
	b.awaitReady(t)
	eventually(t, "both nodes own their shares", func() bool { return split(32, a, b) })
	lost := a.owns()
	began := time.Now()
	a.signal(t, syscall.SIGKILL)
	eventually(t, "b owns all", func() bool { return len(b.owns()) == 32 })
	took := time.Since(began)
	t.Logf("%d partitions replaced %v after the kill", len(lost), took)
	if took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	for p, own := range b.owns() {
		if former, was := lost[p]; was && (own.Planned || own.Epoch <= former.Epoch) {
			t.Errorf("partition %d went from %+v to %+v", p, former, own)
		}
	}
	if n := b.count(started(false)); n != len(lost) {
		t.Errorf("%d unplanned takeovers, %d partitions were lost", n, len(lost))
	}
	epochsAreUnique(t, a, b)
}

func TestKilledAloneAndRestarted(t *testing.T) {
	s := startListening(t)
	a := startChild(t, s.ClientURL(), "a", 32)
	a.awaitReady(t)
	eventually(t, "a owns all", func() bool { return len(a.owns()) == 32 })
	a.signal(t, syscall.SIGKILL)
	_ = a.wait(t)
	began := time.Now()
	again := startChild(t, s.ClientURL(), "a", 32)
	eventually(t, "the next process owns all", func() bool { return len(again.owns()) == 32 })
	t.Logf("the next process owned all %v after its start", time.Since(began))
	if n := again.count(started(false)); n != 32 {
		t.Errorf("%d of 32 takeovers were unplanned", n)
	}
	epochsAreUnique(t, a, again)
}

// A paused process finds out by itself when it goes on, and gets its share again only in order.
func TestPausedProcessFencesItself(t *testing.T) {
	s := startListening(t)
	a, b := startChild(t, s.ClientURL(), "a", 16), startChild(t, s.ClientURL(), "b", 16)
	a.awaitReady(t)
	b.awaitReady(t)
	eventually(t, "both nodes own their shares", func() bool { return split(16, a, b) })
	before := a.owns()
	began := time.Now()
	a.signal(t, syscall.SIGSTOP)
	eventually(t, "b owns all", func() bool { return len(b.owns()) == 16 })
	t.Logf("replaced %v after the pause began", time.Since(began))
	a.signal(t, syscall.SIGCONT)
	eventually(t, "a drops what it had and gets a share anew", func() bool {
		for p, own := range a.owns() {
			if own.Epoch <= before[p].Epoch {
				return false
			}
		}
		return split(16, a, b)
	})
	if log := a.log.String(); !strings.Contains(log, "does not trust itself") {
		t.Error("a did not fence itself")
	}
	epochsAreUnique(t, a, b)
}

func TestServerRestartIsSurvived(t *testing.T) {
	dir := t.TempDir()
	s := startListeningAt(t, dir, -1)
	url := s.ClientURL()
	a, b := startChild(t, url, "a", 16), startChild(t, url, "b", 16)
	a.awaitReady(t)
	b.awaitReady(t)
	eventually(t, "both nodes own their shares", func() bool { return split(16, a, b) })
	port := portOf(t, s)
	s.Shutdown()
	s.WaitForShutdown()
	eventually(t, "both nodes drop everything", func() bool { return len(a.owns())+len(b.owns()) == 0 })
	startListeningAt(t, dir, port)
	began := time.Now()
	eventually(t, "both nodes own their shares again", func() bool { return split(16, a, b) })
	t.Logf("resumed %v after the server's restart", time.Since(began))
	epochsAreUnique(t, a, b)
}

// Requests from a node that owns nothing find users on others, over a kill.
func TestRequestCrossesProcesses(t *testing.T) {
	s := startListening(t)
	a, b := startChild(t, s.ClientURL(), "a", 16), startChild(t, s.ClientURL(), "b", 16)
	a.awaitReady(t)
	b.awaitReady(t)
	asker := start(t, s, nil, named("asker"), partitions(16))
	asker.awaitReady(t)
	eventually(t, "the asker sees both", func() bool { return len(asker.Members()) == 3 })
	ask := func(i int) (string, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		reply, err := asker.Request(ctx, messages.User{Account: "demo", OpenID: fmt.Sprintf("user-%d", i)}, &messages.Inspect{})
		if err != nil {
			return "", err
		}
		return reply.(*messages.UserView).GetNode(), nil
	}
	answered := map[string]int{}
	for i := range 40 {
		node, err := ask(i)
		if err != nil {
			t.Fatal(err)
		}
		answered[node]++
	}
	if nodes := slices.Collect(maps.Keys(answered)); len(nodes) != 2 {
		t.Errorf("%d nodes answered", len(nodes))
	}
	a.signal(t, syscall.SIGKILL)
	began := time.Now()
	for i := range 40 {
		if _, err := ask(i); err != nil {
			t.Fatalf("request %d, %v after the kill: %v", i, time.Since(began), err)
		}
	}
	t.Logf("all users answered again %v after the kill", time.Since(began))
	if owned := asker.owned(); owned != 0 {
		t.Errorf("a node without partitions owns %d", owned)
	}
}

// TestRequestsSurviveMoves: while partitions go to a node that joins and come back from one that leaves, each request has its
// answer within its deadline.
func TestRequestsSurviveMoves(t *testing.T) {
	s := startListening(t)
	a := startChild(t, s.ClientURL(), "a", 16)
	a.awaitReady(t)
	asker := start(t, s, nil, named("asker"), partitions(16))
	asker.awaitReady(t)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	type tally struct {
		asked   int
		slowest time.Duration
		err     error
	}
	done := make(chan tally, 1)
	go func() { // ended by stop
		var sum tally
		for i := 0; ctx.Err() == nil && sum.err == nil; i++ {
			began := time.Now()
			within, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			_, sum.err = asker.Request(within, messages.User{Account: "demo", OpenID: fmt.Sprintf("user-%d", i%200)}, &messages.Inspect{})
			cancel()
			sum.asked, sum.slowest = sum.asked+1, max(sum.slowest, time.Since(began))
		}
		done <- sum
	}()
	for range 2 {
		b := startChild(t, s.ClientURL(), "b", 16)
		b.awaitReady(t)
		eventually(t, "both nodes own their shares", func() bool { return split(16, a, b) && balanced(16, []*child{a, b}) })
		b.leave(t)
		eventually(t, "a owns all", func() bool { return len(a.owns()) == 16 })
	}
	stop()
	sum := <-done
	t.Logf("%d requests over four moves, the slowest took %v", sum.asked, sum.slowest)
	if sum.err != nil || sum.asked < 100 {
		t.Errorf("%d requests, then: %v", sum.asked, sum.err)
	}
}
