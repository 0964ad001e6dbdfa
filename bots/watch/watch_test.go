package watch

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const limit = 64 // bytes

// bench is a file that holds "old", and what was taken of it: contents, or "-" for a file that cannot be read.
type bench struct {
	File
	mu    sync.Mutex
	taken []string
}

func newBench(t *testing.T, path string) *bench {
	t.Helper()
	b := &bench{}
	if _, err := os.Lstat(path); err != nil {
		write(t, path, "old")
	}
	b.File = File{Path: path, Limit: limit, Seen: Read(path, limit), Logger: slog.New(slog.DiscardHandler), Take: func(r Reading) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if r.Err != nil {
			b.taken = append(b.taken, "-")
			return
		}
		b.taken = append(b.taken, string(r.Data))
	}}
	return b
}

func (b *bench) all() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.taken, "|")
}

// write sets the file; "-" removes it.
func write(t *testing.T, path, content string) {
	t.Helper()
	if content == "-" {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		return
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "words")
	if r := Read(path, limit); !errors.Is(r.Err, fs.ErrNotExist) || !r.equal(Read(path, limit)) || r.equal(Reading{}) {
		t.Errorf("a missing file: %+v", r)
	}
	write(t, path, strings.Repeat("x", limit+9))
	if r := Read(path, limit); r.Err != nil || len(r.Data) != limit+1 {
		t.Errorf("a file that is too large: %+v", r)
	}
}

// TestFollow drives the loop with virtual time: what an edit looks like from one look at the file to the next.
func TestFollow(t *testing.T) {
	t.Parallel()
	// Each step sets the file, then time passes; what was taken since the beginning is compared.
	type step struct {
		name    string
		content string
		sign    bool // the system gives a sign; otherwise only the poll finds out
		wait    time.Duration
		taken   string
	}
	for name, steps := range map[string][]step{
		"a sign is enough": {
			{"too early", "new", true, settle / 2, ""},
			{"settled", "new", false, settle, "new"},
		},
		"the poll finds what gives no sign": {
			{"not yet", "new", false, pollEvery - settle, ""},
			{"polled and settled", "new", false, 3 * settle, "new"},
		},
		"an editor that empties the file first": {
			{"emptied", "", true, settle / 2, ""},
			{"written", "new", true, settle / 2, ""},
			{"still the same", "new", false, settle, "new"},
		},
		"emptied on purpose": {
			{"emptied", "", true, 2 * settle, ""},
			{"and written", "new", true, 2 * settle, "|new"},
		},
		"each content once": {
			{"changed", "new", true, 2 * settle, "new"},
			{"much later", "new", true, time.Minute, "new"},
			{"changed again", "newer", true, 2 * settle, "new|newer"},
		},
		"a deleted file": {
			{"deleted", "-", true, 2 * settle, "-"},
			{"much later", "-", true, time.Minute, "-"},
			{"the same again", "old", true, 2 * settle, "-|old"},
		},
		"two signs of one change": {
			{"a sign", "new", true, settle / 2, ""},
			{"another, too early", "new", true, settle / 4, ""},
			{"settled", "new", false, settle / 2, "new"},
		},
		"changed, changed back and changed again": {
			{"changed", "new", true, settle / 4, ""},
			{"changed back", "old", true, 2 * settle, ""},
			{"changed again", "new", true, 2 * settle, "new"},
		},
		"touched, or changed and changed back": {
			{"touched", "old", true, time.Minute, ""},
			{"changed", "new", true, settle / 2, ""},
			{"changed back", "old", false, time.Minute, ""},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "words")
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, path)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				signs := make(chan fsnotify.Event)
				ended := make(chan error)
				go func() { ended <- b.follow(ctx, signs, nil) }()
				synctest.Wait()
				for _, s := range steps {
					write(t, path, s.content)
					if s.sign {
						signs <- fsnotify.Event{Name: path, Op: fsnotify.Write}
					}
					time.Sleep(s.wait)
					synctest.Wait()
					if got := b.all(); got != s.taken {
						t.Errorf("%s: %q was taken, want %q", s.name, got, s.taken)
					}
				}
				cancel()
				if err := <-ended; err != nil {
					t.Errorf("the loop ended with %v", err)
				}
			})
		})
	}
}

// TestFollowSurvives shows that the loop goes on polling when the watcher ends, and looks when the watcher lost events.
func TestFollowSurvives(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "words")
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, path)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		signs, faults, ended := make(chan fsnotify.Event), make(chan error), make(chan error)
		go func() { ended <- b.follow(ctx, signs, faults) }()
		synctest.Wait()

		write(t, path, "new")
		signs <- fsnotify.Event{Name: filepath.Join(filepath.Dir(path), "another"), Op: fsnotify.Write}
		time.Sleep(2 * settle)
		if got := b.all(); got != "" {
			t.Errorf("after another file's sign %q was taken", got)
		}
		faults <- fsnotify.ErrEventOverflow
		time.Sleep(2 * settle)
		if got := b.all(); got != "new" {
			t.Errorf("after an overflow %q was taken", got)
		}

		close(signs)
		close(faults)
		write(t, path, "newer")
		time.Sleep(pollEvery + 2*settle)
		if got := b.all(); got != "new|newer" {
			t.Errorf("without a watcher %q was taken", got)
		}
		cancel()
		<-ended
	})
}
