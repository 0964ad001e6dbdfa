package bench

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// faulty is the bare handler with something wrong about every tenth answer.
type faulty struct {
	bare   *Bare
	spoil  func(w http.ResponseWriter, right []byte, last []byte)
	served atomic.Int64
	mu     sync.Mutex
	last   []byte // some earlier answer to another user
}

func (f *faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	recorder := httptest.NewRecorder()
	f.bare.ServeHTTP(recorder, r)
	right := recorder.Body.Bytes()
	f.mu.Lock()
	last := f.last
	f.last = right
	f.mu.Unlock()
	if f.served.Add(1)%10 == 0 {
		f.spoil(w, right, last)
		return
	}
	_, _ = w.Write(right)
}

func newTestGenerator(t *testing.T, account Account, connections, users int) *generator {
	t.Helper()
	g, err := newGenerator(account, connections, users, UsersUniform, 1000, 3)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestGeneratorDetectsFaults(t *testing.T) {
	t.Parallel()
	type spoil = func(w http.ResponseWriter, right, last []byte)
	write := func(w http.ResponseWriter, body []byte) { _, _ = w.Write(body) }
	for name, c := range map[string]struct {
		mode  string
		spoil spoil
		wrong bool   // or else missing
		told  string // part of what is said
	}{
		"swapped":       {ModeSafe, func(w http.ResponseWriter, _, last []byte) { write(w, last) }, true, "is \"oBench"},
		"swapped plain": {ModePlain, func(w http.ResponseWriter, _, last []byte) { write(w, last) }, true, "is \"oBench"},
		"other text": {ModePlain, func(w http.ResponseWriter, right, _ []byte) {
			write(w, bytes.Replace(right, []byte("元"), []byte("块"), 1))
		}, true, "Content"},
		"flipped bit":   {ModeSafe, func(w http.ResponseWriter, right, _ []byte) { right[60] ^= 1; write(w, right) }, true, "MsgSignature"},
		"not encrypted": {ModeSafe, func(w http.ResponseWriter, _, _ []byte) { write(w, []byte("<xml><Content>hi</Content></xml>")) }, true, "envelope"},
		"two documents": {ModePlain, func(w http.ResponseWriter, right, _ []byte) { write(w, append(right, right...)) }, true, "ToUserName"},
		"success":       {ModeSafe, func(w http.ResponseWriter, _, _ []byte) { write(w, []byte("success")) }, false, "success"},
		"empty":         {ModeSafe, func(w http.ResponseWriter, _, _ []byte) {}, false, `""`},
		"503":           {ModeSafe, func(w http.ResponseWriter, _, _ []byte) { w.WriteHeader(http.StatusServiceUnavailable) }, false, "HTTP status 503"},
		"403":           {ModePlain, func(w http.ResponseWriter, right, _ []byte) { w.WriteHeader(http.StatusForbidden); write(w, right) }, false, "HTTP status 403"},
		"broken off":    {ModeSafe, func(w http.ResponseWriter, _, _ []byte) { panic(http.ErrAbortHandler) }, false, "EOF"},
		"broken off late": {ModeSafe, func(w http.ResponseWriter, right, _ []byte) {
			w.Header().Set("Content-Length", "9999")
			write(w, right)
		}, false, "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			account := NewAccount(c.mode)
			bare, err := NewBare(BareSpec{Account: account, Rules: rules(), MaxClockSkew: clockSkew})
			if err != nil {
				t.Fatal(err)
			}
			server := httptest.NewServer(&faulty{bare: bare, spoil: c.spoil})
			defer server.Close()
			g := newTestGenerator(t, account, 4, 100)
			o, err := g.run(t.Context(), round{address: server.Listener.Addr().String(), everybody: true})
			if err != nil {
				t.Fatal(err)
			}
			faults := o.missing
			if c.wrong {
				faults = o.wrong
			}
			// Every tenth of 100 messages; a swap may by chance hit the user's own answer.
			if o.messages != 100 || faults < 5 || faults != o.missing+o.wrong || len(o.latencies) != o.messages-faults {
				t.Errorf("%d messages, %d missing, %d wrong, %d right", o.messages, o.missing, o.wrong, len(o.latencies))
			}
			if len(o.faults) == 0 || len(o.faults) > keptFaults || !strings.Contains(o.faults[0].Error(), c.told) {
				t.Errorf("faults do not tell %q: %v", c.told, o.faults)
			}
			var answers Answers
			answers.add("here", o)
			if answers.right() || !strings.HasPrefix(answers.Faults[0], "here: ") {
				t.Errorf("the run would pass: %+v", answers)
			}
		})
	}
}

func TestGeneratorGivesUp(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	g := newTestGenerator(t, NewAccount(ModeSafe), 4, 100)
	for _, rate := range []float64{0, 1e6} {
		o, err := g.run(t.Context(), round{address: server.Listener.Addr().String(), duration: time.Hour, rate: rate})
		if err != nil || o.missing < enoughFaults || o.missing > enoughFaults+4 {
			t.Errorf("%d missing, %v", o.missing, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := g.run(ctx, round{address: server.Listener.Addr().String(), duration: time.Hour}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestGeneratorOrder: each user's messages arrive one after the other with growing MsgIds, no MsgId comes twice, and one
// round visits everybody.
func TestGeneratorOrder(t *testing.T) {
	t.Parallel()
	const users = 37
	account := NewAccount(ModePlain)
	bare, err := NewBare(BareSpec{Account: account, Rules: rules(), MaxClockSkew: clockSkew})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	last, busy, seen := map[string]string{}, map[string]bool{}, map[string]bool{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user := r.URL.Query().Get("openid")
		var body bytes.Buffer
		_, _ = body.ReadFrom(r.Body)
		found, _ := element(body.Bytes(), "MsgId")
		id := string(found)
		mu.Lock()
		if busy[user] || len(last[user]) == len(id) && last[user] >= id || seen[id] {
			t.Errorf("MsgId %s after %s, busy %t, seen %t", id, last[user], busy[user], seen[id])
		}
		busy[user], last[user], seen[id] = true, id, true
		mu.Unlock()
		defer func() {
			mu.Lock()
			busy[user] = false
			mu.Unlock()
		}()
		r.Body = io.NopCloser(&body)
		bare.ServeHTTP(w, r)
	}))
	defer server.Close()
	g := newTestGenerator(t, account, 8, users)
	total := 0
	for _, r := range []round{
		{everybody: true},
		{duration: 50 * time.Millisecond, expected: 1000},
		{duration: 50 * time.Millisecond, rate: 2000, expected: 2000},
	} {
		r.address = server.Listener.Addr().String()
		o, err := g.run(t.Context(), r)
		if err != nil || o.missing+o.wrong != 0 || o.messages == 0 {
			t.Fatalf("%+v, %v", o, err)
		}
		total += o.messages
		if r.everybody && (o.messages != users || o.late != 0) {
			t.Errorf("%d messages to %d users, %d late", o.messages, users, o.late)
		}
	}
	if len(last) != users || len(seen) != total {
		t.Errorf("%d users, %d MsgIds of %d messages", len(last), len(seen), total)
	}
}
