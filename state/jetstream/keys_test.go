package jetstream

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"hongyan/messages"
	"hongyan/state"
)

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
