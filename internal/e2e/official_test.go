package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"hongyan/internal/checker"
	"hongyan/wechat/simulator"
)

// testAppSecret belongs to every account of these tests that may call WeChat's API.
const testAppSecret = "e2eSecretHt62pLq9Zx4"

// official is one Official Account as the engine is configured for it and as WeChat's side has it.
type official struct {
	id      string
	push    bool   // the engine's customer_service
	noRight bool   // WeChat's side does not allow it
	quota   int    // customer-service messages a day, where it is not WeChat's usual number
	chain   string // its bots; rules where empty
	more    string
}

// desk is a node with several accounts whose API is the simulated platform's, at an address of its own.
type desk struct {
	*node
	twin     *node // a second worker, without callbacks of its own, where settings.twin asks for it
	platform *simulator.Platform
	api      string // address of WeChat's API
	pushes   sync.WaitGroup
}

// newDesk writes the configuration and opens the platform with its API. The node does not run yet.
func newDesk(t *testing.T, rules string, accounts ...official) *desk {
	t.Helper()
	return newDeskWith(t, settings{durability: "disk", rules: rules}, accounts...)
}

// newDeskWith is newDesk with other settings.
func newDeskWith(t *testing.T, s settings, accounts ...official) *desk {
	t.Helper()
	d := &desk{api: freeAddress(t)}
	var text strings.Builder
	var there []simulator.Account
	for i, a := range accounts {
		appID := fmt.Sprintf("wx5f0c2a9be17d%04d", i)
		text.WriteString(accountText(a.id, appID, a.chain) + checker.ReplyTexts + a.more)
		fmt.Fprintf(&text, "    app_secret: %s\n    api_base: http://%s\n    customer_service: %v\n", testAppSecret, d.api, a.push)
		var daily map[string]int
		if a.quota > 0 {
			daily = map[string]int{simulator.CallCustomSend: a.quota}
		}
		there = append(there, simulator.Account{
			DailyQuota: daily, ID: a.id, AppID: appID, OriginalID: testOriginalID, Token: testToken, AESKey: testAESKey, Mode: simulator.ModeSafe,
			AppSecret: testAppSecret, CustomerService: a.push && !a.noRight,
		})
	}
	s.accounts = text.String()
	d.node = newNode(t, s)
	if s.twin {
		s.id, s.roles = "twin", "worker"
		d.twin = newNode(t, s)
	}
	for i := range there {
		there[i].CallbackURL = "http://" + d.callback + "/wechat/callback/" + there[i].ID
	}
	var err error
	if d.platform, err = simulator.New(simulator.Options{Accounts: there, WitnessLimit: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.platform.Close)
	return d
}

// openAPI serves the platform's API until the test ends.
func (d *desk) openAPI() {
	d.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	opened := make(chan struct{})
	go func() { // ended by the test's end
		ended <- d.platform.ServeAPI(ctx, d.api, func(net.Addr) { close(opened) })
	}()
	select {
	case <-opened:
	case err := <-ended:
		cancel()
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			d.t.Error(err)
		}
	})
}

// ask sends one question and does not wait; wait does.
func (d *desk) ask(account, openID, name string) {
	d.pushes.Go(func() { // ends after three deliveries at the latest, or with the test
		_, err := d.platform.Push(d.t.Context(), account, openID, simulator.Message{Type: "text", Content: checker.Question(name)})
		if err != nil && d.t.Context().Err() == nil {
			d.t.Errorf("push: %v", err)
		}
	})
}

// wait returns when every question has come to its end on the platform.
func (d *desk) wait() { d.pushes.Wait() }

// deliveries is the checker's word on everything so far.
func (d *desk) deliveries(expect checker.Expect) *checker.Delivery {
	d.t.Helper()
	letters := d.letters()
	return checker.Deliveries(d.platform.Witness(), expect, unknownAnswers(letters))
}

// quiet is as deliveries, without dead letters.
func (d *desk) quiet(expect checker.Expect) *checker.Delivery {
	return checker.Deliveries(d.platform.Witness(), expect, nil)
}

// letter is a dead letter as the admin API tells it, and the answer that it holds.
type letter struct {
	ID, State, Account, OpenID, Reason, Detail, Text string
	Attempt                                          int
	Answer                                           json.RawMessage
}

// letters are all dead letters, by `hongyan dead ls` and, for the answer, the admin API.
func (d *desk) letters() []letter {
	d.t.Helper()
	stdout, stderr, code := run(d.t, d.dir, "dead", "ls", "-c", "hongyan.yaml", "--state", "all", "--limit", "0", "-o", "json")
	var list struct{ Letters []letter }
	if err := json.Unmarshal([]byte(stdout), &list); err != nil || code != 0 {
		d.t.Fatalf("dead ls: exit code %d, %v: %s", code, err, stderr)
	}
	for i := range list.Letters {
		d.readJSON("/api/v1/dead/"+list.Letters[i].ID, &list.Letters[i])
	}
	return list.Letters
}

// user is what the engine remembers of a user. It asks the admin API itself, for tests that ask often.
func (d *desk) user(account, openID string) (u checker.User) {
	d.t.Helper()
	d.readJSON("/api/v1/users/"+account+"/"+openID, &u)
	return u
}

// readJSON asks the admin API.
func (d *desk) readJSON(path string, into any) {
	d.t.Helper()
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(d.t.Context(), http.MethodGet, "http://"+d.admin+path, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+testAdminToken)
	resp, err := client.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		d.t.Fatalf("%s: status %d", path, resp.StatusCode)
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		d.t.Fatalf("%s: %v", path, err)
	}
}

var answerNames = regexp.MustCompile(`《([^》]*)》`)

// unknownAnswers are the answers in letters whose delivery nobody knows.
func unknownAnswers(letters []letter) map[string]bool {
	out := make(map[string]bool)
	for _, l := range letters {
		if l.Reason != "unknown" {
			continue
		}
		for _, found := range answerNames.FindAllStringSubmatch(string(l.Answer), -1) {
			out[found[1]] = true
		}
	}
	return out
}

// accept fails the test for what the checker found.
func accept(t *testing.T, d *checker.Delivery) {
	t.Helper()
	t.Log(d)
	for i, v := range d.Violations {
		if i == 20 {
			t.Errorf("… and %d more", len(d.Violations)-i)
			break
		}
		t.Error(v)
	}
	if d.Answers == 0 {
		t.Error("nobody saw an answer: this run shows nothing")
	}
}

// calls counts what the platform saw of one call, by errcode; calls without an answer count as -1000.
func (d *desk) calls(account, call string, since time.Time) map[int]int {
	out := make(map[int]int)
	for _, r := range d.platform.Witness() {
		if r.Kind != simulator.RecordAPI || r.Account != account || r.Call != call || r.At.Before(since) {
			continue
		}
		code := r.ErrCode
		if r.Status != http.StatusOK {
			code = -1000
		}
		out[code]++
	}
	return out
}

// inject makes the API fail, until the test ends or clears it.
func (d *desk) inject(f simulator.Fault) (id string) {
	d.t.Helper()
	id, err := d.platform.Inject(f)
	if err != nil {
		d.t.Fatal(err)
	}
	return id
}
