package bench

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write testdata anew")

func TestSpreadAndQuantile(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		values []float64
		want   Spread
	}{
		{nil, Spread{}},
		{[]float64{3}, Spread{3, 3, 3}},
		{[]float64{9, 1, 5}, Spread{5, 1, 9}},
		{[]float64{4, 1, 2, 9}, Spread{3, 1, 9}},
	} {
		before := slices.Clone(c.values)
		if got := spreadOf(c.values); got != c.want || !slices.Equal(before, c.values) {
			t.Errorf("%v: %+v, want %+v", before, got, c.want)
		}
	}
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(i + 1)
	}
	for q, want := range map[float64]time.Duration{0.5: 50, 0.99: 99, 0.999: 100, 1: 100, 0.001: 1} {
		if got := quantile(hundred, q); got != want {
			t.Errorf("quantile %g of 1..100 is %d, want %d", q, got, want)
		}
	}
	if quantile(nil, 0.5) != 0 {
		t.Error("quantile of nothing")
	}
}

// TestQuantileIsNearestRank: at least a share q of the samples is not above it, and less than q is below it.
func TestQuantileIsNearestRank(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		samples := rapid.SliceOfN(rapid.Map(rapid.Int64Range(0, 50), func(n int64) time.Duration { return time.Duration(n) }), 1, 60).Draw(t, "samples")
		percent := rapid.IntRange(1, 100).Draw(t, "percent")
		slices.Sort(samples)
		got := quantile(samples, float64(percent)/100)
		below, upTo := 0, 0
		for _, s := range samples {
			if s < got {
				below++
			}
			if s <= got {
				upTo++
			}
		}
		// One part in a thousand for 0.07 × 100 and its like in floating point.
		share := float64(percent*len(samples)) / 100
		if float64(upTo) < share-0.001 || float64(below) >= share+1.001 {
			t.Fatalf("p%d of %v is %d: %d below, %d up to it", percent, samples, got, below, upTo)
		}
	})
}

func TestFeed(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		users := rapid.IntRange(1, 200).Draw(t, "users")
		connections := rapid.IntRange(1, users).Draw(t, "connections")
		spread := rapid.SampledFrom([]string{UsersUniform, UsersZipf}).Draw(t, "spread")
		ahead := rapid.IntRange(0, 30).Draw(t, "ahead")
		render, err := newRenderer(Account{ID: "bench", OriginalID: "gh", Mode: ModePlain, Token: "t"}, [32]byte{})
		if err != nil {
			t.Fatal(err)
		}
		owner, ids := map[uint32]int{}, map[string]bool{}
		for number := range connections {
			f := newFeed(render, number, connections, users, spread, 5000, 1)
			f.fill(ahead, noon, time.Second, 1<<20)
			for i := range f.everybody() {
				wire, want := f.take(noon)
				if _, taken := owner[want.user]; taken || want.user >= uint32(users) {
					t.Fatalf("user %d has two connections, or two turns before everybody had one", want.user)
				}
				owner[want.user] = number
				id, _ := element(wire, "MsgId")
				if ids[string(id)] {
					t.Fatalf("MsgId %s twice", id)
				}
				ids[string(id)] = true
				created, _ := element(wire, "CreateTime")
				at := noon
				if i < ahead {
					at = noon.Add(time.Duration(i) * time.Second)
				}
				if string(created) != strconv.FormatInt(at.Unix(), 10) || !bytes.Contains(wire, []byte("timestamp="+strconv.FormatInt(at.Unix(), 10))) {
					t.Fatalf("message %d of %d ahead has CreateTime %s", i, ahead, created)
				}
			}
			if f.late != max(0, f.everybody()-ahead) {
				t.Fatalf("%d rendered late of %d, %d ahead", f.late, f.everybody(), ahead)
			}
		}
		if len(owner) != users {
			t.Fatalf("%d of %d users visited", len(owner), users)
		}
	})
}

func TestFeedBoundsItsMemory(t *testing.T) {
	t.Parallel()
	g := newTestGenerator(t, NewAccount(ModeSafe), 1, 10)
	g.feeds[0].fill(1_000_000, noon, 0, 64<<10)
	if got := len(g.feeds[0].slab); got < 64<<10 || got > 66<<10 {
		t.Errorf("%d bytes rendered for a limit of %d", got, 64<<10)
	}
}

func TestElement(t *testing.T) {
	t.Parallel()
	for document, want := range map[string]string{
		"<x><A>1</A></x>": "1", "<A><![CDATA[a<b]]></A>": "a<b", "<A></A>": "", "<A><![CDATA[]]></A>": "",
	} {
		if got, ok := element([]byte(document), "A"); !ok || string(got) != want {
			t.Errorf("%s: %q %t", document, got, ok)
		}
	}
	for _, document := range []string{"", "<A>1", "<A>1</A><A>2</A>", "<A><![CDATA[1</A>", "<AB>1</AB>"} {
		if got, ok := element([]byte(document), "A"); ok {
			t.Errorf("%s: %q", document, got)
		}
	}
	if got := masked([]byte("<x><CreateTime>123</CreateTime><C>123</C></x>")); string(got) != "<x><CreateTime>0</CreateTime><C>123</C></x>" {
		t.Errorf("masked: %s", got)
	}
}

func TestMachine(t *testing.T) {
	t.Parallel()
	mounts := "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/vdb /tmp/my\\040disk xfs rw 0 0\n/dev/vdc /tmp xfs rw 0 0\nbroken\n"
	for path, want := range map[string]string{
		"/": "ext4", "/var/x": "ext4", "/tmp": "xfs", "/tmp/a": "xfs", "/tmpx": "ext4", "/tmp/my disk/a": "xfs",
	} {
		if got := fileSystem(mounts, path); got != want {
			t.Errorf("%s is on %s, want %s", path, got, want)
		}
	}
	if got := fileSystem("", "/"); got != "unknown" {
		t.Errorf("no mounts: %s", got)
	}
	if got := cpuModel("processor\t: 0\nmodel name\t: Some: CPU\n"); got != "Some: CPU" {
		t.Errorf("model %q", got)
	}
	if m, err := describeMachine(t.TempDir()); err != nil || m.Cores < 1 || m.FsyncMS <= 0 {
		t.Errorf("%+v, %v", m, err)
	}
	spent, ok := parseStat([]byte("7 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 25 0 0 20"))
	if !ok || spent != 1750*time.Millisecond {
		t.Errorf("processor time %s, %t", spent, ok)
	}
	if _, ok := parseStat([]byte("7 (a) S 1")); ok {
		t.Error("half a stat line is understood")
	}
	if got := parseMachineStat("cpu  100 1 20 9999 50 7 8 4 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n"); got != 1250*time.Millisecond {
		t.Errorf("machine time %s", got)
	}
	u := usage{targets: []time.Duration{4, 2}, client: 3, machine: 10}
	if u.foreign() != 1 || u.others(0) != 2 {
		t.Errorf("foreign %d, others %d", u.foreign(), u.others(0))
	}
	if got := statusBytes([]byte("Name:\tx\nVmHWM:\t  20 kB\nVmRSS:\t    12 kB\n"), "VmRSS:"); got != 12<<10 {
		t.Errorf("%d resident bytes", got)
	}
}

// sample is a report with figures that can be checked by hand.
func sample() *Report {
	bare, disk := Target{Name: TargetBare, ResidentNow: 20 << 20}, Target{Name: "disk", ResidentNow: 120 << 20}
	for i, rate := range []float64{1000, 2000, 1500} {
		bare.Rounds = append(bare.Rounds, Round{Cycle: i + 1, PerSecond: rate, P50MS: 1, P99MS: 2, MaxMS: float64(i), CPUMicros: 40, ForeignCPU: 0.5})
		disk.Rounds = append(disk.Rounds, Round{Cycle: i + 1, PerSecond: 600, P50MS: 3, P99MS: 9, MaxMS: 30, CPUMicros: 100, ForeignCPU: 1.5})
	}
	bare.summarize()
	disk.summarize()
	return &Report{
		Schema: Schema, Started: noon,
		Machine: Machine{Cores: 2, CPU: "Some CPU", OS: "linux/amd64 6.0", Go: "go1.26", FileSystem: "tmpfs", FsyncMS: 0.25},
		Settings: Settings{Mode: ModeSafe, Durability: []string{"disk"}, Users: 10_000, Spread: UsersUniform, Connections: 64, Rounds: 3, Stores: []string{StoreJetStream}, Nodes: []int{1},
			RoundSeconds: 5, WarmUpSeconds: 3, Seed: 1},
		Targets: []Target{bare, disk},
		Ratios:  []Ratio{disk.ratioTo(&bare)},
		Latency: []OpenRound{{Name: "disk", Rate: 300, Reached: 299.9, Messages: 1500, P50MS: 0.5, P99MS: 2.25, P999MS: 3, MaxMS: 4, CPUMicros: 110}},
		Answers: Answers{Checked: 12345, Wrong: 1, Faults: []string{"round 1/3 disk: wrong answer"}},
	}
}

func TestRatio(t *testing.T) {
	t.Parallel()
	got := sample().Ratios[0]
	want := Ratio{Name: "disk", OfMedian: 0.4, PerCycle: Spread{Median: 0.4, Min: 0.3, Max: 0.6}, CPU: 2.5}
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if empty := (&Target{}).ratioTo(&Target{}); empty.OfMedian != 0 {
		t.Errorf("nothing by nothing: %+v", empty)
	}
}

// TestReportForms holds both forms beside testdata; the JSON one is a contract.
func TestReportForms(t *testing.T) {
	t.Parallel()
	for name, write := range map[string]func(*Report, *bytes.Buffer) error{
		"report.json": func(r *Report, b *bytes.Buffer) error { return r.WriteJSON(b) },
		"report.txt":  func(r *Report, b *bytes.Buffer) error { return r.WriteTable(b) },
	} {
		var got bytes.Buffer
		if err := write(sample(), &got); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%s differs (-update writes it anew), %v:\n%s", name, err, &got)
		}
	}
}

// Several nodes are a NATS server, the workers, and the ingress that the load goes to; all of them have to be ready.
func TestTopologies(t *testing.T) {
	t.Parallel()
	o := Options{Durability: []string{"os", "disk"}, Stores: []string{StoreJetStream, StoreRedis}, Nodes: []int{1, 3}}
	var names []string
	for _, t := range o.topologies() {
		names = append(names, t.name())
	}
	if got := strings.Join(names, " "); got != "os disk os+redis disk+redis os@3 disk@3 os+redis@3 disk+redis@3" {
		t.Error(got)
	}
	p, err := enginePlan("/bin/hongyan", t.TempDir(), topology{"disk", StoreJetStream, 3}, NewAccount(ModeSafe))
	if err != nil {
		t.Fatal(err)
	}
	names = nil
	for _, s := range p.servers {
		names = append(names, s.name)
	}
	if got := strings.Join(names, " "); got != "nats worker-1 worker-2 worker-3 ingress" || len(p.ready) != 4 || p.callback == "" {
		t.Errorf("%s, %d to be ready", got, len(p.ready))
	}
	if !slices.Contains(p.servers[0].argv, "--sync") || len(p.servers[0].input) < 16 {
		t.Errorf("%v: durability disk without fsync, or no token", p.servers[0].argv)
	}
}

func TestEngineFiles(t *testing.T) {
	t.Parallel()
	dir, account := t.TempDir(), NewAccount(ModeSafe)
	p, err := enginePlan("/bin/hongyan", dir, topology{"disk", StoreJetStream, 1}, account)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "disk", "node.yaml")
	if len(p.servers) != 1 || !slices.Equal(p.servers[0].argv, []string{"/bin/hongyan", "serve", "-c", path}) ||
		len(p.ready) != 1 || !strings.HasSuffix(p.ready[0], "/readyz") {
		t.Errorf("%+v", p)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{`durability: "disk"`, `callback: "` + p.callback + `"`, `mode: safe`, `token: "` + account.Token + `"`,
		`encoding_aes_key: "` + account.AESKey + `"`} {
		if !bytes.Contains(text, []byte(line)) {
			t.Errorf("the configuration lacks %s", line)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the configuration has a secret and mode %v, %v", info.Mode(), err)
	}
	listed := strings.Count(string(rulesYAML()), "match: exact")
	if listed != len(rules()) || quote("a\"b\\") != `"a\"b\\"` {
		t.Errorf("%d of %d rules", listed, len(rules()))
	}
}
