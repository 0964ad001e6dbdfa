// Package conversation is the pure core: what a user's record holds and how one message changes it. It does no I/O, reads no
// clock and starts no goroutine: (state, input, now) → (state', effects).
package conversation
