package actors

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"hongyan/conversation"
	"hongyan/messages"
	"hongyan/state"
)

// observer is the witness outside the engine: it sees what the platform sent and was told, what the log took and lost, and every
// commit that reached the store, and compares them with invariants I1 to I5.
type observer struct {
	sim *sim

	mu      sync.Mutex
	texts   map[messages.Key]string
	users   map[string]string   // by text
	taken   map[string]bool     // texts of which a delivery was accepted
	refused map[string]bool     // texts of which the log refused a delivery out of the blue: rule 13 relies on them
	replies map[string]string   // by text: the reply that its turn made, with the kept answers that it carries
	late    map[string]bool     // texts of which the log took a delivery late
	entries []logged            // in the order of the log
	commits map[string][]string // by user: texts in the order of their turns
	shows   []shown
	wrong   []string
	pushes  pushes
}

// logged is one entry as the log took it.
type logged struct {
	text      string
	partition int
	sequence  uint64
	lost      bool
	letter    string // that it re-drives
}

// shown is one answer as WeChat got it.
type shown struct {
	text, answer string
	at           time.Time
	replay       bool // it went to somebody who is not WeChat
}

func newObserver(s *sim) *observer {
	return &observer{sim: s, texts: make(map[messages.Key]string), users: make(map[string]string), taken: make(map[string]bool),
		refused: make(map[string]bool), late: make(map[string]bool), replies: make(map[string]string), commits: make(map[string][]string),
		pushes: newPushes()}
}

// violated notes a violation; the observer's lock must be held.
func (o *observer) violated(format string, args ...any) {
	o.wrong = append(o.wrong, fmt.Sprintf(format, args...))
}

func (o *observer) sent(in *messages.Inbound) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.texts[messages.KeyOf(in)], o.users[in.GetMsgId()] = in.GetMsgId(), in.GetOpenId()
}

func (o *observer) accepted(in *messages.Inbound) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.taken[in.GetMsgId()] = true
}

func (o *observer) notAccepted(in *messages.Inbound) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.refused[in.GetMsgId()] = o.refused[in.GetMsgId()] || !o.sim.weather.Load().full
}

func (o *observer) acceptedLate(in *messages.Inbound) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.late[in.GetMsgId()] = true
}

func (o *observer) shown(in *messages.Inbound, a *messages.Answer, at time.Time, replay bool) {
	text := a.GetText().GetContent()
	o.sim.note("shown", "message", in.GetMsgId(), "answer", text)
	if a == nil || text == thinking || text == notReceived || text == tooFast {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.onePath(in, text)
	o.shows = append(o.shows, shown{text: in.GetMsgId(), answer: text, at: at, replay: replay})
}

// answered tells whether WeChat has an answer to the message.
func (o *observer) answered(in *messages.Inbound) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.ContainsFunc(o.shows, func(s shown) bool { return s.text == in.GetMsgId() && !s.replay })
}

// lost notes what a stream forgot.
func (o *observer) lost(stream, streams int, from uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range o.entries {
		if e := &o.entries[i]; e.partition%streams == stream && e.sequence >= from {
			e.lost = true
			if e.letter != "" {
				o.pushes.cut[e.letter] = true
			}
		}
	}
}

// committed sees every commit that reached the store (I2, I4).
func (o *observer) committed(key state.Key, before, after state.Record) {
	o.mu.Lock()
	defer o.mu.Unlock()
	b, a := before.Version, after.Version
	switch {
	case a.Epoch < b.Epoch:
		o.violated("I4: %s: an owner of epoch %d wrote over epoch %d", key, a.Epoch, b.Epoch)
	case b != (state.Version{}) && (a.Incarnation != b.Incarnation || a.Number != b.Number+1) && !o.sim.failedOver.Load():
		o.violated("I4: %s: version %+v follows %+v", key, a, b)
	}
	if key.IsCheckpoint() || key.User.Reserved() {
		return
	}
	o.notePaths(after)
	old, now := o.turns(before), o.turns(after)
	if len(now) < len(old) || !slices.Equal(now[:len(old)], old) {
		o.violated("I2: %s: turns %q became %q", key, old, now)
		return
	}
	for _, text := range now[len(old):] {
		o.sim.note("turn", "message", text, "epoch", a.Epoch, "version", a.Number)
		if n := count(o.commits[key.User.OpenID], text); n > o.pushes.again[text] {
			o.violated("I2: %s has turn %d", text, n+1)
		}
		o.commits[key.User.OpenID] = append(o.commits[key.User.OpenID], text)
	}
}

func (o *observer) turns(rec state.Record) []string {
	if rec.Version == (state.Version{}) {
		return nil
	}
	st, err := conversation.Decode(rec.Value)
	if err != nil {
		o.violated("I4: a record that cannot be read: %v", err)
	}
	for _, r := range st.Answers {
		o.replies[o.texts[r.Key]] = string(r.Answer)
	}
	return said(st)
}

// restored notes that the store lost its latest writes.
func (o *observer) restored(records map[state.Key]state.Record) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.commits = make(map[string][]string)
	for key, rec := range records {
		if !key.IsCheckpoint() && !key.User.Reserved() {
			o.commits[key.User.OpenID] = o.turns(rec)
		}
	}
}

// check compares everything once all is quiet.
func (o *observer) check() []string {
	records, letters := o.sim.store.Records(), o.sim.log.Letters()
	o.mu.Lock()
	defer o.mu.Unlock()
	dead, buried := make(map[string]bool), ""
	for _, l := range letters {
		dead[l.GetInbound().GetMsgId()] = true
		buried += l.GetAnswer().GetText().GetContent()
	}
	outcomes, kept := make(map[string]messages.Outcome), ""
	for key, rec := range records {
		if key.IsCheckpoint() {
			if c, err := decodeCheckpoint(rec.Value); err != nil || c.Floor != c.Newest {
				o.violated("I1: unsettled entries in partition %d: %+v %v", key.Partition, c, err)
			}
			continue
		}
		if key.User.Reserved() {
			continue
		}
		st, err := conversation.Decode(rec.Value)
		if err != nil {
			continue // noted when it was committed
		}
		for i := range st.Keys.Len() {
			k := st.Keys.At(i)
			if text := o.texts[k.Key]; text != "" { // others are of re-drives
				outcomes[text] = k.Outcome
			}
		}
		for _, k := range st.Kept {
			kept += string(k.Answer)
		}
	}
	first, lost := o.positions()
	for text, reply := range o.replies {
		late := o.late[text] && accountOf(o.users[text]) == desk
		if lost[text] || o.refused[text] || o.sim.replayed(text) || late { // and with it the kept answers that its reply carried
			kept += reply
		}
	}
	for text := range o.taken {
		if outcomes[text] == 0 && !dead[text] && !lost[text] {
			o.violated("I1: %s was accepted and has no end", text)
		}
	}
	for user, order := range o.commits {
		if accountOf(user) == desk {
			o.checkPushOrder(order, lost, letters)
		} else {
			o.checkOrder(order, first, lost, letters)
		}
	}
	for text, outcome := range outcomes {
		mark := "re: " + text
		if outcome == messages.Outcome_OUTCOME_LIMITED && slices.Contains(o.commits[o.users[text]], text) {
			o.violated("I2: %s ended as limited and had a turn", text)
		}
		if accountOf(o.users[text]) == desk {
			if outcome == messages.Outcome_OUTCOME_ANSWERED && !o.sim.mood(text).silent {
				for _, mark := range o.sim.marks(text) {
					o.checkPart(text, mark, kept, buried, lost, letters)
				}
			}
			continue
		}
		times := o.checkAnswer(text, mark, lost, letters)
		if outcome == messages.Outcome_OUTCOME_ANSWERED && times == 0 && !lost[text] && !o.refused[text] && !o.sim.replayed(text) && !o.sim.mood(text).silent &&
			!strings.Contains(buried, mark) && !strings.Contains(kept, mark) {
			o.violated("I5: the answer to %s was neither delivered nor kept nor buried", text)
		}
	}
	return o.wrong
}

// settled tells whether every entry that the log has is settled in the store.
func (o *observer) settled() bool {
	records := o.sim.store.Records()
	for partition := range o.sim.partitions {
		end := uint64(0)
		o.mu.Lock()
		for _, e := range o.entries {
			if e.partition == partition && !e.lost {
				end = e.sequence
			}
		}
		o.mu.Unlock()
		c, err := decodeCheckpoint(records[state.Checkpoint(partition)].Value)
		if err != nil || c.Floor < end || c.Floor != c.Newest || c.Crashes > 0 {
			return false
		}
	}
	return true
}

// positions are the place of each message's first entry in the log, and the messages of which an entry was lost.
func (o *observer) positions() (first map[string]int, lost map[string]bool) {
	first, lost = make(map[string]int), make(map[string]bool)
	for i, e := range o.entries {
		if _, ok := first[e.text]; !ok {
			first[e.text] = i
		}
		lost[e.text] = lost[e.text] || e.lost
	}
	return first, lost
}

// checkOrder compares a user's commits and answers with the order of the log (I3).
func (o *observer) checkOrder(order []string, first map[string]int, lost map[string]bool, letters map[string]*messages.DeadLetter) {
	order = slices.DeleteFunc(slices.Clone(order), func(text string) bool {
		return lost[text] || o.redrives("re: "+text, letters) > 0
	})
	if !slices.IsSortedFunc(order, func(a, b string) int { return first[a] - first[b] }) {
		o.violated("I3: turns out of the log's order: %q", order)
	}
	var last shown
	for _, text := range order {
		if slices.ContainsFunc(o.shows, func(s shown) bool { return s.replay && strings.Contains(s.answer, "re: "+text) }) {
			continue // somebody else took it; WeChat had it later
		}
		its := shown{}
		for _, s := range o.shows {
			if !s.replay && strings.Contains(s.answer, "re: "+text) && (its.text == "" || s.at.Before(its.at)) {
				its = s
			}
		}
		if its.text == "" || lost[its.text] || o.refused[text] || o.late[text] || o.refused[its.text] {
			continue // nobody knew, in time, of the delivery that carried it
		}
		if its.at.Before(last.at) {
			o.violated("I3: the answer to %s came before the one to a message before it: %q", text, last.answer)
		}
		last = its
	}
}

// checkAnswer counts the messages on which an answer was given (I2). Two deliveries of one message may both carry it: WeChat shows one.
// Where the log lost the delivery which carried it, nobody knows of that.
func (o *observer) checkAnswer(text, mark string, lost map[string]bool, letters map[string]*messages.DeadLetter) int {
	on, most, seen := make(map[string]string), 1, 0
	for _, s := range o.shows {
		if !strings.Contains(s.answer, mark) {
			continue
		}
		if s.replay { // it has the answer, and nobody can tell whether the user has
			seen = 1
			continue
		}
		if had, ok := on[s.text]; ok && had != s.answer {
			o.violated("I2: two answers on %s: %q and %q", s.text, had, s.answer)
		}
		on[s.text] = s.answer
		if lost[s.text] {
			most = len(o.shows)
		}
		if o.sim.replayed(s.text) { // a replay looks as if WeChat had not got the answer
			most++
		}
	}
	most += o.redrives(mark, letters)
	if o.sim.unknown == UnknownOnce {
		most *= 2
	}
	if len(on) > most {
		o.violated("I2: the answer to %s was given on %d messages: %q", text, len(on), on)
	}
	return max(len(on), seen)
}

// append writes a delivery to the log, and notes its place.
func (s *sim) append(in *messages.Inbound, slot *messages.Slot, waited time.Duration) error {
	return s.appendEntry(&messages.Entry{Inbound: in, Slot: slot, WaitedMs: int32(waited.Milliseconds())}, "")
}

// appendEntry does so with any entry. letter is the one that it re-drives.
func (s *sim) appendEntry(e *messages.Entry, letter string) error {
	s.watch.mu.Lock()
	defer s.watch.mu.Unlock()
	in := e.GetInbound()
	user := messages.User{Account: in.GetAccount(), OpenID: in.GetOpenId()}
	pos, err := s.log.Accept(s.t.Context(), e)
	if err != nil {
		return err
	}
	text := in.GetMsgId()
	if e.GetSource() != messages.Source_SOURCE_CALLBACK {
		text = "" // no delivery of the message
	}
	s.note("logged", "message", in.GetMsgId(), "user", user.OpenID, "source", e.GetSource(), "sequence", pos.Sequence,
		"slot", fmt.Sprint(e.GetSlot().GetIngress(), "/", e.GetSlot().GetId()))
	s.watch.entries = append(s.watch.entries, logged{
		text: text, partition: user.Partition(s.partitions), sequence: pos.Sequence, letter: letter,
	})
	return nil
}

func count(texts []string, text string) (n int) {
	for _, t := range texts {
		if t == text {
			n++
		}
	}
	return n
}

// journal collects what happened, for the seed that is run alone.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}
