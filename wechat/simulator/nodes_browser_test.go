package simulator

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// processes are nodes as a supervisor would tell of them.
type processes struct {
	mu    sync.Mutex
	nodes []Node
	done  []string // "action name" in order
}

func threeProcesses() *processes {
	p := &processes{}
	for i, owned := range []int{22, 21, 21} {
		p.nodes = append(p.nodes, Node{Name: fmt.Sprintf("worker-%d", i+1), State: "running", PID: 100 + i, Partitions: &owned, Since: time.Now(), Log: "w.log"})
	}
	return p
}

func (p *processes) Nodes(context.Context) []Node {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.nodes)
}

func (p *processes) Do(_ context.Context, name, action string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.IndexFunc(p.nodes, func(n Node) bool { return n.Name == name })
	if i < 0 {
		return fmt.Errorf("%w: %q", ErrUnknownNode, name)
	}
	p.done = append(p.done, action+" "+name)
	n := &p.nodes[i]
	if action == "pause" && n.State != "running" {
		return fmt.Errorf("%w: %s is %s", ErrNodeState, name, n.State)
	}
	n.State = map[string]string{"stop": "stopped", "pause": "paused", "resume": "running", "kill": "killed", "start": "running"}[action]
	if n.State != "running" {
		n.Partitions = nil
	}
	return nil
}

// set changes what the nodes are behind the page's back.
func (p *processes) set(i int, state, exit string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.nodes[i].State, p.nodes[i].Exit, p.nodes[i].Partitions = state, exit, nil
}

func (p *processes) deeds() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.done, ", ")
}

// TestNodesInBrowser: the panel shows the processes, its buttons reach them, and one can chat all the while.
func TestNodesInBrowser(t *testing.T) {
	t.Parallel()
	fleet := threeProcesses()
	_, address := phoneRig(t, func(o *Options) { o.Nodes = fleet })
	p := openPage(t, address, "zh-CN")
	node := func(name, text string) {
		t.Helper()
		p.until(name+": "+text, fmt.Sprintf(`document.querySelector('li[data-node="%s"]')?.innerText.includes(%q)`, name, text))
	}
	press := func(name, action string) {
		t.Helper()
		p.run(chromedp.Click(chromedp.CSS(fmt.Sprintf(`button[data-node="%s"][data-action="%s"]`, name, action))))
	}
	buttons := func(name, want string) {
		t.Helper()
		if got := p.text(fmt.Sprintf(`[...document.querySelectorAll('button[data-node="%s"]')].map(b => b.innerText).join(' ')`, name)); got != want {
			t.Errorf("%s has the buttons %q, not %q", name, got, want)
		}
	}
	node("worker-1", "运行中 · 22 个分区")
	node("worker-3", "运行中 · 21 个分区")
	buttons("worker-1", "停止 暂停 杀死")

	press("worker-2", "kill")
	node("worker-2", "已杀死")
	buttons("worker-2", "启动")
	p.write("你好")
	p.shows("您说：“你好”")
	press("worker-2", "start")
	node("worker-2", "运行中")
	press("worker-1", "pause")
	node("worker-1", "已暂停")
	buttons("worker-1", "恢复 停止 杀死")
	p.until("the keyboard's place stays with the node", `document.activeElement.dataset.node === 'worker-1'`)
	p.shot("nodes", 1280, 800, false)
	p.shot("nodes", 1280, 800, true)
	press("worker-1", "resume")
	node("worker-1", "运行中")
	press("worker-3", "stop")
	node("worker-3", "已停止")
	fleet.set(1, "exited", "exit status 1")
	node("worker-2", "自行退出 · exit status 1")
	if got, want := fleet.deeds(), "kill worker-2, start worker-2, pause worker-1, resume worker-1, stop worker-3"; got != want {
		t.Errorf("the buttons did: %s; they should have done: %s", got, want)
	}
	p.run(chromedp.Click(chromedp.CSS("#language")))
	node("worker-2", "Ended by itself · exit status 1")
	p.calm()

	// A node that changed its state just now refuses, and the page says so. The browser's own line about the status is the only complaint.
	fleet.set(0, "stopping", "")
	p.run(chromedp.Evaluate[chromedp.Void](`import('./js/api.js').then(api => api.actOnNode('worker-1', 'pause')).catch(err => { document.body.dataset.refused = err.message; })`))
	p.until("the refusal", `document.body.dataset.refused?.includes('worker-1 is stopping')`)
}

// TestNoNodes: a platform that knows no processes shows no panel.
func TestNoNodes(t *testing.T) {
	t.Parallel()
	_, address := phoneRig(t, nil)
	p := openPage(t, address, "zh-CN")
	p.write("你好")
	p.shows("您说：“你好”")
	if hidden := p.text(`String(document.getElementById('nodes').hidden)`); hidden != "true" {
		t.Error("there is a panel of nodes where no nodes are known")
	}
	p.calm()
}

func TestNodesAPI(t *testing.T) {
	t.Parallel()
	fleet := threeProcesses()
	r := newRig(t, ModePlain, FormatXML, silent, func(o *Options) { o.Nodes = fleet })
	h := r.Handler()
	for _, c := range []struct {
		body   string
		header []string
		status int
	}{
		{`{"name":"worker-1","action":"kill"}`, nil, http.StatusOK},
		{`{"name":"worker-1","action":"pause"}`, nil, http.StatusConflict},
		{`{"name":"worker-9","action":"kill"}`, nil, http.StatusNotFound},
		{`{"name":"worker-2","action":"reboot"}`, nil, http.StatusBadRequest},
		{`{"name":"worker-2","action":"kill"}`, []string{"Content-Type", "text/plain"}, http.StatusUnsupportedMediaType},
		{`{"name":"worker-2","action":"kill"}`, []string{"Sec-Fetch-Site", "cross-site"}, http.StatusForbidden},
		{`{"name":"worker-2","action":"kill"}`, []string{"Origin", "https://elsewhere.example"}, http.StatusForbidden},
	} {
		if w := serve(h, http.MethodPost, "/api/nodes", c.body, c.header...); w.Code != c.status {
			t.Errorf("%s with %q: status %d, not %d: %s", c.body, c.header, w.Code, c.status, w.Body)
		}
	}
	if got := fleet.deeds(); got != "kill worker-1, pause worker-1" {
		t.Errorf("what reached the nodes: %s", got)
	}
	w := serve(h, http.MethodGet, "/api/nodes", "")
	var out nodesResponse
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || len(out.Nodes) != 3 || out.Nodes[0].State != "killed" || out.Nodes[1].State != "running" {
		t.Errorf("the nodes: %s, %v", w.Body, err)
	}

	none := newRig(t, ModePlain, FormatXML, silent, nil).Handler()
	if w := serve(none, http.MethodGet, "/api/nodes", ""); w.Body.String() != `{"nodes":[]}` {
		t.Errorf("a platform without nodes lists %s", w.Body)
	}
	if w := serve(none, http.MethodPost, "/api/nodes", `{"name":"worker-1","action":"kill"}`); w.Code != http.StatusNotFound {
		t.Errorf("an action without nodes: status %d", w.Code)
	}
}
