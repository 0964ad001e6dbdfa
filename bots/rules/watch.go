package rules

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// settle is how long a file's content must stay the same before it counts. Editors that write in place leave it empty for a
	// moment, and an empty file means no rules.
	settle = 150 * time.Millisecond
	// pollEvery is how often the file is read without a sign from the system: network file systems and some container
	// mounts give none.
	pollEvery = 2 * time.Second
)

// Run watches the rules file until ctx ends and takes up its changes; it then returns nil. It watches the directory, because
// editors replace files by renaming and Kubernetes by swapping a link beside them, and polls as well. Where the system cannot
// watch, it only polls. One Run at a time.
func (b *Bot) Run(ctx context.Context) error {
	watcher, err := fsnotify.NewWatcher()
	if err == nil {
		err = watcher.Add(filepath.Dir(b.path))
		defer func() { _ = watcher.Close() }() // it only read; nothing is lost if closing fails
	}
	if err != nil {
		b.log.Warn("rules file is only polled, changes take longer", "bot", b.name, "file", b.path,
			"every", pollEvery, "error", err)
	}
	if watcher == nil {
		return b.follow(ctx, nil, nil)
	}
	return b.follow(ctx, watcher.Events, watcher.Errors)
}

// follow is Run's loop. A look at the file that finds something new is followed by a second one after settle; what both
// found is applied. The channels may be nil.
func (b *Bot) follow(ctx context.Context, events <-chan fsnotify.Event, faults <-chan error) error {
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	again := time.NewTimer(pollEvery)
	again.Stop()
	defer again.Stop()

	var fresh *reading // found by the last look, not yet twice
	look := func(settled bool) {
		now := read(b.path)
		switch {
		case now.equal(b.seen):
			fresh = nil
		case settled && fresh != nil && now.equal(*fresh):
			b.apply(now)
			fresh = nil
		case fresh == nil || !now.equal(*fresh):
			fresh = &now
			again.Reset(settle)
		}
	}
	look(false) // the file may have changed since Open
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
			if concerns(event.Name, b.path) {
				look(false)
			}
		case err, ok := <-faults:
			if !ok {
				faults = nil
				continue
			}
			if !errors.Is(err, fsnotify.ErrEventOverflow) { // an overflow only means: look
				b.log.Warn("watching the rules file", "bot", b.name, "file", b.path, "error", err)
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
