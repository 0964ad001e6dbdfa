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

// The kinds of the API. A call that has an effect has a record of that at the very moment of the effect, and like every call one of
// kind api at its end; both carry the same rid.
const (
	RecordAPI       RecordKind = "api"       // a call ended: ErrCode, Effect, Fault; Status 0: the caller got no answer
	RecordToken     RecordKind = "token"     // a new token was issued: Generation
	RecordCustom    RecordKind = "custom"    // the user's phone showed a customer-service message: Answer, Grant, GrantLeft
	RecordTyping    RecordKind = "typing"    // the user's phone showed, or stopped showing, that an answer is being written: Detail
	RecordTemplate  RecordKind = "template"  // the user's phone showed a template message: MsgID, Answer
	RecordSubscribe RecordKind = "subscribe" // the user's phone showed a subscription message: MsgID, Answer
	RecordFault     RecordKind = "fault"     // a fault was injected or cleared, or tokens were made invalid: Detail
)

// OfMessage tells whether records of this kind tell the story of one message that a user sent: push, sent, received and end.
func (k RecordKind) OfMessage() bool {
	return k == RecordPush || k == RecordSent || k == RecordReceived || k == RecordEnd
}

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
	Answer     *Answer    `json:"answer,omitempty"`     // received; custom, template, subscribe; api of custom send
	Banner     bool       `json:"banner,omitempty"`     // end
	Detail     string     `json:"detail,omitempty"`

	// Of the API alone.
	Call       string  `json:"call,omitempty"`       // path
	RID        string  `json:"rid,omitempty"`        // the same in errmsg
	ErrCode    int     `json:"errcode,omitempty"`    // as answered; 0 is ok, if Status is 200
	Generation uint64  `json:"generation,omitempty"` // of the token that was used or issued; 0: none, or unknown
	Effect     bool    `json:"effect,omitempty"`     // the call did something, whether or not the caller learnt it
	Grant      Trigger `json:"grant,omitempty"`      // which grant a customer-service message used
	GrantLeft  int     `json:"grant_left,omitempty"` // messages left of it afterwards
	Fault      string  `json:"fault,omitempty"`      // ids of the faults that it met
	TemplateID string  `json:"template_id,omitempty"`
}

// witness is the append-only log. Memory holds the newest limit records; the writer gets all.
type witness struct {
	mu      sync.Mutex
	seq     uint64
	limit   int
	records []Record
	enc     *json.Encoder // nil without a writer, or after it failed
	log     *slog.Logger
	watch   func(Record) // nil: nobody watches
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
	if w.watch != nil {
		w.watch(r)
	}
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
