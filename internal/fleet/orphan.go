package fleet

import (
	"context"
	"errors"
	"io"
)

// ErrOrphaned is the cause of a context that Orphaned ended.
var ErrOrphaned = errors.New("the process that started this one has ended")

// Orphaned is for the child: a context that ends with ctx, and with cause ErrOrphaned as soon as stdin ends, which is when the parent
// is gone, however it went. What is read is dropped.
func Orphaned(ctx context.Context, stdin io.Reader) context.Context {
	ctx, cancel := context.WithCancelCause(ctx)
	// Ends when stdin does, or with the process: a read of a pipe cannot be called off.
	go func() {
		_, _ = io.Copy(io.Discard, stdin) // an error means the same as the end
		cancel(ErrOrphaned)
	}()
	return ctx
}
