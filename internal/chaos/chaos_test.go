package chaos

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// shortRate is the load of the short form: rigs run beside each other and beside other tests, with the race detector in the
// platform and the checker.
const shortRate = 40

// TestChaos makes one injection of every fault. The faults of one rig come one after the other under one load, and the checker judges
// it as a whole.
func TestChaos(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes are left out with -short")
	}
	if *long {
		t.Skip("the long form is TestLong")
	}
	// Two rigs beside each other at most: on two cores a third one would slow down the platform itself.
	t.Run("one NATS server", func(t *testing.T) {
		t.Parallel()
		shortRun(t, 1)
	})
	t.Run("other servers", func(t *testing.T) {
		t.Parallel()
		t.Run("three NATS servers", func(t *testing.T) { shortRun(t, 3) })
		t.Run("small disk", func(t *testing.T) { shortRun(t, diskFull) })
	})
}

// shortRun makes one injection of every fault of a rig.
func shortRun(t *testing.T, nats int) {
	list := chosen(nats)
	if len(list) == 0 {
		t.Skipf("-faults %s chooses none of this rig's", *only)
	}
	r := openRig(t, t.TempDir(), nats, t.Logf)
	began := time.Now()
	rows, verdict, err := r.run(t.Context(), list, func(fault) int { return 1 }, shortRate)
	if err != nil {
		t.Error(err)
	}
	for _, done := range rows {
		t.Logf("%s: %v %s", done.Fault, rounded(done.Times), strings.Join(done.Notes, "; "))
		for _, breach := range done.Breaches {
			t.Errorf("%s: %s", done.Fault, breach)
		}
	}
	if verdict == nil {
		return
	}
	t.Logf("%d faults in %v: %v", len(rows), time.Since(began).Round(time.Second), verdict)
	for k, violation := range verdict.Violations {
		if k == 20 {
			t.Errorf("… and %d more", len(verdict.Violations)-k)
			break
		}
		t.Error(violation)
	}
	if verdict.Accepted < 100 {
		t.Errorf("%d messages were accepted: this run shows too little", verdict.Accepted)
	}
	if verdict.Late > verdict.Accepted/100 {
		t.Errorf("%d of %d messages could not be judged, because this machine was too busy for the platform itself", verdict.Late, verdict.Accepted)
	}
}

// chosen are the faults of a rig.
func chosen(nats int) (list []fault) {
	for _, f := range faults() {
		if f.nats == nats && strings.Contains(f.name, *only) {
			list = append(list, f)
		}
	}
	return list
}

// openRig starts a rig that lives as long as the test. Its files are kept where the test fails.
func openRig(t *testing.T, dir string, nats int, say func(string, ...any)) *rig {
	t.Helper()
	chance, seed := seeded(t)
	o := rigOptions{dir: dir, nats: max(nats, 1), chance: chance, say: say}
	if nats == diskFull {
		var err error
		if o.store, err = smallDisk(t, dir); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if !t.Failed() || strings.HasPrefix(dir, buildFolder()) { // the latter is kept as it is
			return
		}
		kept := filepath.Join(buildFolder(), "failed-"+strconv.FormatUint(seed, 36))
		if err := keepFiles(kept, dir); err != nil {
			t.Errorf("keep the files: %v", err)
		}
		t.Logf("the files of this run are in %s", kept)
	})
	r, err := newRig(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// seeded is this test's source of chance: HONGYAN_CHAOS_SEED, or a new seed, which is printed.
func seeded(t *testing.T) (*rand.Rand, uint64) {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv("HONGYAN_CHAOS_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("HONGYAN_CHAOS_SEED: %v", err)
		}
	}
	t.Logf("HONGYAN_CHAOS_SEED=%d repeats this run's choices", seed)
	return rand.New(rand.NewPCG(seed, 0)), seed
}

// keepFiles copies what a run left behind: the nodes' output and configuration, the platform's log, Redis' history, the log.
func keepFiles(to, from string) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		return fmt.Errorf("copy %s to %s: %w", from, to, err)
	}
	return nil
}
