package messages

import "time"

// Stage is a station on a message's way, in the order of DESIGN §2.
type Stage string

// The stations.
const (
	StageVerified  Stage = "verified"  // signature, decryption and decoding passed
	StageRefused   Stage = "refused"   // not genuine, or the log could not accept it
	StageAccepted  Stage = "accepted"  // the log has it
	StageJoined    Stage = "joined"    // a repeated delivery met the queued, running or committed turn
	StageTurn      Stage = "turn"      // the bot began
	StageBot       Stage = "bot"       // the bot had its word: which links were asked, and what came of each
	StageCommitted Stage = "committed" // the state has the turn
	StageOffered   Stage = "offered"   // an ingress gave its verdict about the answer
	StagePush      Stage = "push"      // the answer leaves through WeChat's API
	StageKept      Stage = "kept"      // the answer waits for the user's next message
	StageDead      Stage = "dead"      // it became a dead letter
	StageSettled   Stage = "settled"   // the partition is done with the entry
)

// TraceEvent is one station of one message, for people who watch (the phone page). It is never needed for correctness.
type TraceEvent struct {
	At        time.Time     `json:"at"`
	Stage     Stage         `json:"stage"`
	Account   string        `json:"account"`
	OpenID    string        `json:"openid"`
	MsgID     string        `json:"msg_id,omitempty"`
	Key       string        `json:"key"`                  // hex dedupe key
	Slot      uint64        `json:"slot,omitempty"`       // the delivery's slot, where there is one
	Partition int           `json:"partition"`            // -1 where not known yet
	Sequence  uint64        `json:"sequence,omitempty"`   // position in the log
	Version   uint64        `json:"version,omitempty"`    // version of the user's record
	Delivery  int           `json:"delivery,omitempty"`   // how many deliveries of this message the actor has seen
	Elapsed   time.Duration `json:"elapsed_ns,omitempty"` // since the stage before on the same process, where measured
	Detail    string        `json:"detail,omitempty"`
}

// TraceFunc receives trace events. It must not block. A nil TraceFunc means that nobody watches; callers check for nil before
// they build an event.
type TraceFunc func(TraceEvent)
