package groupsync

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// Both ways work on a real folder that changes under them.
func TestSyncersOnAChangingFolder(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(string) (syncer, error){"native": openSyncer, "walk": openWalk} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			disk, err := open(dir)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			// Ends with cancel below.
			wg.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					path := filepath.Join(dir, fmt.Sprint("folder", n%2))
					file := filepath.Join(path, fmt.Sprint("file", n%3))
					for _, err := range []error{
						os.MkdirAll(path, 0o700), os.WriteFile(file+".new", []byte(name), 0o600), os.Rename(file+".new", file),
					} {
						if err != nil {
							t.Error(err)
						}
					}
					if n%20 == 19 {
						_ = os.RemoveAll(path)
					}
				}
			})
			for range 5 {
				if err := disk.Sync(); err != nil {
					t.Error(err)
				}
			}
			cancel()
			wg.Wait()
			if err := disk.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// The walk syncs what changed, once it had the time to settle only that, and forgets what is gone.
func TestWalkRemembers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	old := time.Now().Add(-time.Hour)
	file := filepath.Join(dir, "block")
	write := func(text string, at time.Time) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, at, at); err != nil {
			t.Fatal(err)
		}
	}
	disk, err := openWalk(dir)
	if err != nil {
		t.Fatal(err)
	}
	w := disk.(*walk)
	unchanged := func() bool {
		t.Helper()
		info, err := os.Lstat(file)
		if err != nil {
			t.Fatal(err)
		}
		return w.unchanged(file, info)
	}
	write("one", old)
	if unchanged() {
		t.Error("a file that was never synced counts as unchanged")
	}
	if err := w.Sync(); err != nil || !unchanged() {
		t.Errorf("after a sync: %v, unchanged %v", err, unchanged())
	}
	write("more", old)
	if unchanged() {
		t.Error("a longer file counts as unchanged")
	}
	write("two", old.Add(time.Minute))
	if unchanged() {
		t.Error("a file with another time counts as unchanged")
	}
	write("now", time.Now())
	if err := w.Sync(); err != nil || unchanged() {
		t.Errorf("a file written a moment ago may change again within its time stamp: %v, unchanged %v", err, unchanged())
	}
	// A file put in its place, alike in size and time, is another file.
	write("two", old)
	if err := w.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file, file+".old"); err != nil {
		t.Fatal(err)
	}
	write("too", old)
	if unchanged() {
		t.Error("another file under the same name counts as unchanged")
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := w.Sync(); err != nil {
		t.Fatal(err)
	}
	if _, known := w.seen[file]; known {
		t.Error("a file that is gone is still remembered")
	}
}

// BenchmarkSync measures callers that write a little and sync, on the disk that holds the test's folder.
func BenchmarkSync(b *testing.B) {
	for _, callers := range []int{1, 64, 500} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			dir := b.TempDir()
			barrier, err := New(dir, Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer barrier.Close()
			log, err := os.Create(filepath.Join(dir, "log"))
			if err != nil {
				b.Fatal(err)
			}
			defer log.Close()
			line := make([]byte, 1024)
			var wg sync.WaitGroup
			b.ResetTimer()
			for c := range callers {
				turns := b.N / callers
				if c < b.N%callers {
					turns++
				}
				wg.Go(func() {
					for range turns {
						if _, err := log.Write(line); err != nil {
							b.Error(err)
							return
						}
						if err := barrier.Sync(context.Background()); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "syncs/s")
		})
	}
}
