package memory_test

import (
	"context"
	"sync/atomic"
	"testing"

	"hongyan/state"
	"hongyan/state/conformance"
	"hongyan/state/memory"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	conformance.Run(t, func(*testing.T) state.Store { return memory.New(memory.Options{}) })
}

func TestConformanceFaults(t *testing.T) {
	t.Parallel()
	faults := map[conformance.Fault]memory.Fault{
		conformance.Unreached:   memory.Unreached,
		conformance.LostRequest: memory.LostRequest,
		conformance.LostAnswer:  memory.LostAnswer,
	}
	conformance.RunFaults(t, func(*testing.T) (state.Store, func(conformance.Fault)) {
		var next atomic.Uint32
		store := memory.New(memory.Options{Before: func(_ context.Context, call memory.Call) memory.Fault {
			if call.Op == memory.Load {
				return memory.None
			}
			return memory.Fault(next.Swap(uint32(memory.None)))
		}})
		return store, func(f conformance.Fault) { next.Store(uint32(faults[f])) }
	})
}
