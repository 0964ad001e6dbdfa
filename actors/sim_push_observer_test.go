package actors

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"hongyan/conversation"
	"hongyan/messages"
	"hongyan/state"
)

// pushes is what the witness knows of the way through WeChat's API; the observer's lock guards it.
type pushes struct {
	shown   []pushedText
	calls   map[int]*apiCall
	path    map[string]bool // texts whose path was push before their answer
	letters map[string]bool // ids of the letters that were re-driven
	again   map[string]int  // by text: re-driven letters without an answer, which are turns
	cut     map[string]bool // ids of letters whose re-drive the log lost
}

// pushedText is one message that WeChat showed by push.
type pushedText struct {
	call       int
	user, text string
	at         time.Time
}

// apiCall is one call that may have reached WeChat.
type apiCall struct {
	user, text string
	told       bool // the node that made it was told what became of it
}

func newPushes() pushes {
	return pushes{calls: make(map[int]*apiCall), path: make(map[string]bool), letters: make(map[string]bool), again: make(map[string]int),
		cut: make(map[string]bool)}
}

func (o *observer) calling(call int, user, text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pushes.calls[call] = &apiCall{user: user, text: text}
}

func (o *observer) told(call int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pushes.calls[call].told = true
}

func (o *observer) pushed(call int, user, text string, at time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sim.note("pushed", "user", user, "answer", text, "call", call)
	o.pushes.shown = append(o.pushes.shown, pushedText{call: call, user: user, text: text, at: at})
}

func (o *observer) redriven(letter, text string, isTurn bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sim.note("re-driven", "letter", letter, "message", text)
	if isTurn && !o.pushes.letters[letter] {
		o.pushes.again[text]++
	}
	o.pushes.letters[letter] = true
}

// marks are the answers that the bot gives to a text: strings that stand in nothing else.
func (s *sim) marks(text string) []string {
	out := []string{"re: " + text}
	for i := 1; i < s.mood(text).answers; i++ {
		out = append(out, fmt.Sprintf("nr%d: %s", i+1, text))
	}
	return out
}

// notePaths sees that the path of messages became push before their answers were there (rule 14).
func (o *observer) notePaths(rec state.Record) {
	if rec.Version == (state.Version{}) {
		return
	}
	st, err := conversation.Decode(rec.Value)
	if err != nil {
		return // noted elsewhere
	}
	for _, p := range st.Pushes {
		if text := o.texts[p.Key]; text != "" && !p.Answered && !o.pushes.path[text] {
			o.sim.note("path is push", "message", text)
			o.pushes.path[text] = true
		}
	}
}

// onePath: a message whose exchange was ended because its answer will be pushed gets no answer passively.
func (o *observer) onePath(in *messages.Inbound, answer string) {
	if o.pushes.path[in.GetMsgId()] && !o.sim.failedOver.Load() {
		o.violated("rule 14: %s was to be answered by push and got %q", in.GetMsgId(), answer)
	}
}

// redrives is how many letters with the mark were re-driven.
func (o *observer) redrives(mark string, letters map[string]*messages.DeadLetter) (n int) {
	for id, l := range letters {
		carries := strings.Contains(l.GetAnswer().GetText().GetContent(), mark)
		turns := l.GetAnswer() == nil && strings.HasSuffix(mark, ": "+l.GetInbound().GetMsgId())
		if o.pushes.letters[id] && (carries || turns) {
			n++
		}
	}
	return n
}

// uncertain tells whether nobody was told of a call with the mark that may have reached WeChat.
func (o *observer) uncertain(mark string) bool {
	for _, c := range o.pushes.calls {
		if !c.told && strings.Contains(c.text, mark) {
			return true
		}
	}
	return false
}

// effect is one answer with a mark as the user saw it.
type effect struct {
	at   time.Time
	push bool
	on   string
}

// effects are those of a mark, the earliest first.
func (o *observer) effects(mark string) (out []effect) {
	for _, s := range o.shows {
		if strings.Contains(s.answer, mark) && !s.replay {
			out = append(out, effect{at: s.at, on: s.text})
		}
	}
	for _, p := range o.pushes.shown {
		if strings.Contains(p.text, mark) {
			out = append(out, effect{at: p.at, push: true, on: p.text})
		}
	}
	slices.SortStableFunc(out, func(a, b effect) int { return a.at.Compare(b.at) })
	return out
}

// checkPushOrder compares what a user saw with the order of the turns, part by part (rule 15).
func (o *observer) checkPushOrder(order []string, lost map[string]bool, letters map[string]*messages.DeadLetter) {
	var last effect
	lastMark := ""
	for _, text := range order {
		for _, mark := range o.sim.marks(text) {
			if lost[text] || o.refused[text] || o.late[text] || o.sim.replayed(text) || o.uncertain(mark) || o.redrives(mark, letters) > 0 {
				continue // nobody knew, in time, of a delivery or a call that carried it
			}
			all := o.effects(mark)
			if len(all) == 0 || lost[all[0].on] || o.refused[all[0].on] || o.late[all[0].on] || !all[0].push && o.sim.replayed(all[0].on) {
				continue
			}
			if all[0].at.Before(last.at) {
				o.violated("I3: the answer %q came before %q", mark, lastMark)
			}
			last, lastMark = all[0], mark
		}
	}
}

// checkPart counts how often the user saw a part of an answer, and looks for one that nobody saw (rules 14, 16 and 19).
func (o *observer) checkPart(text, mark, kept, buried string, lost map[string]bool, letters map[string]*messages.DeadLetter) {
	most, on := 1+o.redrives(mark, letters), make(map[string]bool)
	if o.sim.unknown == UnknownOnce {
		most *= 2
	}
	for i, e := range o.effects(mark) {
		name := e.on
		if e.push {
			name = fmt.Sprint("push ", i)
		}
		if !e.push && !on[name] {
			switch {
			case lost[e.on]:
				most += len(o.shows) + len(o.pushes.shown)
			case o.sim.replayed(e.on):
				most++
			}
		}
		on[name] = true
	}
	if lost[text] {
		return
	}
	if len(on) > most {
		o.violated("I2: the answer %q was given %d times, of %d at most: %v", mark, len(on), most, on)
	}
	excused := (o.refused[text] || o.late[text] || o.sim.replayed(text)) && !o.pushes.path[text]
	if len(on) == 0 && !excused && !strings.Contains(kept, mark) && !strings.Contains(buried, mark) {
		o.violated("I5: the answer %q was neither delivered nor kept nor buried", mark)
	}
	o.checkRedriven(mark, kept, lost, letters)
}

// checkRedriven: the answer of a letter that an entry took up comes to an end once more.
func (o *observer) checkRedriven(mark, kept string, lost map[string]bool, letters map[string]*messages.DeadLetter) {
	var taken time.Time
	for id, l := range letters {
		if !strings.Contains(l.GetAnswer().GetText().GetContent(), mark) {
			continue
		}
		switch r := l.GetRedriven(); {
		case r == nil && o.pushes.letters[id] && !o.pushes.cut[id]:
			o.violated("rule 19: letter %s with %q was re-driven, and no entry took it up", id, mark)
		case r == nil, o.pushes.cut[id]:
			return
		default:
			if at := time.UnixMilli(r.GetAtMs()); at.After(taken) {
				taken = at
			}
		}
	}
	if taken.IsZero() || strings.Contains(kept, mark) {
		return
	}
	all := o.effects(mark)
	if len(all) == 0 || all[len(all)-1].at.Before(taken.Add(-2*time.Second)) {
		for _, e := range all {
			if lost[e.on] || o.refused[e.on] {
				return
			}
		}
		o.violated("rule 19: a letter with %q was taken up at %v, and nothing came of it", mark, taken)
	}
}

// audit compares, once all is quiet, what the records need with what the due index has, and looks for what is stuck (rule 18).
func (o *observer) audit(where string) {
	if !o.settled() {
		return
	}
	records := o.sim.store.Records()
	o.mu.Lock()
	defer o.mu.Unlock()
	rows, now := make(map[messages.User]int64), time.Now()
	for key, rec := range records {
		if key.User.Account != messages.DueShard(0).Account || key.IsCheckpoint() {
			continue
		}
		found, err := decodeDue(rec.Value)
		if err != nil {
			o.violated("rule 18: %s: %v", key, err)
		}
		cp, err := decodeCheckpoint(records[state.Checkpoint(key.Partition)].Value)
		for shard := range dueShards {
			if key.User == messages.DueShard(shard) && (err != nil || cp.Due&(1<<shard) == 0) {
				found = nil // nobody would read it
			}
		}
		for _, r := range found {
			rows[messages.User{Account: r.Account, OpenID: r.OpenID}] = r.DueMS
		}
	}
	_, lost := o.positions()
	for key, rec := range records {
		if key.IsCheckpoint() || key.User.Reserved() {
			continue
		}
		st, err := conversation.Decode(rec.Value)
		if err != nil {
			continue // noted when it was committed
		}
		o.auditUser(where, key.User, st, rows, now, lost)
	}
}

// overdue is how long after its time something may still stand in a record: clocks differ by two seconds, a wake-up is looked at every
// second, and one that got lost is written again after a minute.
const overdue = wakeAgain + 15*time.Second

func (o *observer) auditUser(
	where string, user messages.User, st conversation.State, rows map[messages.User]int64, now time.Time, lost map[string]bool,
) {
	for _, p := range st.Pushes {
		if !lost[o.texts[p.Key]] {
			o.violated("%s: rule 18: the push of %q is stuck: answered %v, sending %v, %d parts", where, o.texts[p.Key], p.Answered,
				p.Sending, len(p.Parts))
		}
	}
	if len(st.Burials) > 0 {
		o.violated("%s: rule 19: %s has %d dead letters that were not published", where, user.OpenID, len(st.Burials))
	}
	due := st.Due(o.sim.limits(user.Account))
	if due.IsZero() {
		return
	}
	if row, ok := rows[user]; !ok || row > due.UnixMilli() {
		o.violated("%s: rule 18: %s must be looked at at %v, and its row says %v (%v)", where, user.OpenID, due, time.UnixMilli(row), ok)
	}
	if now.Sub(due) > overdue {
		o.violated("%s: rule 18: %s should have been looked at at %v, now it is %v", where, user.OpenID, due, now)
	}
}
