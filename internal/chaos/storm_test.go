package chaos

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"hongyan/internal/checker"
	"hongyan/wechat/simulator"
)

// twoParts answer each question with a text that is longer than one message may be: its halves go out as customer-service messages,
// one after the other, at once.
func twoParts() string {
	return "rules:\n  - {match: regexp, value: '^问 (\\S+)$', reply: '《$1-1》" + strings.Repeat("长", 690) + "《$1-2》'}\n"
}

func bothParts(question string) []string { return []string{question + "-1", question + "-2"} }

// TestTokenStorm: under a steady load of pushes from all nodes, WeChat declares the token invalid. One token is fetched for that, however
// many nodes hear 40001, and no message is lost.
func TestTokenStorm(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes are left out with -short")
	}
	t.Parallel()
	nodes, storms, every := 3, 2, 50*time.Millisecond
	if *long {
		nodes, storms = 8, 5
	}
	const users = 200
	b := openBranch(t, nodes, 1, twoParts())
	questions := 0
	ask := func(lasts time.Duration) {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for until := time.Now().Add(lasts); time.Now().Before(until) && t.Context().Err() == nil; questions++ {
			b.ask("push", fmt.Sprintf("oStorm-%04d", questions%users), fmt.Sprintf("storm-%05d", questions))
			<-tick.C
		}
	}
	ask(3 * time.Second)
	for range storms {
		if err := b.platform.InvalidateTokens("push"); err != nil {
			t.Fatal(err)
		}
		ask(3 * time.Second)
	}
	b.pushes.Wait()
	var found *checker.Delivery
	if !poll(t.Context(), time.Minute, func() bool {
		found = checker.Deliveries(b.platform.Witness(), bothParts, nil)
		return found.Answers == 2*questions
	}) {
		t.Errorf("a minute after the last storm: %v", found)
	}
	if found = b.judge(bothParts); found.Unknown > 0 {
		t.Errorf("%d answers are listed as unknown: 40001 is a definite answer", found.Unknown)
	}

	fetched, refused := make(map[uint64]int), make(map[uint64]int)
	calls := 0
	for _, r := range b.platform.Witness() {
		switch {
		case r.Kind == simulator.RecordToken:
			fetched[r.Generation]++
		case r.Kind == simulator.RecordAPI && (r.Call == simulator.CallStableToken || r.Call == simulator.CallToken):
			calls++
		case r.Kind == simulator.RecordAPI && r.ErrCode == simulator.CodeBadToken:
			refused[r.Generation]++
		default:
		}
	}
	t.Logf("%d workers, %d storms: tokens by generation %v in %d token calls; calls refused with 40001, by the token's generation %v; %d token calls altogether",
		nodes, storms, fetched, calls, refused, calls)
	if calls != storms+1 || len(fetched) != storms+1 {
		t.Errorf("%d token calls gave %d tokens; one at the start and one for each of %d storms is right", calls, len(fetched), storms)
	}
	if len(refused) != storms {
		t.Errorf("WeChat refused tokens of %d generations, in %d storms: this run shows too little", len(refused), storms)
	}
}
