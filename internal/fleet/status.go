package fleet

import (
	"fmt"
	"time"
)

// State is how a node is. The words are an interface: `hongyan dev status -o json` and the phone page show them.
type State string

// The states. A process exists in Running, Paused and Stopping.
const (
	Running  State = "running"  // the process was started; whether it is ready is the node's own to tell
	Paused   State = "paused"   // it exists and does nothing
	Stopping State = "stopping" // it was asked to end
	Stopped  State = "stopped"  // it ended as asked, or was never started
	Killed   State = "killed"   // it was killed as asked
	Exited   State = "exited"   // it ended by itself
)

func (s State) alive() bool { return s == Running || s == Paused || s == Stopping }

// Status is one node as it is now.
type Status struct {
	Name    string    `json:"name"`
	State   State     `json:"state"`
	Since   time.Time `json:"since"`          // when it entered the state
	PID     int       `json:"pid,omitempty"`  // of the process, where there is one
	Code    int       `json:"code"`           // exit code of the last process that ended; -1 where a signal ended it
	Exit    string    `json:"exit,omitempty"` // the same in words; empty where none ended yet
	LogFile string    `json:"log_file,omitempty"`
}

// child is a node with its process. The fleet's lock guards it.
type child struct {
	node    Node
	state   State
	since   time.Time
	process *process // the newest one, nil before the first
	asked   State    // Stopping or Killed where the end of the process is our doing
	code    int
	exit    string
}

func (c *child) enter(s State) { c.state, c.since = s, time.Now() }

func (c *child) refuse(verb string) error {
	hint := map[State]string{
		Paused: "resume or kill it first", Stopping: "wait until it has ended, or kill it",
		Stopped: "start it first", Killed: "start it first", Exited: "start it first",
	}[c.state]
	return fmt.Errorf("%w: cannot %s node %s, which is %s; %s", ErrState, verb, c.node.Name, c.state, hint)
}

func (c *child) status() Status {
	s := Status{Name: c.node.Name, State: c.state, Since: c.since, Code: c.code, Exit: c.exit, LogFile: c.node.LogFile}
	if c.state.alive() {
		s.PID = c.process.pid()
	}
	return s
}
