package e2e

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hongyan/internal/servers"
)

// kills is how often the kill test kills each engine; the long form has 20.
var kills = flag.Int("kills", 2, "kills of each engine in TestKill")

// long chooses the full sizes, times and targets of the tests of deliveries through WeChat's API and of those of bots.
var long = flag.Bool("long", false, "the long form of TestAPIOutage, TestBurst, TestErrorCodes, TestSlowModel and TestModel…")

// atOnce is how many of these tests run beside each other at least: they mostly wait for WeChat's five seconds.
const atOnce = 6

// workFolder holds the binary; it is removed at the end.
var workFolder string

func TestMain(m *testing.M) {
	flag.Parse()
	err := flag.Set("test.parallel", strconv.Itoa(max(atOnce, runtime.GOMAXPROCS(0))))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if workFolder, err = os.MkdirTemp("", "hongyan-e2e-"); err != nil {
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

// realProcess skips the test in short mode, and lets it run beside the others.
func realProcess(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("real processes are left out with -short")
	}
	t.Parallel()
}

// binary is the path of hongyan, built once per run from the tree that is tested.
var binary = sync.OnceValues(func() (string, error) { return servers.BuildEngine(filepath.Join("..", ".."), workFolder) })

func mustBinary(t *testing.T) string {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// seeded is this test's source of chance: HONGYAN_E2E_SEED, or a new seed, which is printed.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv("HONGYAN_E2E_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("HONGYAN_E2E_SEED: %v", err)
		}
	}
	t.Logf("HONGYAN_E2E_SEED=%d repeats this run's choices", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// Ports below the range from which systems take those of outgoing connections: such a port is still free when a killed engine
// starts again.
const (
	firstPort = 20_000
	lastPort  = 32_000
)

var ports = struct {
	sync.Mutex
	next int
}{next: firstPort + rand.IntN(lastPort-firstPort)} // keeps two runs on one machine apart

// freeAddress is a loopback address that nobody listens on and that no other test gets.
func freeAddress(t *testing.T) string {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	for range lastPort - firstPort {
		if ports.next++; ports.next >= lastPort {
			ports.next = firstPort
		}
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(ports.next))
		if l, err := net.Listen("tcp", address); err == nil {
			_ = l.Close()
			return address
		}
	}
	t.Fatal("no port is free on 127.0.0.1")
	return ""
}

// eventually polls until ok, and fails the test when it is not within the time.
func eventually(t *testing.T, within time.Duration, what string, ok func() bool) {
	t.Helper()
	if !poll(t.Context(), within, ok) {
		t.Fatalf("not within %v: %s", within, what)
	}
}

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

// pause waits, as chance decided, unless the test ends first.
func pause(t *testing.T, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}
