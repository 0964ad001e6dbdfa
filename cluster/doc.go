// Package cluster is proto.actor's cluster side: which processes are alive (membership over NATS), who owns which partition
// (one lease per partition, changed only by compare-and-set), where a partition should be (rendezvous hashing), and how a
// request finds the actor of a user (DESIGN §3, "Ownership", rules 3 and 20).
//
// Nothing here is needed for correctness: a lease says who should work, the epoch that is compared at every write says who
// may. So every judgement in this package may be wrong for a moment; it then costs time, never a message.
//
// Who runs what: Node.Run starts and outlives one goroutine for the membership (the only one that judges other members), one
// that follows the leases, one that tells proto.actor the member list, and one keeper per partition. A keeper is a straight
// line: wait until the partition is wanted here, take its lease, start its actor, hold, release.
package cluster
