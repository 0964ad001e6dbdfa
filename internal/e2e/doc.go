// Package e2e tests the real binary from outside: real processes on loopback ports and folders of their own, killed, stopped,
// filled up and lied to, while a simulated WeChat in the test's process (package simulator) lives on and delivers again.
//
// What must be true is decided by internal/checker, which believes nobody: it compares the platform's own witness log,
// what `hongyan user show` tells, and the entries of the log as they stand on the disk.
//
//	go test ./internal/e2e                            everything, with two kills per durability
//	go test ./internal/e2e -run TestKill -kills 20    the long form of the kill test
//	go test ./internal/e2e -run TestSlowModel -long   the long form of the tests of bots (TestSlowModel, TestModel…)
//	HONGYAN_E2E_SEED=7 go test ./internal/e2e …       repeats the instants of a run; each run prints its seed
package e2e
