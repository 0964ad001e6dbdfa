package jetstream

import (
	"bytes"
	"math"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"hongyan/messages"
	"hongyan/state"
)

func FuzzEnvelope(f *testing.F) {
	f.Add([]byte(nil))
	f.Add([]byte("not ours"))
	f.Add(envelope(0, state.Version{Incarnation: 1, Number: 2, Epoch: 3, WriteID: 4}, []byte("value")))
	f.Add(envelope(flagDeleted, state.Version{Incarnation: math.MaxUint64, Number: 1, WriteID: 1}, nil))
	f.Add(envelope(0, state.Version{}, []byte("zero ids")))
	f.Add(append([]byte{2}, make([]byte, 40)...))
	f.Add(append([]byte{1, 0x80}, bytes.Repeat([]byte{1}, 40)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		v, value, deleted, err := parseEnvelope(data)
		if err != nil {
			return
		}
		var flags byte
		if deleted {
			flags = flagDeleted
		}
		if again := envelope(flags, v, value); !bytes.Equal(again, data) {
			t.Errorf("%x was read as %+v %x and written as %x", data, v, value, again)
		}
	})
}

func TestEnvelope(t *testing.T) {
	t.Parallel()
	want := state.Version{Incarnation: 0x0102030405060708, Number: 1, Epoch: 0, WriteID: math.MaxUint64}
	data := envelope(0, want, []byte("v"))
	const hex = "\x01\x00" + "\x01\x02\x03\x04\x05\x06\x07\x08" + "\x00\x00\x00\x00\x00\x00\x00\x01" +
		"\x00\x00\x00\x00\x00\x00\x00\x00" + "\xff\xff\xff\xff\xff\xff\xff\xff" + "v"
	if string(data) != hex {
		t.Errorf("the stored form changed: %x", data)
	}
	if v, value, deleted, err := parseEnvelope(data); err != nil || v != want || string(value) != "v" || deleted {
		t.Errorf("got %+v %q %v %v", v, value, deleted, err)
	}
	for name, data := range map[string][]byte{
		"empty": nil, "cut off": data[:envelopeHead-1], "later format": append([]byte{2}, data[1:]...),
		"unknown flag": append([]byte{1, 2}, data[2:]...), "no ids": make([]byte, 50),
	} {
		if _, _, _, err := parseEnvelope(data); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// kvKey is the alphabet of NATS's key-value clients; two dots in a row or a dot at an end make an empty token.
var kvKey = regexp.MustCompile(`^[-/_=a-zA-Z0-9]+(\.[-/_=a-zA-Z0-9]+)*$`)

func TestSubjects(t *testing.T) {
	t.Parallel()
	s := &Store{prefix: "$KV.hy_state."}
	for want, key := range map[string]state.Key{
		"$KV.hy_state.p00.checkpoint":  state.Checkpoint(0),
		"$KV.hy_state.p63.checkpoint":  state.Checkpoint(63),
		"$KV.hy_state.p100.checkpoint": state.Checkpoint(100),
		"$KV.hy_state.p07.u.demo.dTE":  {Partition: 7, User: messages.User{Account: "demo", OpenID: "u1"}},
		"$KV.hy_state.p42.u.a_b-1.LmE": {Partition: 42, User: messages.User{Account: "a_b-1", OpenID: ".a"}},
	} {
		if got := s.subjectOf(key); got != want {
			t.Errorf("%s: %s, want %s", key, got, want)
		}
	}
	for node, want := range map[string]string{"node-1": "probe.node-1", "": "probe._", "主机.local *": "probe.___local__"} {
		if got := probeSubject("", node); got != want || !kvKey.MatchString(got) {
			t.Errorf("node %q: %s, want %s", node, got, want)
		}
	}
}

// Any two keys have different subjects, and every subject fits NATS.
func TestSubjectsAreOneToOne(t *testing.T) {
	t.Parallel()
	s := &Store{prefix: "$KV.hy_state."}
	key := rapid.Custom(func(t *rapid.T) state.Key {
		k := state.Key{Partition: rapid.IntRange(0, 2000).Draw(t, "partition")}
		if rapid.Bool().Draw(t, "user") {
			k.User.Account = rapid.StringMatching(`[a-z0-9_-]{1,32}`).Draw(t, "account")
			k.User.OpenID = string(rapid.SliceOfN(rapid.Byte(), 1, state.MaxOpenIDBytes).Draw(t, "openid"))
		}
		return k
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := key.Draw(t, "a"), key.Draw(t, "b")
		if err := a.Check(); err != nil {
			t.Fatal(err)
		}
		sa, sb := s.subjectOf(a), s.subjectOf(b)
		if (a == b) != (sa == sb) {
			t.Fatalf("%v and %v: %s and %s", a, b, sa, sb)
		}
		if k, ok := strings.CutPrefix(sa, s.prefix); !ok || !kvKey.MatchString(k) || len(sa) > 1000 {
			t.Fatalf("%s does not fit NATS", sa)
		}
	})
}

// A revision is proven only by its own version in its own session.
func TestRevision(t *testing.T) {
	t.Parallel()
	v := state.Version{Incarnation: 1, Number: 2, Epoch: 3, WriteID: 4}
	r := revision(5, 6, v)
	if r&maxSequence != 5 {
		t.Fatalf("the sequence is %d", r&maxSequence)
	}
	for name, other := range map[string]uint64{
		"session":     revision(5, 7, v),
		"incarnation": revision(5, 6, state.Version{Incarnation: 2, Number: 2, Epoch: 3, WriteID: 4}),
		"number":      revision(5, 6, state.Version{Incarnation: 1, Number: 3, Epoch: 3, WriteID: 4}),
		"epoch":       revision(5, 6, state.Version{Incarnation: 1, Number: 2, Epoch: 4, WriteID: 4}),
		"write id":    revision(5, 6, state.Version{Incarnation: 1, Number: 2, Epoch: 3, WriteID: 5}),
	} {
		if other == r {
			t.Errorf("another %s has the same revision", name)
		}
	}
}
