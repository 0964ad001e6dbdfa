package chaos

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hongyan/internal/servers"
)

var (
	long       = flag.Bool("long", false, "the long form: several injections of each fault, resumable, with a table")
	injections = flag.Int("injections", 6, "injections of each fault in the long form")
	rate       = flag.Int("rate", 110, "messages a second in the long form")
	fresh      = flag.Bool("fresh", false, "long form: begin anew, whatever an interrupted run has done")
	only       = flag.String("faults", "", "only faults whose name contains this text")
	keep       = flag.Bool("keep", false, "keep the files of runs without a violation, too")
)

// workFolder holds the binary; it is removed at the end.
var workFolder string

func TestMain(m *testing.M) {
	flag.Parse()
	if !testing.Short() {
		becomeRoot()
	}
	var err error
	if workFolder, err = os.MkdirTemp("", "hongyan-chaos-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	_ = os.RemoveAll(workFolder)
	os.Exit(code)
}

// root is the module's folder.
var root = filepath.Join("..", "..")

// buildFolder is where everything stays that a run leaves behind.
func buildFolder() string {
	path, err := filepath.Abs(filepath.Join(root, ".build", "chaos"))
	if err != nil {
		return filepath.Join(root, ".build", "chaos")
	}
	return path
}

// engine is the path of hongyan: HONGYAN_CHAOS_BINARY, or built once per run from the tree that is tested.
var engine = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("HONGYAN_CHAOS_BINARY"); path != "" {
		return filepath.Abs(path)
	}
	return servers.BuildEngine(root, workFolder)
})

// poll returns true as soon as ok says so; false after the time, or when ctx ends.
func poll(ctx context.Context, within time.Duration, ok func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok() {
			return true
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ok()
		}
	}
}

// pause waits, unless ctx ends first: for how long a fault lasts, or as chance decided.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
