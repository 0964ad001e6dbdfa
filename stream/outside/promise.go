package outside

import (
	"fmt"
	"strings"
	"time"
)

// Durability is what the operator asks for (nats.durability).
type Durability string

// The durabilities of an accepted message.
const (
	Disk Durability = "disk" // it survives a power cut
	OS   Durability = "os"   // it survives a crash of the process
)

// Verdict is whether something holds.
type Verdict int

// The verdicts.
const (
	NotVerified Verdict = iota // it cannot be seen from here
	No
	Yes
)

// String is the verdict in words.
func (v Verdict) String() string {
	switch v {
	case Yes:
		return "yes"
	case No:
		return "no"
	default:
		return "not verified"
	}
}

// Promise is what an accepted message survives.
type Promise struct {
	ProcessCrash Verdict // kill -9 of any or all servers' processes
	LossOfOne    Verdict // one server and its disk gone for ever
	PowerOfOne   Verdict // power cut of one server while the others stay up
	PowerOfAll   Verdict // power cut of all servers at once
	// Asked is whether that is what nats.durability asks for: No is less than asked.
	Asked Verdict
	// Reason says in a sentence why Asked is not Yes, and what to do; empty where it is.
	Reason string
}

// Promised judges what the servers' facts make of the durability and the number of replicas that are asked for.
//
// An acknowledgement follows the write to the file (of one replica), or of a majority's write-ahead logs: process crashes lose
// nothing. Behind it the fsync is the servers' own affair: before the acknowledgement with sync_interval: always, else every two
// minutes by default.
func Promised(asked Durability, replicas int, f Facts) Promise {
	p := Promise{ProcessCrash: Yes, LossOfOne: No, PowerOfOne: NotVerified, PowerOfAll: NotVerified, Asked: Yes}
	switch {
	case f.Sync.Servers == 0:
	case !f.Sync.Always:
		p.PowerOfAll = No
	case f.Sync.Servers >= f.Peers:
		p.PowerOfAll = Yes
	}
	p.PowerOfOne = p.PowerOfAll
	if replicas > 1 {
		p.LossOfOne, p.PowerOfOne = Yes, Yes
	}
	if asked != Disk {
		return p
	}
	p.Asked = p.PowerOfAll
	switch {
	case p.Asked == No:
		p.Reason = fmt.Sprintf("nats.durability is disk, and the servers call fsync %s; set sync_interval: always in their "+
			"jetstream section, or nats.durability to os", every(f.Sync.Interval))
	case p.Asked == NotVerified && f.Sync.Servers == 0:
		p.Reason = "nats.durability is disk, and nobody can see whether the servers call fsync before they acknowledge; set " +
			"sync_interval: always in their jetstream section, and nats.monitor to their monitoring endpoints, so that it can be seen"
	case p.Asked == NotVerified:
		p.Reason = fmt.Sprintf("nats.durability is disk, and only %d of %d servers showed that they call fsync before they acknowledge; name "+
			"the others in nats.monitor, separated by commas", f.Sync.Servers, f.Peers)
	}
	return p
}

func every(d time.Duration) string {
	if d == 0 {
		return "some time after they acknowledge"
	}
	return "only every " + d.String()
}

// Less tells whether it is less than what was asked for, as far as anybody can see.
func (p Promise) Less() bool { return p.Asked == No }

// String is the promise in plain words, one line.
func (p Promise) String() string {
	return strings.Join([]string{
		"an accepted message survives: a crash of the server process: " + p.ProcessCrash.String(),
		"the loss of one server: " + p.LossOfOne.String(),
		"a power cut of one: " + p.PowerOfOne.String(),
		"a power cut of all: " + p.PowerOfAll.String(),
	}, "; ")
}
