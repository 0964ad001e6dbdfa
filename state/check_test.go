package state_test

import (
	"errors"
	"strings"
	"testing"

	"hongyan/messages"
	"hongyan/state"
)

func TestKeyCheck(t *testing.T) {
	t.Parallel()
	user := func(account, openID string) state.Key {
		return state.Key{Partition: 1, User: messages.User{Account: account, OpenID: openID}}
	}
	for name, tt := range map[string]struct {
		key state.Key
		ok  bool
	}{
		"checkpoint":          {state.Checkpoint(0), true},
		"user":                {user("demo", "o6_bmjrPTlm6_2sgVt7hMZOPfL2M"), true},
		"any bytes":           {user("a-b_9", "\x00\xff ./*"), true},
		"longest":             {user(strings.Repeat("a", 32), strings.Repeat("x", state.MaxOpenIDBytes)), true},
		"negative partition":  {state.Checkpoint(-1), false},
		"no account":          {user("", "u1"), false},
		"no OpenID":           {user("demo", ""), false},
		"account with a dot":  {user("a.b", "u1"), false},
		"account in capitals": {user("Demo", "u1"), false},
		"account too long":    {user(strings.Repeat("a", 33), "u1"), false},
		"OpenID too long":     {user("demo", strings.Repeat("x", state.MaxOpenIDBytes+1)), false},
	} {
		if err := tt.key.Check(); (err == nil) != tt.ok || err != nil && !errors.Is(err, state.ErrInvalid) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// Errors end in logs, where no OpenID may stand.
func TestErrorsShowNoOpenID(t *testing.T) {
	t.Parallel()
	key := state.Key{Partition: 1, User: messages.User{Account: "demo", OpenID: "SECRET"}}
	later := state.Version{Incarnation: 1, Number: 1, Epoch: 9, WriteID: 1}
	for _, err := range []error{
		state.CheckCommit(key, state.Record{}, state.Write{}),
		state.CheckCommit(key, state.Record{}, state.Write{WriteID: 1}),
		state.CheckCommit(key, state.Record{Version: later}, state.Write{WriteID: 1}),
		state.CheckDelete(key, state.Record{}, 1),
		state.CheckDelete(key, state.Record{Version: later}, 1),
		state.Refuse(key, later, 1),
		state.Refuse(key, later, 9),
	} {
		if err == nil || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("got %v", err)
		}
	}
}

func TestNext(t *testing.T) {
	t.Parallel()
	w := state.Write{Epoch: 3, WriteID: 4, Incarnation: 5}
	created := state.Next(state.Record{}, w)
	if want := (state.Version{Incarnation: 5, Number: 1, Epoch: 3, WriteID: 4}); created != want {
		t.Errorf("created %+v, want %+v", created, want)
	}
	w = state.Write{Epoch: 6, WriteID: 7, Incarnation: 8}
	replaced := state.Next(state.Record{Version: created}, w)
	if want := (state.Version{Incarnation: 5, Number: 2, Epoch: 6, WriteID: 7}); replaced != want {
		t.Errorf("replaced %+v, want %+v", replaced, want)
	}
}
