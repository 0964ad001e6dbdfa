// Package actors is proto.actor's actor side. A partition actor reads one partition of the log, hands every entry to the actor of
// its user, notes what is settled and writes the checkpoint. A user actor, its child, runs one turn at a time: bot, commit, offer.
//
// Both kinds keep their state to themselves and talk by messages (protocol.go). A partition's actor lives as long as the lease
// that the cluster holds for it; a user's actor as long as the user is busy, and a while longer.
package actors
