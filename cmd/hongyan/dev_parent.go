package main

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"hongyan/internal/fleet"
)

// orphanWithin is how long a worker may take to end in order after dev has gone without a word, and the NATS server with it.
const orphanWithin = 10 * time.Second

// withParent is ctx for a node that was started by another process: it ends when stdin does, which is when that process is gone. A
// node that does not end then, with nobody left to watch it, ends the hard way.
func withParent(ctx context.Context, stdin io.Reader) context.Context {
	ctx = fleet.Orphaned(ctx, stdin)
	context.AfterFunc(ctx, func() {
		if errors.Is(context.Cause(ctx), fleet.ErrOrphaned) {
			time.AfterFunc(orphanWithin, func() { os.Exit(exitError) })
		}
	})
	return ctx
}
