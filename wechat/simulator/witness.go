package simulator

import (
	"encoding/json"
	"io"
	"log/slog"
	"sync"
	"time"
)

// RecordKind says what a witness record tells.
type RecordKind string

// The kinds, in the order in which one message has them: push, then sent and received per delivery, then end.
const (
	RecordHandshake RecordKind = "handshake" // the GET check and its result
	RecordPush      RecordKind = "push"      // a user did something; its deliveries follow
	RecordSent      RecordKind = "sent"      // a delivery began
	RecordReceived  RecordKind = "received"  // that delivery ended with Outcome
	RecordEnd       RecordKind = "end"       // what the user saw at last: an answer, silence or the banner; or the push was given up
)

// Record is one line of the platform's own log. It is written before what it tells can have an effect (push, sent), or right
// after (received, end), so the order of records is the order of events.
type Record struct {
	Seq        uint64     `json:"seq"` // from 1, without gaps
	At         time.Time  `json:"at"`
	Kind       RecordKind `json:"kind"`
	Account    string     `json:"account"`
	OpenID     string     `json:"openid,omitempty"`
	MsgID      string     `json:"msg_id,omitempty"`
	CreateTime int64      `json:"create_time,omitempty"`
	Type       string     `json:"type,omitempty"`
	Event      string     `json:"event,omitempty"`
	EventKey   string     `json:"event_key,omitempty"`
	Content    string     `json:"content,omitempty"`    // push of a text
	Number     int        `json:"number,omitempty"`     // delivery, from 1
	Host       string     `json:"host,omitempty"`       // sent and received: where it went, of several addresses
	Outcome    Outcome    `json:"outcome,omitempty"`    // received; end: of the last delivery
	Status     int        `json:"status,omitempty"`     // HTTP status, where there was one
	ElapsedMS  float64    `json:"elapsed_ms,omitempty"` // received: since sent; end: since push
	Answer     *Answer    `json:"answer,omitempty"`     // received
	Banner     bool       `json:"banner,omitempty"`     // end
	Detail     string     `json:"detail,omitempty"`
}

// witness is the append-only log. Memory holds the newest limit records; the writer gets all.
type witness struct {
	mu      sync.Mutex
	seq     uint64
	limit   int
	records []Record
	enc     *json.Encoder // nil without a writer, or after it failed
	log     *slog.Logger
}

func newWitness(limit int, w io.Writer, log *slog.Logger) *witness {
	out := &witness{limit: limit, log: log}
	if w != nil {
		out.enc = json.NewEncoder(w)
		out.enc.SetEscapeHTML(false)
	}
	return out
}

func (w *witness) add(r Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seq++
	r.Seq = w.seq
	if len(w.records) >= 2*w.limit { // trimmed by halves, so that appending stays cheap
		w.records = append(w.records[:0], w.records[w.limit:]...)
	}
	w.records = append(w.records, r)
	if w.enc == nil {
		return
	}
	if err := w.enc.Encode(r); err != nil {
		w.enc = nil
		w.log.Error("witness log cannot be written; it ends here", "seq", r.Seq, "error", err)
	}
}

// Witness returns the newest records (Options.WitnessLimit), oldest first. The slice is the caller's.
func (p *Platform) Witness() []Record {
	w := p.witness
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]Record(nil), w.records[max(0, len(w.records)-w.limit):]...)
}
