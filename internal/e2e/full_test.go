package e2e

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"hongyan/internal/checker"
	"hongyan/wechat/simulator"
)

// slowTurn holds the only partition's floor, so that nothing of the full log can be purged while WeChat delivers thrice.
const slowTurn = 50 * time.Second

// TestFullLog fills the log to its cap. Nothing is told `success` that the log does not have, nobody sees the fault banner,
// readiness says so, and once the entries are settled the node purges them and accepts again by itself.
func TestFullLog(t *testing.T) {
	realProcess(t)
	slow := fmt.Sprintf("  - {match: exact, value: %s, delay: %s, reply: 《slow》}\n", checker.Question("slow"), slowTurn)
	n := newNode(t, settings{
		durability: "os", logBytes: "16MiB", partitions: 1, rules: strings.Replace(checker.Rules(0), "\n", "\n"+slow, 1),
		account: checker.ReplyTexts + "    conversation: {max_turns: 1000, max_bytes: 256KiB}\n",
	})
	p := n.platform()
	l := newLoad(t, p, 8, 4)
	n.startReady()
	ready := func() bool {
		status, _, err := n.get("/readyz")
		return err == nil && status == http.StatusOK
	}
	eventually(t, 10*time.Second, "readiness before the log is full", ready)

	ask(t, n)
	fill(t, n)
	l.start()
	refusals := func() []simulator.Record {
		return slices.DeleteFunc(p.Witness(), func(r simulator.Record) bool {
			return r.Outcome != simulator.OutcomeBadStatus || r.Kind != simulator.RecordReceived
		})
	}
	eventually(t, time.Minute, "the log is full", func() bool { return len(refusals()) > 0 })
	eventually(t, 5*time.Second, "/readyz turns red", func() bool { return !ready() })
	_, body, err := n.get("/readyz")
	if err != nil || !strings.Contains(body, "FAIL  log") {
		t.Errorf("/readyz does not say what is wrong: %v %q", err, body)
	}
	t.Logf("full after %v messages", l.serial.Load())
	l.stop() // every message has ended: answered before the log was full, or refused three times

	began := time.Now()
	eventually(t, 2*slowTurn, "the log accepts again", ready)
	t.Logf("accepts again %v after the last message", time.Since(began))
	for _, openID := range l.users {
		if r := l.say(openID); !r.Answered || len(r.Deliveries) != 1 {
			t.Errorf("after the recovery: %+v", r)
		}
	}
	r, err := p.Push(t.Context(), "demo", slowUser, simulator.Message{Type: "text", Content: checker.Question("after")})
	if err != nil || !r.Answered || r.Answer.Content != "《slow》\n\n《after》" {
		t.Errorf("the answer that had to be kept: %v %+v", err, r.Answer)
	}

	for _, r := range refusals() {
		if r.Status != http.StatusServiceUnavailable || r.ElapsedMS > 4000 {
			t.Errorf("a push that the log did not accept was answered with status %d after %v ms", r.Status, r.ElapsedMS)
		}
	}
	users := l.settleDown(n)
	n.stop()
	endedAsTold(t, p.Witness(), users)
}

const slowUser = "oSlowUser"

// ask sends the slow question, once, and hangs up as soon as the log has it.
func ask(t *testing.T, n *node) {
	t.Helper()
	f := genuine(slowUser, "77", checker.Question("slow"))
	conn, err := net.DialTimeout("tcp", n.callback, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(f.bytes(t, n.callback)); err != nil {
		t.Fatal(err)
	}
	eventually(t, 4*time.Second, "the slow question is accepted", func() bool { return n.metrics()["wechat_message_queue_length"] == 1 })
}

// fill sends job results, which need no user, with all the text that an entry takes, until the log refuses one. What still fits
// in are users' messages.
func fill(t *testing.T, n *node) {
	t.Helper()
	long := strings.Repeat("x", 150<<10)
	for i := range 16 << 20 / len(long) {
		f := genuine("", "", "")
		f.plain = fmt.Sprintf("<xml><ToUserName>%s</ToUserName><FromUserName>oFiller</FromUserName><CreateTime>%d</CreateTime>"+
			"<MsgType>event</MsgType><Event>TEMPLATESENDJOBFINISH</Event><MsgID>%d</MsgID><Status>%s</Status></xml>",
			testOriginalID, f.timestamp, i+1, long)
		switch _, resp, body := exchange(t, n.callback, f.bytes(t, n.callback)); {
		case resp.StatusCode == http.StatusServiceUnavailable:
			t.Logf("full after %d entries of %d KiB", i, len(long)>>10)
			return
		case resp.StatusCode != http.StatusOK || body != "success":
			t.Fatalf("a job result: status %d, %q", resp.StatusCode, body)
		}
	}
	t.Log("the cap is not reached; users do the rest")
}

// endedAsTold: whoever got the answer has the turn, once; whoever was told that nothing was received has none; there is no third
// end. (Entries that were purged are in no journal, so this is the whole check.)
func endedAsTold(t *testing.T, witness []simulator.Record, users map[string]checker.User) {
	t.Helper()
	turns := make(map[string]int) // by user and text
	for openID, u := range users {
		for _, turn := range u.Turns {
			if turn.Role == "user" {
				turns[openID+"/"+turn.Text]++
			}
		}
	}
	all, _ := checker.Tell(witness)
	answered, refused := 0, 0
	for _, m := range all {
		if m.OpenID == slowUser {
			continue
		}
		last, had := m.Received[m.Last], turns[m.OpenID+"/"+m.Text]
		switch {
		case m.End.Banner || last.Answer == nil:
			t.Errorf("message %s ended with %s %s, banner %v", m.Text, last.Outcome, last.Detail, m.End.Banner)
		case last.Answer.Content == "《"+checker.Name(m.Text)+"》":
			answered++
			if had != 1 {
				t.Errorf("message %s was answered and has %d turns", m.Text, had)
			}
		case last.Answer.Content == checker.NotReceivedText:
			refused++
			if had != 0 || m.Last != simulator.DefaultDeliveries {
				t.Errorf("message %s was not received, at delivery %d, and has %d turns", m.Text, m.Last, had)
			}
		default:
			t.Errorf("message %s got %q", m.Text, last.Answer.Content)
		}
	}
	t.Logf("%d messages answered, %d told that they were not received", answered, refused)
	if answered == 0 || refused == 0 {
		t.Error("one of the two never happened: this run shows too little")
	}
}
