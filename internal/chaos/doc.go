// Package chaos tests many nodes from outside: three workers and two ingresses, each a real process of the real binary, with a real NATS
// (one server, or three with three replicas) and a real Redis, and every connection between them through a proxy that can be cut.
// Processes are killed, stopped, replaced and cut off under load.
//
// Nothing of the engine is believed. What was pushed and received says the simulated WeChat (package simulator), which lives in the
// test's process. What was accepted says the log, read message by message by JetStream's own API. What was written, by whom
// and in which order says Redis' append-only file, which has every change of every record: so a write of a stale owner,
// a second commit of a message, or one out of order cannot hide between two looks at the store. internal/checker compares.
//
//	go test ./internal/chaos      one injection of every fault, in a few minutes
//	make chaos                    the long form: more of each; goes on where it was interrupted; prints a table
//	make chaos FAULTS=redis       only the faults whose name contains a word
//
// The engine is built without the race detector, as users run it.
package chaos
