package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"hongyan/internal/checker"
	"hongyan/internal/servers"
	"hongyan/wechat/simulator"
)

const testAppSecret = "chaosSecretHt62pLq9Zx4"

// branch is a rig whose nodes reach WeChat's API: one account that may push, and one that may not. The API is the platform's own, at
// an address that all nodes have.
type branch struct {
	*rig
	t       *testing.T
	api     string
	watcher atomic.Pointer[func(simulator.Record)] // sees every record of the platform, under its lock
	pushes  sync.WaitGroup
	serving sync.WaitGroup
}

// openBranch starts everything and returns when every node is ready. It ends with the test.
func openBranch(t *testing.T, workers, ingresses int, rules string) *branch {
	t.Helper()
	chance, _ := seeded(t)
	dir := t.TempDir()
	b := &branch{t: t, rig: &rig{dir: dir, chance: chance, say: t.Logf}}
	ctx, cancel := context.WithTimeout(t.Context(), 3*startLimit)
	defer cancel()
	t.Cleanup(func() {
		if err := b.close(); err != nil {
			t.Error(err)
		}
		b.pushes.Wait()
		b.serving.Wait()
	})
	if err := b.open(ctx, workers, ingresses, rules); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *branch) open(ctx context.Context, workers, ingresses int, rules string) error {
	if err := b.startNATS(ctx, rigOptions{nats: 1}); err != nil {
		return err
	}
	var err error
	if b.redis, err = servers.StartRedis(ctx, servers.RedisOptions{Dir: filepath.Join(b.dir, "redis"), AppendOnly: "always"}); err != nil {
		return err
	}
	port, err := servers.FreePort()
	if err != nil {
		return err
	}
	b.api = fmt.Sprintf("127.0.0.1:%d", port)
	b.layout.partitions, b.layout.redisAddr, b.layout.streams, b.layout.replicas = partitions, b.redis.Addr(), 2, 1
	b.layout.rules = rules
	b.layout.accounts = accountText("plain", testAppID+"0") + accountText("push", testAppID+"1") +
		fmt.Sprintf("    app_secret: %s\n    api_base: http://%s\n    customer_service: true\n", testAppSecret, b.api)
	for i := range workers + ingresses {
		name := fmt.Sprintf("worker-%d", i+1)
		if i >= workers {
			name = fmt.Sprintf("ingress-%d", i-workers+1)
		}
		n, err := newNode(b.dir, name, i < workers, b.layout)
		if err != nil {
			return err
		}
		if i < workers {
			b.workers = append(b.workers, n)
		} else {
			b.ingresses = append(b.ingresses, n)
		}
	}
	if err := b.openPlatform(); err != nil {
		return err
	}
	if err := b.startNodes(ctx); err != nil {
		return err
	}
	if b.journal, err = openJournal(b.servers[0].URL(), b.layout.streams); err != nil {
		return err
	}
	return b.awaitSpread(ctx)
}

// openPlatform opens WeChat, and its API until the platform is closed.
func (b *branch) openPlatform() error {
	var accounts []simulator.Account
	for i, id := range []string{"plain", "push"} {
		a := simulator.Account{ID: id, AppID: fmt.Sprintf("%s%d", testAppID, i), OriginalID: testOriginalID, Token: testToken, AESKey: testAESKey,
			Mode: simulator.ModeSafe, AppSecret: testAppSecret, CustomerService: id == "push"}
		for k, n := range b.ingresses {
			address := "http://" + n.callback + "/wechat/callback/" + id
			if k == 0 {
				a.CallbackURL = address
			} else {
				a.MoreURLs = append(a.MoreURLs, address)
			}
		}
		accounts = append(accounts, a)
	}
	var err error
	b.platform, err = simulator.New(simulator.Options{Accounts: accounts, WitnessLimit: 1 << 20, Watch: func(r simulator.Record) {
		if f := b.watcher.Load(); f != nil {
			(*f)(r)
		}
	}})
	if err != nil {
		return err
	}
	opened, ended := make(chan struct{}), make(chan error, 1)
	b.serving.Go(func() { // ended by the platform's end
		ended <- b.platform.ServeAPI(context.Background(), b.api, func(net.Addr) { close(opened) })
	})
	select {
	case <-opened:
		return nil
	case err := <-ended:
		return errors.Join(err, errors.New("the simulated API could not be opened"))
	}
}

// awaitSpread returns when every partition has a running owner and every worker owns some.
func (b *branch) awaitSpread(ctx context.Context) error {
	var why string
	spread := func() bool {
		owned := make(map[string]int)
		owners, err := b.owners(ctx)
		if err != nil {
			why = err.Error()
			return false
		}
		for _, name := range owners {
			owned[name]++
		}
		why = fmt.Sprintf("%d of %d partitions are owned, by %v", len(owners), partitions, owned)
		return len(owners) == partitions && len(owned) == len(b.workers)
	}
	if !poll(ctx, startLimit, spread) {
		return fmt.Errorf("the cluster is not whole within %v: %s", startLimit, why)
	}
	return nil
}

// ask sends one question and does not wait for its end; pushes does.
func (b *branch) ask(account, openID, name string) {
	b.pushes.Go(func() { // ends after three deliveries at the latest, or with the platform
		_, err := b.platform.Push(b.t.Context(), account, openID, simulator.Message{Type: "text", Content: checker.Question(name)})
		if err != nil && b.t.Context().Err() == nil {
			b.t.Errorf("push: %v", err)
		}
	})
}

// watch lets f see every record from now on; it is called under the platform's lock. nil ends that.
func (b *branch) watch(f func(simulator.Record)) {
	if f == nil {
		b.watcher.Store(nil)
		return
	}
	b.watcher.Store(&f)
}

// killNow sends SIGKILL and does not wait for the end: it may be called under the platform's lock.
func (n *node) killNow() error { return n.program.Signal(syscall.SIGKILL) }

// restart starts a node again that was killed.
func (b *branch) restart(n *node) {
	b.t.Helper()
	if err := n.program.Kill(); err != nil {
		b.t.Fatal(err)
	}
	if err := n.start(); err != nil {
		b.t.Fatal(err)
	}
}

// awaitAll returns when all nodes are ready.
func (b *branch) awaitAll() {
	b.t.Helper()
	for _, n := range b.nodes() {
		if err := b.awaitReady(b.t.Context(), n); err != nil {
			b.t.Fatal(err)
		}
	}
}

// eventually fails the test when ok does not come true in time.
func (b *branch) eventually(within time.Duration, what string, ok func() bool) {
	b.t.Helper()
	for until := time.Now().Add(within); !ok(); pause(b.t.Context(), 200*time.Millisecond) { // what is looked at is not cheap
		if time.Now().After(until) || b.t.Context().Err() != nil {
			b.t.Fatalf("not within %v: %s", within, what)
		}
	}
}

// ownerOf is the worker that owns a user's partition; nil while nobody does.
func (b *branch) ownerOf(account, openID string) *node {
	owners, err := b.owners(b.t.Context())
	if err != nil {
		return nil
	}
	for _, n := range b.workers {
		if n.name == owners[userPartition(account, openID)] {
			return n
		}
	}
	return nil
}

// remembered is what the engine remembers of a user; ok is false while no worker can tell.
func (b *branch) remembered(account, openID string) (u checker.User, ok bool) {
	for _, n := range b.workers {
		if !n.running() {
			continue
		}
		status, body, err := n.get("/api/v1/users/" + account + "/" + openID)
		if err == nil && status == 200 && json.Unmarshal([]byte(body), &u) == nil {
			return u, true
		}
	}
	return u, false
}

var answerNames = regexp.MustCompile(`《([^》]*)》`)

// unknownAnswers are the answers in dead letters, all of which must have the reason that nobody knows their delivery.
func (b *branch) unknownAnswers() map[string]bool {
	b.t.Helper()
	var list struct {
		Letters []struct{ ID, Reason, Text string }
	}
	b.readJSON("/api/v1/dead?limit=1000", &list)
	out := make(map[string]bool)
	for _, l := range list.Letters {
		if l.Reason != "unknown" {
			b.t.Errorf("a dead letter with the reason %s, for which there is none here: %s", l.Reason, l.Text)
		}
		var detail struct{ Answer json.RawMessage }
		b.readJSON("/api/v1/dead/"+l.ID, &detail)
		for _, found := range answerNames.FindAllStringSubmatch(string(detail.Answer), -1) {
			out[found[1]] = true
		}
	}
	return out
}

// readJSON asks the first worker that answers.
func (b *branch) readJSON(path string, into any) {
	b.t.Helper()
	var said []string
	for _, n := range b.workers {
		status, body, err := n.get(path)
		if err == nil && status == 200 && json.Unmarshal([]byte(body), into) == nil {
			return
		}
		said = append(said, fmt.Sprintf("%s: status %d, %v: %.200s", n.name, status, err, body))
	}
	b.t.Fatalf("%s: no worker tells: %s", path, strings.Join(said, "; "))
}

// judge fails the test for what the checker found.
func (b *branch) judge(expect checker.Expect) *checker.Delivery {
	b.t.Helper()
	d := checker.Deliveries(b.platform.Witness(), expect, b.unknownAnswers())
	b.t.Log(d)
	for i, v := range d.Violations {
		if i == 20 {
			b.t.Errorf("… and %d more", len(d.Violations)-i)
			break
		}
		b.t.Error(v)
	}
	if d.Answers == 0 {
		b.t.Error("nobody saw an answer: this run shows nothing")
	}
	return d
}
