package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"hongyan/wechat/crypt"
)

// dev is a run of `hongyan dev` with its phone.
type dev struct {
	t     *testing.T
	dir   string
	proc  *process
	admin string // base address of the admin listener
	token string // of the demo account, as dev.yaml has it
}

var (
	phoneAddress = regexp.MustCompile(`(http://127\.0\.0\.1:\d+)/phone/`)
	devToken     = regexp.MustCompile(`(?m)^\s+token: "?([A-Za-z0-9]+)"?$`)
	devCallback  = regexp.MustCompile(`(?m)callback: "?(127\.0\.0\.1:\d+)"?`)
)

var devStarts sync.Mutex

// startDev runs `hongyan dev` in a folder until it prints the address to open.
func startDev(t *testing.T, dir string, flags ...string) *dev {
	t.Helper()
	devStarts.Lock() // two at once would choose the same free port
	defer devStarts.Unlock()
	d := &dev{t: t, dir: dir, proc: start(t, dir, append([]string{"dev"}, flags...)...)}
	eventually(t, startLimit, "dev prints its address", func() bool {
		return phoneAddress.MatchString(d.proc.stdout.String()) || !d.proc.running()
	})
	found := phoneAddress.FindStringSubmatch(d.proc.stdout.String())
	if found == nil {
		t.Fatalf("dev ended: %s", d.proc.tail())
	}
	d.admin = found[1]
	for _, token := range devToken.FindAllStringSubmatch(d.config(), -1) {
		d.token = token[1] // the account's stands behind the admin's
	}
	return d
}

func (d *dev) config() string {
	d.t.Helper()
	b, err := os.ReadFile(filepath.Join(d.dir, "data", "dev.yaml"))
	if err != nil {
		d.t.Fatal(err)
	}
	return string(b)
}

// bubble is what the phone shows of one message.
type bubble struct {
	ID      uint64 `json:"id"`
	Done    bool   `json:"done"`
	Banner  bool   `json:"banner"`
	Message struct {
		Content string `json:"content"`
	} `json:"message"`
	Answer *struct {
		Content string `json:"content"`
	} `json:"answer"`
	Deliveries []json.RawMessage `json:"deliveries"`
	Trace      []struct {
		Stage string `json:"stage"`
	} `json:"trace"`
}

// say writes on the phone and returns the bubble's number.
func (d *dev) say(openID, text string) uint64 {
	d.t.Helper()
	body, err := json.Marshal(map[string]any{
		"account": "demo", "openid": openID, "message": map[string]string{"type": "text", "content": text},
	})
	if err != nil {
		d.t.Fatal(err)
	}
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Post(d.admin+"/phone/api/push", "application/json", bytes.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	var pushed struct{ ID uint64 }
	if err := json.NewDecoder(resp.Body).Decode(&pushed); err != nil || resp.StatusCode != http.StatusAccepted {
		d.t.Fatalf("the phone's push: status %d, %v", resp.StatusCode, err)
	}
	return pushed.ID
}

// bubbles are the user's messages as the phone shows them.
func (d *dev) bubbles(openID string) map[uint64]bubble {
	d.t.Helper()
	_, body, err := get(d.admin + "/phone/api/history?account=demo&openid=" + openID)
	var history struct{ Exchanges []bubble }
	if err = errors.Join(err, json.Unmarshal([]byte(body), &history)); err != nil {
		d.t.Fatalf("the phone's history: %v", err)
	}
	out := make(map[uint64]bubble)
	for _, b := range history.Exchanges {
		out[b.ID] = b
	}
	return out
}

// chat writes and waits for the end.
func (d *dev) chat(openID, text string) bubble {
	d.t.Helper()
	id := d.say(openID, text)
	eventually(d.t, 30*time.Second, "the phone's message ends", func() bool { return d.bubbles(openID)[id].Done })
	return d.bubbles(openID)[id]
}

// TestDev: one command on a fresh folder, then the phone, the shell and the probes; Ctrl-C; and all of it is there again.
func TestDev(t *testing.T) {
	realProcess(t)
	dir := t.TempDir()
	d := startDev(t, dir)
	handshake(t, d)

	b := d.chat("u1", "你好")
	if b.Answer == nil || !strings.HasPrefix(b.Answer.Content, "您好！") || b.Banner || len(b.Deliveries) != 1 {
		t.Errorf("the phone shows %+v", b)
	}
	stages := make(map[string]bool)
	for _, station := range b.Trace {
		stages[station.Stage] = true
	}
	for _, stage := range []string{"verified", "accepted", "turn", "committed", "offered", "settled"} {
		if !stages[stage] {
			t.Errorf("the bubble tells nothing of the stage %q: %v", stage, stages)
		}
	}
	if answer, stderr, code := run(t, dir, "send", "--account", "demo", "--user", "u1", "帮助"); code != 0 || !strings.HasPrefix(answer, "您可以这样问我：") {
		t.Errorf("hongyan send: exit code %d, %q, %s", code, answer, stderr)
	}
	if u := show(t, dir, "demo/u1"); u.Counts.Turns != 2 || len(u.Turns) != 4 || u.Turns[0].Text != "你好" || u.Turns[2].Text != "帮助" {
		t.Errorf("user show: %+v", u)
	}
	if _, stderr, code := run(t, dir, "user", "show", "demo/u2"); code != 3 {
		t.Errorf("user show of a user who never wrote: exit code %d, %s", code, stderr)
	}
	probesAndMetrics(t, d)
	secondDev(t, d)

	const slowOnes = 2 // of each user; the example rules take seven seconds for each
	// Ctrl-C while slow turns are under way and the phone's pushes are open.
	for range slowOnes {
		d.say("u1", "慢")
		d.say("u2", "慢")
	}
	eventually(t, 10*time.Second, "the slow messages are in the log", func() bool {
		_, body, err := get(d.admin + "/metrics")
		return err == nil && parseMetrics(body)["wechat_message_queue_length"] >= 2*slowOnes
	})
	config := d.config()
	code, took := d.proc.signal(syscall.SIGINT, 3*stopLimit)
	t.Logf("Ctrl-C: ended in %v", took)
	if code != 0 || took > stopLimit {
		t.Errorf("after Ctrl-C dev ended with exit code %d in %v; it said:\n%s", code, took, d.proc.tail())
	}

	d = startDev(t, dir)
	if d.token == "" || !strings.Contains(config, d.token) {
		t.Error("the next run has other credentials")
	}
	u := show(t, dir, "demo/u1")
	if len(u.Turns) < 4 || u.Turns[0].Text != "你好" || u.Turns[2].Text != "帮助" {
		t.Errorf("the next run does not know the old turns: %+v", u)
	}
	// What was accepted reaches its end, one turn each, though its platform is gone.
	for _, openID := range []string{"u1", "u2"} {
		eventually(t, time.Minute, "the slow turns end", func() bool {
			u = show(t, dir, "demo/"+openID)
			return u.Queued == 0
		})
		slow := 0
		for _, turn := range u.Turns {
			if turn.Role == "user" && turn.Text == "慢" {
				slow++
			}
		}
		if slow != slowOnes {
			t.Errorf("user %s has %d slow turns, not %d", openID, slow, slowOnes)
		}
	}
	if code, _ := d.proc.signal(syscall.SIGTERM, 3*stopLimit); code != 0 {
		t.Errorf("after SIGTERM dev ended with exit code %d", code)
	}
}

// handshake is WeChat's GET check of the address that dev prints, with the token that it wrote down.
func handshake(t *testing.T, d *dev) {
	t.Helper()
	const echo = "4375120948345356249"
	timestamp := strconv.FormatInt(time.Now().Unix(), 10)
	q := url.Values{"timestamp": {timestamp}, "nonce": {"1514711492"}, "echostr": {echo},
		"signature": {crypt.Signature(d.token, timestamp, "1514711492")}}
	status, body, err := get("http://" + d.callback() + "/wechat/callback/demo?" + q.Encode())
	if err != nil || status != http.StatusOK || body != echo {
		t.Errorf("handshake: status %d, %q, %v", status, body, err)
	}
}

func (d *dev) callback() string {
	d.t.Helper()
	found := devCallback.FindStringSubmatch(d.config())
	if found == nil {
		d.t.Fatalf("dev.yaml names no callback listener")
	}
	return found[1]
}

// probesAndMetrics: the probes are green, and the names that others depend on are there (DESIGN §8).
func probesAndMetrics(t *testing.T, d *dev) {
	t.Helper()
	for _, path := range []string{"/livez", "/readyz", "/health", "/phone/"} {
		if status, body, err := get(d.admin + path); err != nil || status != http.StatusOK {
			t.Errorf("%s: status %d, %v: %s", path, status, err, body)
		}
	}
	_, body, err := get(d.admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	m := parseMetrics(body)
	for _, series := range []string{
		`wechat_http_requests_total{endpoint="/wechat/callback/{account}",method="POST",status="200"}`,
		`wechat_http_request_duration_seconds_count{endpoint="/wechat/callback/{account}",method="POST"}`,
		"wechat_online_users", "wechat_messages_processed_total",
		`hongyan_messages_total{account="demo",outcome="answered"}`,
	} {
		if m[series] < 1 {
			t.Errorf("metric %s is %v", series, m[series])
		}
	}
	if queue, ok := m["wechat_message_queue_length"]; !ok || queue != 0 {
		t.Errorf("metric wechat_message_queue_length: %v, %v", queue, ok)
	}
	if strings.Contains(body, `"u1"`) {
		t.Error("an OpenID stands in a label")
	}
}

// secondDev on the same folder fails, says why, and changes nothing of the first one's.
func secondDev(t *testing.T, d *dev) {
	t.Helper()
	before, entries := d.config(), listing(t, d)
	second := start(t, d.dir, "dev")
	if code := second.wait(startLimit); code != 1 {
		t.Errorf("a second dev on the same folder: exit code %d, not 1", code)
	}
	if said := second.stderr.String(); !strings.Contains(said, "data") || !strings.Contains(said, "another") && !strings.Contains(said, "in use") {
		t.Errorf("a second dev on the same folder says: %s", said)
	}
	if d.config() != before || listing(t, d) != entries {
		t.Error("a second dev changed what the first one wrote")
	}
	if b := d.chat("u2", "你好"); b.Answer == nil {
		t.Error("the first dev does not answer any more")
	}
}

// listing is what stands in the data folder, with sizes of what is not the log's.
func listing(t *testing.T, d *dev) string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(d.dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&b, e.Name(), info.Mode(), e.IsDir() || info.Size() > 0)
	}
	return b.String()
}
