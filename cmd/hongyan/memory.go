package main

import (
	"os"
	"runtime/debug"
)

// gcPercent lets the heap grow to three times of what lives before it is collected. Most of what a node allocates dies with its
// message, and a collection costs the same however much is dead: at the default of 100 it took a tenth of the processor
// (docs/decisions/0008-performance.md). GOGC and GOMEMLIMIT overrule it as usual.
const gcPercent = 200

// tuneMemory applies gcPercent unless the environment says otherwise.
func tuneMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}
