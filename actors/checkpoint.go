package actors

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/fxamacker/cbor/v2"

	"hongyan/stream"
)

// checkpoint is the truth about what of a partition is settled: one record in the store, beside the users that it covers, and
// written after them (DESIGN §3 "Reading the log").
type checkpoint struct { //nolint:recvcheck // a value, which only its two mutators take by pointer
	Schema     uint8  `cbor:"1,keyasint"`
	Mark       string `cbor:"2,keyasint"`            // the owner that wrote it
	Generation uint64 `cbor:"3,keyasint"`            // counts the logs that were put in this one's place
	Floor      uint64 `cbor:"4,keyasint"`            // everything up to here is settled
	FloorNS    int64  `cbor:"5,keyasint,omitempty"`  // log time of the floor, or of the one before the generation; Unix nanoseconds
	Above      []byte `cbor:"6,keyasint,omitempty"`  // settled above the floor: ascending distances as uvarints
	Newest     uint64 `cbor:"7,keyasint,omitempty"`  // newest entry seen
	NewestNS   int64  `cbor:"8,keyasint,omitempty"`  // its log time
	Clean      bool   `cbor:"9,keyasint,omitempty"`  // written by an orderly release
	Crashes    uint32 `cbor:"10,keyasint,omitempty"` // unplanned takeovers since the floor last passed CrashEnd
	CrashEnd   uint64 `cbor:"11,keyasint,omitempty"` // end of the log at the last of them
	Named      uint64 `cbor:"12,keyasint,omitempty"` // first entry of the batch that is being handed over with care
	NamedLast  uint64 `cbor:"13,keyasint,omitempty"` // its last entry
	NamedCount uint32 `cbor:"14,keyasint,omitempty"` // how often an owner died over this batch of one
	NamedBy    string `cbor:"15,keyasint,omitempty"` // the owner that handed it over

	// Entries behind which the log may have lost something, and that were not looked at again when this was written, oldest first. What
	// was read since may stand in place of entries that nobody has read (DESIGN §3 rule 4).
	Gaps []gap `cbor:"16,keyasint,omitempty"`

	Due uint32 `cbor:"17,keyasint,omitempty"` // which shards of the due index exist, one bit each (DESIGN §3 rule 18)
}

// gap is the entry before one.
type gap struct {
	_        struct{} `cbor:",toarray"`
	Sequence uint64
	NS       int64 // its log time
}

const checkpointSchema = 1

// pack notes the ledger's view.
func (c checkpoint) pack(l *ledger) checkpoint {
	c.Floor, c.FloorNS = l.floor.Sequence, nanos(l.floor.LogTime)
	c.Newest, c.NewestNS = l.newest.Sequence, nanos(l.newest.LogTime)
	c.Above = nil
	last := c.Floor
	for _, seq := range l.settledAbove() {
		c.Above = binary.AppendUvarint(c.Above, seq-last)
		last = seq
	}
	return c
}

// marks are the entries that must be in the log, if it is the same one: the newest, and those before open gaps.
func (c checkpoint) marks() []stream.Mark {
	var out []stream.Mark
	if c.Newest > 0 {
		out = append(out, c.newest())
	}
	for _, g := range c.Gaps {
		out = append(out, stream.Mark{Sequence: g.Sequence, LogTime: instant(g.NS)})
	}
	return out
}

// ledger is the view of the owner that starts from this checkpoint.
func (c checkpoint) ledger() (*ledger, error) {
	l := &ledger{
		floor:  stream.Mark{Sequence: c.Floor, LogTime: instant(c.FloorNS)},
		newest: c.newest(),
	}
	seq := c.Floor
	for rest := c.Above; len(rest) > 0; {
		d, n := binary.Uvarint(rest)
		if n <= 0 {
			return nil, errors.New("the checkpoint's list of settled entries is broken")
		}
		seq += d
		l.done = append(l.done, seq)
		rest = rest[n:]
	}
	return l, nil
}

func (c checkpoint) newest() stream.Mark {
	return stream.Mark{Sequence: c.Newest, LogTime: instant(c.NewestNS)}
}

func (c checkpoint) encode() ([]byte, error) {
	c.Schema = checkpointSchema
	b, err := cbor.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode a checkpoint: %w", err)
	}
	return b, nil
}

func decodeCheckpoint(b []byte) (checkpoint, error) {
	var c checkpoint
	if err := cbor.Unmarshal(b, &c); err != nil {
		return checkpoint{}, fmt.Errorf("decode a checkpoint of %d bytes: %w", len(b), err)
	}
	if c.Schema == 0 {
		return checkpoint{}, fmt.Errorf("decode a checkpoint of %d bytes: it has no schema", len(b))
	}
	return c, nil
}

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func instant(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}
