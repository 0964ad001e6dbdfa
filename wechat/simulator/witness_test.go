package simulator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
)

// TestWitness pushes for many users at once and checks that the log tells one whole story per message, in order, in memory and
// in the stream alike.
func TestWitness(t *testing.T) {
	t.Parallel()
	synctest.Test(t, testWitness)
}

func testWitness(t *testing.T) {
	const users, limit = 40, 100
	var stream bytes.Buffer
	var r rig
	r = bubble(t, func(w http.ResponseWriter, _ *http.Request, d delivered, number int) {
		if number == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, r.back.replyText(d, d.Fields["FromUserName"]))
	}, func(o *Options) { o.WitnessWriter, o.WitnessLimit = &stream, limit })
	var wg sync.WaitGroup
	for i := range users {
		wg.Go(func() {
			if got, err := r.Push(t.Context(), "demo", fmt.Sprintf("u%d", i), text("x")); err != nil || got.Answer == nil || got.Answer.Content != fmt.Sprintf("u%d", i) {
				t.Errorf("%v %+v", err, got)
			}
		})
	}
	wg.Wait()
	var all []Record
	for decoder := json.NewDecoder(&stream); decoder.More(); {
		var record Record
		if err := decoder.Decode(&record); err != nil {
			t.Fatal(err)
		}
		all = append(all, record)
	}
	stories := map[string]string{}
	for i, record := range all {
		if record.Seq != uint64(i+1) {
			t.Fatalf("record %d has number %d", i+1, record.Seq)
		}
		stories[record.OpenID+record.MsgID] += fmt.Sprintf("%s%d:%s ", record.Kind, record.Number, record.Outcome)
	}
	const want = "push0: sent1: received1:bad status sent2: received2:answered end0:answered "
	for name, story := range stories {
		if story != want {
			t.Errorf("%s: %s", name, story)
		}
	}
	if len(stories) != users {
		t.Errorf("%d stories", len(stories))
	}
	memory := r.Witness()
	if len(memory) != limit {
		t.Fatalf("%d records in memory", len(memory))
	}
	for i, record := range memory {
		if want := all[len(all)-limit+i]; record.Seq != want.Seq || record.Kind != want.Kind {
			t.Fatalf("memory and stream differ at %d", record.Seq)
		}
	}
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, errors.New("disk full") }

// TestWitnessWriterFails wants the memory to go on.
func TestWitnessWriterFails(t *testing.T) {
	t.Parallel()
	r := newRig(t, ModePlain, FormatXML, func(http.ResponseWriter, *http.Request, delivered, int) {}, func(o *Options) { o.WitnessWriter = failingWriter{} })
	if got, err := r.Push(t.Context(), "demo", "u1", text("x")); err != nil || !got.Silent {
		t.Fatalf("%v %+v", err, got)
	}
	if n := len(r.Witness()); n != 4 {
		t.Errorf("%d records", n)
	}
}
