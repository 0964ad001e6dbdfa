// Package servers runs the servers that tests need, as real processes on loopback ports: Redis, NATS, and a TCP proxy between
// a client and a server that can be cut. Only tests import it.
//
// A server's Start returns when it answers. Nothing outlives the test process: the kernel kills what Stop and Kill did not.
// A program that is missing is an error that says how to get it, never a skip.
package servers
