package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func tiny(mode string) Options {
	return Options{
		Mode: mode, Users: 50, Spread: UsersUniform, Connections: 4, Rounds: 3,
		Round: 150 * time.Millisecond, WarmUp: 50 * time.Millisecond, Latency: true, Seed: 7,
		Stores: []string{StoreJetStream}, Nodes: []int{1},
	}
}

// bareTwice are plans for two processes with the bare handler; the second poses as an engine.
func bareTwice(t *testing.T, account Account) []plan {
	t.Helper()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	plans := make([]plan, 2)
	for i := range plans {
		if plans[i], err = barePlan(executable, account); err != nil {
			t.Fatal(err)
		}
	}
	plans[1].name = "os"
	return plans
}

func TestMeasureProcesses(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{ModePlain, ModeSafe} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			account := NewAccount(mode)
			var progress bytes.Buffer
			report, err := measure(t.Context(), tiny(mode), account, bareTwice(t, account), t.TempDir(), NewLines(&progress))
			if err != nil {
				t.Fatal(err)
			}
			checkReport(t, report)
			for _, step := range []string{"warm-up bare: ", "round 1/3 os: ", "round 3/3 bare: ", "latency os at "} {
				if !strings.Contains(progress.String(), "bench: "+step) {
					t.Errorf("progress does not tell %q:\n%s", step, &progress)
				}
			}
		})
	}
}

func checkReport(t *testing.T, report *Report) {
	t.Helper()
	if !report.Passed || report.Answers.Missing != 0 || report.Answers.Wrong != 0 {
		t.Fatalf("answers: %+v", report.Answers)
	}
	if len(report.Targets) != 2 || len(report.Ratios) != 1 || len(report.Latency) != 2 {
		t.Fatalf("report: %+v", report)
	}
	measured := 0
	for _, target := range report.Targets {
		if len(target.Rounds) != 3 {
			t.Fatalf("%s: %d rounds", target.Name, len(target.Rounds))
		}
		for i, r := range target.Rounds {
			measured += r.Messages
			if r.Cycle != i+1 || r.Messages == 0 || r.P50MS <= 0 || r.P99MS < r.P50MS || r.MaxMS < r.P99MS || r.Seconds < 0.15 {
				t.Errorf("%s: round %+v", target.Name, r)
			}
		}
		if target.PerSecond.Min <= 0 || target.PerSecond.Max < target.PerSecond.Median {
			t.Errorf("%s: %+v", target.Name, target.PerSecond)
		}
		if _, err := os.Stat("/proc/self/stat"); err == nil && target.ResidentNow == 0 {
			t.Errorf("%s: no resident memory", target.Name)
		}
	}
	if report.Answers.Checked <= measured {
		t.Errorf("%d checked, %d in rounds: warm-up and latency are missing", report.Answers.Checked, measured)
	}
	if ratio := report.Ratios[0]; ratio.OfMedian < 0.1 || ratio.OfMedian > 10 {
		t.Errorf("the same handler differs from itself: %+v", ratio)
	}
	var buffer bytes.Buffer
	if err := report.WriteJSON(&buffer); err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(&buffer)
	decoder.DisallowUnknownFields()
	var again Report
	if err := decoder.Decode(&again); err != nil || again.Targets[1].PerSecond != report.Targets[1].PerSecond {
		t.Errorf("JSON does not come back: %v", err)
	}
}

// TestRunAll goes from the options to the ratios, with stand-ins that read the engine's configuration.
func TestRunAll(t *testing.T) {
	t.Setenv("HONGYAN_LOG_LEVEL", "debug")
	for _, mode := range []string{ModePlain, ModeSafe} {
		options := tiny(mode)
		options.Durability, options.Dir, options.Rounds, options.Keep = []string{"os", "disk"}, t.TempDir(), 2, true
		report, err := Run(t.Context(), options, NewLines(&bytes.Buffer{}))
		if err != nil {
			t.Fatal(err)
		}
		names := ""
		for _, target := range report.Targets {
			names += target.Name + " "
		}
		if !report.Passed || names != "bare os disk " || len(report.Ratios) != 2 || len(report.Latency) != 3 {
			t.Errorf("targets %s, ratios %+v", names, report.Ratios)
		}
		for _, kept := range []string{"bare.log", "os.log", "disk.log", "disk/node.yaml"} {
			if found, _ := filepath.Glob(filepath.Join(options.Dir, "hongyan-bench-*", kept)); len(found) != 1 {
				t.Errorf("%s is not kept: %v", kept, found)
			}
		}
	}
}

// TestRunAlone goes through Run itself, with the yardstick as the only target, and leaves nothing behind.
func TestRunAlone(t *testing.T) {
	t.Parallel()
	options := tiny(ModeSafe)
	options.Dir, options.Spread, options.Latency = t.TempDir(), UsersZipf, false
	report, err := Run(t.Context(), options, NewBar(&bytes.Buffer{}))
	if err != nil || !report.Passed || len(report.Targets) != 1 {
		t.Fatalf("%+v, %v", report, err)
	}
	if left, err := os.ReadDir(options.Dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestOtherBytes: servers that answer differently are not compared.
func TestOtherBytes(t *testing.T) {
	t.Parallel()
	account := NewAccount(ModeSafe)
	plans := bareTwice(t, account)
	plans[1].servers[0].input = bytes.ReplaceAll(plans[1].servers[0].input, []byte("您好"), []byte("你好"))
	report, err := measure(t.Context(), tiny(ModeSafe), account, plans, t.TempDir(), NewLines(&bytes.Buffer{}))
	if report != nil || !errors.Is(err, errWrong) {
		t.Fatalf("%+v, %v", report, err)
	}
}

func TestServerThatCannotStart(t *testing.T) {
	t.Parallel()
	account := NewAccount(ModeSafe)
	plans := bareTwice(t, account)
	taken, err := net.Listen("tcp", plans[1].callback)
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, err = measure(t.Context(), tiny(ModeSafe), account, plans, t.TempDir(), NewLines(&bytes.Buffer{}))
	if err == nil || !strings.Contains(err.Error(), `"os" ended by itself`) || !strings.Contains(err.Error(), "address already in use") {
		t.Fatalf("error does not say what happened: %v", err)
	}
}

// TestServerDies: a server that dies under load fails the run, and the report says so.
func TestServerDies(t *testing.T) {
	t.Parallel()
	account := NewAccount(ModePlain)
	options := tiny(ModePlain)
	options.Rounds, options.Round = 1, 5*time.Second
	plans := bareTwice(t, account)[:1]
	plans[0].servers[0].argv[2] = "mortal"
	report, err := measure(t.Context(), options, account, plans, t.TempDir(), NewLines(&bytes.Buffer{}))
	if !errors.Is(err, ErrFailed) || report == nil || report.Passed || report.Answers.Missing == 0 {
		t.Fatalf("%+v, %v", report, err)
	}
	var table bytes.Buffer
	if err := report.WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	for _, told := range []string{"FAILED", `"bare" ended by itself: exit status 3; its last lines:`, "mortal: enough"} {
		if !strings.Contains(table.String(), told) {
			t.Errorf("the table does not tell %q:\n%s", told, &table)
		}
	}
}

// TestInterrupt: an interrupted run ends soon and without its children.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	options := tiny(ModeSafe)
	options.Round = 5 * time.Second
	options.Dir = t.TempDir()
	report, err := Run(ctx, options, &canceller{cancel: cancel})
	if report != nil || !errors.Is(err, context.Canceled) {
		t.Fatalf("%+v, %v", report, err)
	}
	if left, _ := filepath.Glob(filepath.Join(options.Dir, "*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// canceller interrupts the run as soon as a round runs.
type canceller struct{ cancel context.CancelFunc }

func (c *canceller) At(step string, elapsed time.Duration) {
	if strings.HasPrefix(step, "round") {
		c.cancel()
	}
}
func (*canceller) Plan(time.Duration)  {}
func (*canceller) Done(string, string) {}
func (*canceller) Close()              {}

func TestValidate(t *testing.T) {
	t.Parallel()
	good := tiny(ModeSafe)
	good.Durability = []string{"os", "disk"}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Options){
		"--mode":        func(o *Options) { o.Mode = "compat" },
		"--durability":  func(o *Options) { o.Durability = []string{"os", "os"} },
		"--store":       func(o *Options) { o.Stores = []string{"mysql"} },
		"--nodes":       func(o *Options) { o.Nodes = []int{3, 3} },
		"--users":       func(o *Options) { o.Users = 3 },
		"--spread":      func(o *Options) { o.Spread = "" },
		"--connections": func(o *Options) { o.Connections = 0 },
		"--rounds":      func(o *Options) { o.Rounds = 0 },
		"--round is":    func(o *Options) { o.Round = 0 },
		"--warm-up":     func(o *Options) { o.WarmUp = -1 },
		"--rate":        func(o *Options) { o.Rate = -1 },
	} {
		o := good
		spoil(&o)
		if err := o.Validate(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
