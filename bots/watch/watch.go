// Package watch follows files that people edit while the engine runs: rules, block lists. A change is taken up once it has settled,
// whichever way the file was written.
package watch

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// settle is how long a file's content must stay the same before it counts. Editors that write in place leave it empty for a
	// moment, and an empty file means something.
	settle = 150 * time.Millisecond
	// pollEvery is how often the file is read without a sign from the system: network file systems and some container
	// mounts give none.
	pollEvery = 2 * time.Second
)

// Reading is what one look at a file found: its content, or why there is none.
type Reading struct {
	Data []byte
	Err  error
}

// Read reads the file, but never more than one byte above limit, which tells that it is too large.
func Read(path string, limit int) (r Reading) {
	f, err := os.Open(path)
	if err != nil {
		return Reading{Err: err}
	}
	defer func() { r.Err = errors.Join(r.Err, f.Close()) }()
	data, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	return Reading{Data: data, Err: err}
}

func (r Reading) equal(s Reading) bool {
	if r.Err != nil || s.Err != nil {
		return r.Err != nil && s.Err != nil && r.Err.Error() == s.Err.Error()
	}
	return bytes.Equal(r.Data, s.Data)
}

// File is one file to follow.
type File struct {
	Path   string
	Limit  int           // see Read
	Seen   Reading       // what the caller knows already; afterwards what was last given to Take
	Take   func(Reading) // gets each content that differs from the one before, once; called by Run alone
	Logger *slog.Logger  // with whatever names the file to people
}

// Run watches the file until ctx ends and gives its changes to Take; it then returns nil. It watches the directory, because
// editors replace files by renaming and Kubernetes by swapping a link beside them, and polls as well. Where the system cannot
// watch, it only polls. One Run at a time.
func (f *File) Run(ctx context.Context) error {
	watcher, err := fsnotify.NewWatcher()
	if err == nil {
		err = watcher.Add(filepath.Dir(f.Path))
		defer func() { _ = watcher.Close() }() // it only read; nothing is lost if closing fails
	}
	if err != nil {
		f.Logger.Warn("file is only polled, changes take longer", "file", f.Path, "every", pollEvery, "error", err)
	}
	if watcher == nil {
		return f.follow(ctx, nil, nil)
	}
	return f.follow(ctx, watcher.Events, watcher.Errors)
}

// follow is Run's loop. A look at the file that finds something new is followed by a second one after settle; what both
// found is taken. The channels may be nil.
func (f *File) follow(ctx context.Context, events <-chan fsnotify.Event, faults <-chan error) error {
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	again := time.NewTimer(pollEvery)
	again.Stop()
	defer again.Stop()

	var fresh *Reading // found by the last look, not yet twice
	look := func(settled bool) {
		now := Read(f.Path, f.Limit)
		switch {
		case now.equal(f.Seen):
			fresh = nil
		case settled && fresh != nil && now.equal(*fresh):
			f.Seen, fresh = now, nil
			f.Take(now)
		case fresh == nil || !now.equal(*fresh):
			fresh = &now
			again.Reset(settle)
		}
	}
	look(false) // the file may have changed since it was read
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-again.C:
			look(true)
		case <-poll.C:
			look(false)
		case event, ok := <-events:
			if !ok {
				events = nil
				continue
			}
			if concerns(event.Name, f.Path) {
				look(false)
			}
		case err, ok := <-faults:
			if !ok {
				faults = nil
				continue
			}
			if !errors.Is(err, fsnotify.ErrEventOverflow) { // an overflow only means: look
				f.Logger.Warn("watching a file", "file", f.Path, "error", err)
			}
			look(false)
		}
	}
}

// concerns tells whether a change of one name in the directory can change the file: it is the file itself, or one of the
// entries with two dots by which Kubernetes swaps a whole volume. Whatever else a link may lead through is left to the poll.
func concerns(name, path string) bool {
	base := filepath.Base(name)
	return base == filepath.Base(path) || strings.HasPrefix(base, "..")
}
