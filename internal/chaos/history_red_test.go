package chaos

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"hongyan/conversation"
	"hongyan/messages"
)

// book writes an append-only file as Redis does.
type book struct {
	t     *testing.T
	dir   string
	bytes bytes.Buffer
}

func newBook(t *testing.T) *book {
	t.Helper()
	b := &book{t: t, dir: t.TempDir()}
	if err := os.Mkdir(filepath.Join(b.dir, "appendonlydir"), 0o700); err != nil {
		t.Fatal(err)
	}
	b.command("SELECT", "0")
	return b
}

func (b *book) command(words ...string) {
	fmt.Fprintf(&b.bytes, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(&b.bytes, "$%d\r\n%s\r\n", len(w), w)
	}
}

func (b *book) save() string {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.dir, "appendonlydir", "appendonly.aof.1.incr.aof"), b.bytes.Bytes(), 0o600); err != nil {
		b.t.Fatal(err)
	}
	return b.dir
}

const (
	fenceKey = "chaos:{p03}:checkpoint"
	userKey  = "chaos:{p03}:user:demo:oSomebody"
)

func record(h header, value []byte) string {
	buf := []byte{1, 0}
	if h.deleted {
		buf[1] = 1
	}
	for _, word := range []uint64{h.incarnation, h.number, h.epoch, h.writeID} {
		buf = binary.BigEndian.AppendUint64(buf, word)
	}
	return string(append(buf, value...))
}

// fence is a checkpoint.
func (b *book) fence(number, epoch, floor uint64) {
	b.t.Helper()
	value, err := cbor.Marshal(map[int]uint64{1: 1, 4: floor})
	if err != nil {
		b.t.Fatal(err)
	}
	b.command("SET", fenceKey, record(header{incarnation: 7, number: number, epoch: epoch, writeID: number}, value))
}

// write is a user's record: so many turns, the last of them applied at a position, and keys with an outcome.
type write struct {
	header
	turns   uint64
	applied uint64
	keys    map[byte]messages.Outcome
}

func (b *book) user(w write) {
	b.t.Helper()
	s := conversation.State{Applied: messages.Position{Sequence: w.applied}, Counts: conversation.Counts{Turns: w.turns}}
	s.Turns = []conversation.Turn{
		{Role: conversation.RoleUser, Text: fmt.Sprint("turn ", w.turns)}, {Role: conversation.RoleBot, Text: fmt.Sprint("answer ", w.turns)},
	}
	for k := range byte(10) {
		if outcome, ok := w.keys[k]; ok {
			s.Keys = append(s.Keys, make([]byte, messages.KeySize+5)...)
			s.Keys[len(s.Keys)-messages.KeySize-5] = k
			s.Keys[len(s.Keys)-1] = byte(outcome)
		}
	}
	value, err := s.Encode()
	if err != nil {
		b.t.Fatal(err)
	}
	b.command("SET", userKey, record(w.header, value))
}

// tale is a history that is right: two owners, three turns, one record deleted and made anew.
func tale(b *book) []func() {
	answered := messages.Outcome_OUTCOME_ANSWERED
	first := map[byte]messages.Outcome{1: answered}
	second := map[byte]messages.Outcome{1: answered, 2: answered}
	third := map[byte]messages.Outcome{1: answered, 2: answered, 3: answered}
	return []func(){
		func() { b.fence(1, 0, 0) },
		func() { b.fence(2, 1, 0) },
		func() { b.command("SET", "chaos:{p03}:probe:worker-1", "x") },
		func() { b.user(write{header{incarnation: 9, number: 1, epoch: 1, writeID: 1}, 1, 10, first}) },
		func() { b.user(write{header{incarnation: 9, number: 2, epoch: 1, writeID: 2}, 2, 20, second}) },
		func() { b.fence(3, 2, 10) },
		func() {
			b.command("SETRANGE", userKey, "0", record(header{incarnation: 9, number: 2, epoch: 1, writeID: 2}, nil))
		},
		func() { b.user(write{header{incarnation: 9, number: 3, epoch: 2, writeID: 3}, 3, 30, third}) },
		func() { b.fence(4, 2, 30) },
	}
}

// TestHistory: the reader of Redis' history accepts a right one, and each wrong one turns it red for the right reason.
func TestHistory(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	for _, step := range tale(b) {
		step()
	}
	h := newHistory(b.save())
	if err := h.follow(); err != nil || len(h.faults) > 0 {
		t.Fatalf("a right history: %v %q", err, h.faults)
	}
	u := h.user("oSomebody")
	if u == nil || len(u.Turns) != 6 || u.Turns[4].Text != "turn 3" || len(u.Messages) != 3 || h.floors["p03"] != 30 || h.writes != 7 {
		t.Fatalf("what was read: %+v, floors %v, %d writes", u, h.floors, h.writes)
	}

	answered, dead := messages.Outcome_OUTCOME_ANSWERED, messages.Outcome_OUTCOME_DEAD
	user := func(number, epoch, turns, applied uint64, keys map[byte]messages.Outcome) func(*book) {
		return func(b *book) {
			b.user(write{header{incarnation: 9, number: number, epoch: epoch, writeID: 77}, turns, applied, keys})
		}
	}
	for wrong, c := range map[string]struct {
		then func(*book) // behind the right history
		says string
	}{
		"a stale owner":                   {user(4, 1, 3, 30, nil), "epoch 1 wrote over epoch 2"},
		"an epoch below the checkpoint's": {func(b *book) { b.fence(5, 3, 30); user(4, 2, 3, 30, nil)(b) }, "when the partition's checkpoint had epoch 3"},
		"an epoch above the checkpoint's": {user(4, 3, 3, 30, nil), "when the partition's checkpoint had epoch 2"},
		"a checkpoint's stale owner":      {func(b *book) { b.fence(5, 1, 30) }, "epoch 1 wrote over epoch 2"},
		"a version left out":              {user(5, 2, 3, 30, nil), "version 5 follows version 3"},
		"a version again":                 {user(3, 2, 3, 30, nil), "version 3 follows version 3"},
		"another incarnation": {func(b *book) {
			b.user(write{header{incarnation: 10, number: 1, epoch: 2, writeID: 5}, 3, 30, nil})
		}, "was not deleted"},
		"two turns at once":      {user(4, 2, 5, 40, nil), "has 5 turns, the one before it 3"},
		"a turn taken back":      {user(4, 2, 2, 40, nil), "has 2 turns, the one before it 3"},
		"out of the log's order": {user(4, 2, 4, 29, nil), "after 0:30"},
		"two ends of one message": {func(b *book) {
			user(4, 2, 3, 30, map[byte]messages.Outcome{4: dead})(b)
			user(5, 2, 3, 30, map[byte]messages.Outcome{4: answered})(b)
		}, "which had ended as dead"},
		"a header of another version": {func(b *book) {
			b.command("SETRANGE", userKey, "0", record(header{incarnation: 9, number: 2, epoch: 1, writeID: 2}, nil))
		}, "written over another"},
		"a record that is removed": {func(b *book) { b.command("DEL", userKey) }, "DEL changes a record past its version"},
		"no record at all":         {func(b *book) { b.command("SET", userKey, "x") }, "no record"},
		"a key of nobody":          {func(b *book) { b.command("SET", "x", record(header{incarnation: 1, number: 1}, nil)) }, "no record's key"},
		"a record that begins late": {func(b *book) {
			b.command("SET", userKey+"2", record(header{incarnation: 1, number: 2, epoch: 2}, nil))
		}, "begins with version 2"},
	} {
		t.Run(wrong, func(t *testing.T) {
			t.Parallel()
			b := newBook(t)
			for _, step := range tale(b) {
				step()
			}
			c.then(b)
			h := newHistory(b.save())
			if err := h.follow(); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(strings.Join(h.faults, "\n"), c.says) {
				t.Errorf("no fault says %q; all: %q", c.says, h.faults)
			}
		})
	}
}

// TestHistoryGrows: what is cut in the middle of a command is read when the rest is there, and nothing twice.
func TestHistoryGrows(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	for _, step := range tale(b) {
		step()
	}
	whole := bytes.Clone(b.bytes.Bytes())
	h := newHistory(b.dir)
	for n := 0; n <= len(whole); n += 7 {
		b.bytes.Reset()
		b.bytes.Write(whole[:n])
		b.save()
		if err := h.follow(); err != nil {
			t.Fatalf("after %d bytes: %v", n, err)
		}
	}
	b.bytes.Reset()
	b.bytes.Write(whole)
	b.save()
	if err := h.follow(); err != nil || len(h.faults) > 0 || h.writes != 7 {
		t.Fatalf("%v, %d writes, %q", err, h.writes, h.faults)
	}
}
