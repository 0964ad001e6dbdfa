package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"hongyan/internal/checker"
	"hongyan/wechat/simulator"
)

// refusing is an account whose customer-service messages WeChat refuses, and what must follow.
type refusing struct {
	official
	code   int
	inject bool // the code comes from a fault, not from WeChat's own rules
	sent   int  // messages that get through before
	// perUser: the code is about one user, so each user's message may be tried once. Otherwise it is about the account, and all its
	// users wait: after settled, one probe a minute is all that may go out.
	perUser bool
}

// settled is how long sends that were under way together may take to learn of the account's trouble, over all of them.
const settled = 4 * time.Second

func refusingAccounts() []refusing {
	return []refusing{
		{official: official{id: "quota", push: true, quota: 2}, code: simulator.CodeDailyQuota, sent: 2},
		{official: official{id: "noright", push: true, noRight: true}, code: simulator.CodeNoRight},
		{official: official{id: "closed", push: true}, code: simulator.CodeWindowClosed, inject: true, perUser: true},
		{official: official{id: "used", push: true}, code: simulator.CodeGrantUsed, inject: true, perUser: true},
	}
}

// TestErrorCodes: WeChat refuses to send. There is no storm of retries, and the answers come with the users' next messages.
func TestErrorCodes(t *testing.T) {
	realProcess(t)
	watched, every := 12*time.Second, 250*time.Millisecond
	if *long {
		watched, every = 190*time.Second, time.Second
	}
	codes := refusingAccounts()
	var accounts []official
	for _, c := range codes {
		accounts = append(accounts, c.official)
	}
	d := newDesk(t, slowRules(5), accounts...)
	d.openAPI()
	for _, c := range codes {
		if c.inject {
			d.inject(simulator.Fault{Kind: simulator.FaultCode, Code: c.code, Account: c.id, Call: simulator.CallCustomSend})
		}
	}
	d.startReady()
	questions := int(watched / every)
	began := time.Now()
	for i := range questions {
		for _, c := range codes {
			d.ask(c.id, codeUser(c.id, i), fmt.Sprintf("5s-%s-%d", c.id, i))
		}
		pause(t, every)
	}
	d.wait()
	for _, c := range codes {
		for i := range questions {
			eventually(t, time.Minute, "the bot has answered "+codeUser(c.id, i), func() bool {
				return d.user(c.id, codeUser(c.id, i)).Counts.Turns == 1
			})
		}
		d.wantNoStorm(c, questions, began)
	}
	for _, c := range codes {
		for i := range questions {
			d.ask(c.id, codeUser(c.id, i), fmt.Sprintf("again-%s-%d", c.id, i))
		}
	}
	d.wait()
	found := d.deliveries(checker.OneAnswer)
	accept(t, found)
	for _, c := range codes {
		ways := make(map[string]int)
		for i := range questions {
			ways[found.Asked[fmt.Sprintf("5s-%s-%d", c.id, i)].Ways()]++
		}
		if ways["custom"] != c.sent || ways["with another message"] != questions-c.sent {
			t.Errorf("%s: the answers came %v; %d should have been sent and the others have come with the next message", c.id, ways, c.sent)
		}
	}
	if letters := d.letters(); len(letters) > 0 {
		t.Errorf("%d dead letters, though every answer was kept: %+v", len(letters), letters[0])
	}
}

func codeUser(account string, i int) string { return fmt.Sprintf("o%s-%06d", account, i) }

// wantNoStorm counts the calls that WeChat saw.
func (d *desk) wantNoStorm(c refusing, questions int, began time.Time) {
	d.t.Helper()
	all := d.calls(c.id, simulator.CallCustomSend, began)
	var first time.Time
	late, probes := 0, 0
	for _, r := range d.platform.Witness() {
		if r.Kind != simulator.RecordAPI || r.Account != c.id || r.At.Before(began) {
			continue
		}
		switch r.Call {
		case simulator.CallCustomSend:
			if first.IsZero() {
				first = r.At
			}
			if r.At.Sub(first) > settled {
				late++
			}
		case simulator.CallQuota:
			probes++
		}
	}
	minutes := int(time.Since(first)/time.Minute) + 1
	d.t.Logf("%s: %d questions, calls of the send API by errcode %v, %d of them later than %v after the first; %d looks at the quota in %v",
		c.id, questions, all, late, settled, probes, time.Since(first).Round(time.Second))
	switch {
	case all[c.code] == 0:
		d.t.Errorf("%s: WeChat never answered %d: this test shows nothing", c.id, c.code)
	case c.perUser && all[c.code] > questions:
		d.t.Errorf("%s: %d calls for %d messages, each of which was refused once", c.id, all[c.code], questions)
	case !c.perUser && late > minutes:
		d.t.Errorf("%s: %d calls in %d minutes after the first %v; one a minute may probe", c.id, late, minutes, settled)
	}
	if probes > minutes {
		d.t.Errorf("%s: the quota was asked for %d times in %d minutes; once a minute is enough", c.id, probes, minutes)
	}
}

// TestDeadRedrive: answers become dead letters because nobody knows their delivery, or because the user takes none. Re-driven by several
// at once, and again, each reaches its user exactly once.
func TestDeadRedrive(t *testing.T) {
	realProcess(t)
	d := newDesk(t, slowRules(5), official{id: "push", push: true})
	d.openAPI()
	d.startReady()
	const cut, deaf = "oCut000000000000001", "oDeaf00000000000001"
	d.inject(simulator.Fault{Kind: simulator.FaultReset, When: simulator.Before, Call: simulator.CallCustomSend, Count: 1})
	d.ask("push", cut, "5s-cut")
	d.wait()
	eventually(t, 30*time.Second, "the answer that was cut off is a dead letter", func() bool { return len(d.letters()) == 1 })
	if err := d.platform.SetReceiving("push", deaf, false); err != nil {
		t.Fatal(err)
	}
	d.ask("push", deaf, "5s-deaf")
	d.wait()
	var letters []letter
	eventually(t, 30*time.Second, "the answer that the user does not take is a dead letter", func() bool {
		letters = d.letters()
		return len(letters) == 2
	})
	for i, want := range []letter{{Reason: "unknown", OpenID: cut, Text: "问 5s-cut"}, {Reason: "no_user", OpenID: deaf, Text: "问 5s-deaf"}} {
		if got := letters[i]; got.Reason != want.Reason || got.OpenID != want.OpenID || got.Text != want.Text || got.State != "open" {
			t.Errorf("dead letter %d: %+v; want %+v", i, got, want)
		}
	}
	if err := d.platform.SetReceiving("push", deaf, true); err != nil {
		t.Fatal(err)
	}
	if n := d.quiet(checker.OneAnswer).Answers; n != 0 {
		t.Fatalf("%d answers were seen before anything was re-driven", n)
	}

	if stdout, stderr, code := run(t, d.dir, "dead", "redrive", "-c", "hongyan.yaml", "--dry-run", letters[0].ID, letters[1].ID); code != 0 {
		t.Errorf("dead redrive --dry-run: exit code %d: %s%s", code, stdout, stderr)
	}
	if n := d.redriveAtOnce(8, letters[0].ID, letters[1].ID); n < 2 {
		t.Errorf("%d entries were written to re-drive two letters", n)
	} else {
		t.Logf("%d entries were written to re-drive two letters", n)
	}
	eventually(t, 30*time.Second, "both letters are taken up", func() bool {
		for _, l := range d.letters() {
			if l.State != "redriven" {
				return false
			}
		}
		return true
	})
	if stdout, _, code := run(t, d.dir, "dead", "redrive", "-c", "hongyan.yaml", letters[0].ID); code != 1 {
		t.Errorf("re-driving a letter that was taken up: exit code %d: %s", code, stdout)
	}
	eventually(t, 30*time.Second, "both answers are seen", func() bool { return d.quiet(checker.OneAnswer).Answers == 2 })
	// Whatever the other entries did is done when a message behind them is answered.
	d.ask("push", cut, "after-cut")
	d.ask("push", deaf, "after-deaf")
	d.wait()
	found := d.quiet(checker.OneAnswer)
	accept(t, found)
	for _, name := range []string{"5s-cut", "5s-deaf"} {
		wantWay(t, found, name, "custom")
	}
	if n := len(d.letters()); n != 2 {
		t.Errorf("%d dead letters at the end, not the first two", n)
	}
}

// redriveAtOnce lets several operators re-drive the same letters in the same moment, by the call that `hongyan dead redrive` makes, and
// returns how many of their wishes were written to the log.
func (d *desk) redriveAtOnce(operators int, ids ...string) (written int) {
	d.t.Helper()
	body, err := json.Marshal(map[string]any{"ids": ids})
	if err != nil {
		d.t.Fatal(err)
	}
	var mu sync.Mutex
	var racing sync.WaitGroup
	ready, start := make(chan struct{}, operators), make(chan struct{})
	client := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for range operators {
		racing.Go(func() { // each ends with its call
			req, err := http.NewRequest(http.MethodPost, "http://"+d.admin+"/api/v1/dead/redrive", bytes.NewReader(body))
			ready <- struct{}{}
			<-start
			var out struct{ Done int }
			if err == nil {
				req.Header.Set("Authorization", "Bearer "+testAdminToken)
				req.Header.Set("Content-Type", "application/json")
				var resp *http.Response
				if resp, err = client.Do(req); err == nil {
					err = json.NewDecoder(resp.Body).Decode(&out)
					_ = resp.Body.Close()
				}
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				d.t.Errorf("re-drive: %v", err)
			}
			written += out.Done
		})
	}
	for range operators {
		<-ready
	}
	close(start)
	racing.Wait()
	return written
}
