package rules

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"hongyan/bots"
	"hongyan/bots/watch"
	"hongyan/messages"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// logged is a log that a test reads while the bot writes it.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// bench is a bot on a file of its own.
type bench struct {
	*Bot
	file string
	log  *logged
}

func rulesOf(reply string) string {
	return "rules:\n  - {match: exact, value: 你好, reply: " + reply + "}\n"
}

const broken = "rules:\n  - {match: exakt, value: 你好, reply: x}\n"

// newBench opens a bot on a file that answers 你好 with "old".
func newBench(t *testing.T, file string) *bench {
	t.Helper()
	b := &bench{file: file, log: &logged{}}
	if _, err := os.Lstat(file); err != nil {
		b.write(t, rulesOf("old"))
	}
	bot, err := Open(Options{
		Name: "rules", File: file, Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.NewTextHandler(b.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	b.Bot = bot
	return b
}

func (b *bench) write(t *testing.T, content string) {
	t.Helper()
	if err := os.WriteFile(b.file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// reply is what the bot says to 你好; "(none)" where no rule matches.
func (b *bench) reply(t *testing.T) string {
	t.Helper()
	resp, err := b.Answer(t.Context(), &bots.Request{Message: said("你好")})
	switch {
	case err != nil:
		t.Fatal(err)
		return ""
	case !resp.Handled:
		return "(none)"
	default:
		return first(resp).GetText().GetContent()
	}
}

func (b *bench) reloads(result string) float64 {
	return testutil.ToFloat64(b.metrics.reloads.WithLabelValues("rules", result))
}

func (b *bench) valid() float64 { return testutil.ToFloat64(b.metrics.valid.WithLabelValues("rules")) }

func TestOpen(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "rules.yaml")
	if _, err := Open(Options{Name: "rules", File: file}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if err := os.WriteFile(file, []byte(broken), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(Options{Name: "rules", File: file})
	var faulty *Error
	if !errors.As(err, &faulty) || faulty.Faults[0].Line != 2 || faulty.Faults[0].Column != 13 {
		t.Errorf("a broken file: %v", err)
	}
}

func TestDelay(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "rules.yaml")
	slow := "rules:\n  - {match: exact, value: 你好, reply: late, delay: 7s}\n"
	if err := os.WriteFile(file, []byte(slow), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, file)
		start := time.Now()
		if got := b.reply(t); got != "late" || time.Since(start) != 7*time.Second {
			t.Errorf("got %q after %v, want it after 7s", got, time.Since(start))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		resp, err := b.Answer(ctx, &bots.Request{Message: said("你好")})
		if !errors.Is(err, context.DeadlineExceeded) || resp.Handled {
			t.Errorf("got %v, %v; want the deadline", resp, err)
		}
		start = time.Now()
		resp, err = b.Answer(t.Context(), &bots.Request{Message: said("你好"), Hurry: true})
		if err != nil || first(resp).GetText().GetContent() != "late" || time.Since(start) != 0 {
			t.Errorf("in a hurry: got %v, %v after %v; want it at once", resp, err, time.Since(start))
		}
	})
}

// TestApply is what becomes of the rules, the gauge and the log over one edit after the other.
func TestApply(t *testing.T) {
	t.Parallel()
	text := func(content string) watch.Reading { return watch.Reading{Data: []byte(content)} }
	type step struct {
		name  string
		found watch.Reading
		reply string
		fault string // part of it; empty: none
	}
	tests := []struct {
		name    string
		steps   []step
		reloads string
	}{
		{name: "changed", steps: []step{{"changed", text(rulesOf("new")), "new", ""}}, reloads: "ok"},
		{name: "emptied on purpose", steps: []step{{"emptied", text(""), "(none)", ""}}, reloads: "ok"},
		{
			name: "a broken file keeps the old rules",
			steps: []step{
				{"broken", text(broken), "old", "rules.yaml:2:13: "},
				{"mended", text(rulesOf("new")), "new", ""},
			},
			reloads: "broken ok",
		},
		{
			name: "a deleted file keeps the old rules",
			steps: []step{
				{"deleted", watch.Reading{Err: os.ErrNotExist}, "old", "file does not exist"},
				{"the same again", text(rulesOf("old")), "old", ""},
			},
			reloads: "unreadable ok",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, filepath.Join(t.TempDir(), "rules.yaml"))
			want := make(map[string]float64)
			for _, s := range tt.steps {
				b.apply(s.found)
				valid := 1.0
				if s.fault != "" {
					valid = 0
				}
				if got := b.reply(t); got != s.reply || b.valid() != valid {
					t.Errorf("%s: the reply is %q and valid %v, want %q and %v", s.name, got, b.valid(), s.reply, valid)
				}
				if got := b.Fault(); !strings.Contains(got, s.fault) || s.fault == "" && got != "" {
					t.Errorf("%s: the fault is %q, want %q", s.name, got, s.fault)
				}
			}
			for result := range strings.FieldsSeq(tt.reloads) {
				want[result]++
			}
			for _, result := range []string{resultOK, resultBroken, resultUnreadable} {
				if got := b.reloads(result); got != want[result] {
					t.Errorf("%v reloads were %s, want %v", got, result, want[result])
				}
			}
			if n := strings.Count(b.log.String(), "level=ERROR"); float64(n) != want[resultBroken]+want[resultUnreadable] {
				t.Errorf("%d errors were logged:\n%s", n, b.log)
			}
			if strings.Contains(tt.reloads, "broken") && !strings.Contains(b.log.String(), "line=2 column=13") {
				t.Errorf("the log does not say where the fault is:\n%s", b.log)
			}
		})
	}
}

// eventually waits for a real file system's signs.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); ; <-tick.C {
		if done() {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 20s", what)
		}
	}
}

// TestRun edits real files in the ways in which they are edited.
func TestRun(t *testing.T) {
	t.Parallel()
	rename := func(t *testing.T, from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	symlink := func(t *testing.T, target, link string) {
		t.Helper()
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
	}
	inDir := func(t *testing.T, dir, content string) {
		t.Helper()
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "rules.yaml"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name   string
		before func(t *testing.T, dir string)
		edit   func(t *testing.T, dir string)
	}{
		{
			name: "written in place",
			edit: func(t *testing.T, dir string) {
				t.Helper()
				if err := os.WriteFile(filepath.Join(dir, "rules.yaml"), []byte(rulesOf("new")), 0o600); err != nil {
					t.Fatal(err)
				}
			},
		},
		{
			name: "replaced by renaming",
			edit: func(t *testing.T, dir string) {
				t.Helper()
				swap := filepath.Join(dir, ".rules.yaml.swp")
				if err := os.WriteFile(swap, []byte(rulesOf("new")), 0o600); err != nil {
					t.Fatal(err)
				}
				rename(t, swap, filepath.Join(dir, "rules.yaml"))
			},
		},
		{
			name: "a volume of Kubernetes",
			before: func(t *testing.T, dir string) {
				t.Helper()
				inDir(t, filepath.Join(dir, "..1"), rulesOf("old"))
				symlink(t, "..1", filepath.Join(dir, "..data"))
				symlink(t, filepath.Join("..data", "rules.yaml"), filepath.Join(dir, "rules.yaml"))
			},
			edit: func(t *testing.T, dir string) {
				t.Helper()
				inDir(t, filepath.Join(dir, "..2"), rulesOf("new"))
				symlink(t, "..2", filepath.Join(dir, "..data_tmp"))
				rename(t, filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data"))
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if tt.before != nil {
				tt.before(t, dir)
			}
			b := newBench(t, filepath.Join(dir, "rules.yaml"))
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error)
			go func() { ended <- b.Run(ctx) }()
			if got := b.reply(t); got != "old" {
				t.Fatalf("before the edit the reply is %q", got)
			}
			tt.edit(t, dir)
			eventually(t, "the new rules", func() bool { return b.reply(t) == "new" })
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("Run ended with %v", err)
			}
		})
	}
}

// TestAnswersWhileReloading has many askers while the rules change: each answer is of one file, never of two or none.
func TestAnswersWhileReloading(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "rules.yaml")
	b := newBench(t, file)
	stop := make(chan struct{})
	var askers sync.WaitGroup
	for range 4 {
		askers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if got := b.reply(t); got != "old" && got != "new" {
					t.Errorf("got %q", got)
					return
				}
			}
		})
	}
	for i := range 200 {
		b.apply(watch.Reading{Data: []byte(rulesOf([]string{"new", "old"}[i%2]))})
	}
	close(stop)
	askers.Wait()
}

// first is the first answer; nil where there is none.
func first(r bots.Response) *messages.Answer {
	if len(r.Answers) == 0 {
		return nil
	}
	return r.Answers[0]
}

// A rule may say several things, one behind the other.
func TestSeveralReplies(t *testing.T) {
	t.Parallel()
	set, err := Parse("rules.yaml", []byte("rules:\n  - {match: exact, value: 三, reply: [一, 二, 三]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	reply, ok := set.Match(said("三"))
	if got := append([]string{reply.Text}, reply.More...); !ok || !slices.Equal(got, []string{"一", "二", "三"}) {
		t.Errorf("got %q", got)
	}
}
