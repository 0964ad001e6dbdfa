package chaos

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// diskFull in fault.nats is one server, with its store on a small file system of its own.
const diskFull = -1

// diskSize is small enough to be filled at once, and large enough for what a leg writes.
const diskSize = "96m"

// fillDisk takes all the space that is left under the log, and gives it back. JetStream may need a restart then, which an operator
// would make; the log may not tell `success` for what it does not have, and readiness has to say so.
func fillDisk(ctx context.Context, r *rig) (i injury, err error) {
	path := filepath.Join(r.dir, "disk", "balloon")
	since := r.log.mark()
	if err := inflate(path); err != nil {
		return i, err
	}
	red := func() bool { return !r.ingresses[0].ready() || !r.ingresses[1].ready() }
	if !poll(ctx, resumeLimit, red) {
		i.breach("/readyz stayed green for %v on a full disk", resumeLimit)
	}
	i.times = append(i.times, time.Since(since.at))
	pause(ctx, 4*time.Second) // of refusals
	if err := os.Remove(path); err != nil {
		return i, err
	}
	freed := r.log.mark()
	ready := func() bool { return r.ingresses[0].ready() && r.ingresses[1].ready() }
	if poll(ctx, 5*time.Second, ready) {
		i.note("accepts again by itself")
	} else {
		i.note("nats-server was restarted, 5 s after there was space again")
		if err := errors.Join(r.servers[0].Stop(), r.servers[0].Restart(ctx)); err != nil {
			return i, err
		}
	}
	recovered := r.awaitResume(ctx, freed, r.hosts(), &i)
	i.note("answers %v after there was space again", recovered.Round(time.Millisecond))
	r.outage(since)
	return i, r.awaitWhole(ctx)
}

// inflate writes a file until the disk is full.
func inflate(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	block := make([]byte, 256<<10)
	for size := len(block); size > 0; {
		_, err := f.Write(block[:size])
		switch {
		case errors.Is(err, syscall.ENOSPC):
			size /= 2
		case err != nil:
			return err
		}
	}
	return nil
}
