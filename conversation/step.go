package conversation

import (
	"maps"
	"slices"
	"time"

	"hongyan/messages"
	"hongyan/wechat"
)

// Arrival is one log entry of this user as it comes up.
type Arrival struct {
	Key        messages.Key
	At         messages.Position
	LogTime    time.Time
	CreateTime int64 // Unix seconds on WeChat's clock; 0: the log time stands for it
	Late       bool  // no exchange waits for the answer, nor ever will: a dead letter that is re-driven
}

// created is when the message was written, as far as anybody knows: in Unix seconds, and the same for each of its deliveries.
func (a Arrival) created() int64 {
	if a.CreateTime <= 0 {
		return a.LogTime.Unix()
	}
	return a.CreateTime
}

// Class says what an arrival is to the state.
type Class uint8

// The classes.
const (
	Fresh    Class = iota // a message that was never committed
	Known                 // its outcome is recorded
	Expired               // applied so long ago that its key was rightly forgotten: nothing is left to do
	Lost                  // at or below the last applied position, and its key ought to be known: a dead letter, never a silent skip
	Doubtful              // new by its place, but so old that its key may have been forgotten early: a dead letter, never a second turn
)

// Classify sorts an arrival (DESIGN §3 rules 2, 4 and 10). now is the present on the log's clock.
func (s State) Classify(a Arrival, limits Limits, now time.Time) (Class, messages.Outcome) {
	if k, ok := s.Keys.Find(a.Key); ok {
		return Known, k.Outcome
	}
	if o, ok := s.underWay(a.Key); ok {
		return Known, o
	}
	if !s.hasPassed(a) {
		if s.HorizonMS > 0 && a.created()*1000 <= s.HorizonMS+s.AheadS*1000 {
			return Doubtful, 0
		}
		return Fresh, 0
	}
	if a.LogTime.UnixMilli() <= s.HorizonMS {
		return Lost, 0
	}
	if now.Sub(a.LogTime) > limits.KeyRetention {
		return Expired, 0
	}
	return Lost, 0
}

// underWay finds a committed message whose end is not settled: it is known for as long as that takes, whatever its ring of keys had
// to forget (DESIGN §3 rule 10).
func (s State) underWay(key messages.Key) (messages.Outcome, bool) {
	if p, ok := s.Pushing(key); ok && p.Answered {
		return messages.Outcome_OUTCOME_ANSWERED, true
	}
	if _, ok := s.Recorded(key); ok || s.IsKept(key) {
		return messages.Outcome_OUTCOME_ANSWERED, true
	}
	for _, b := range s.Burials {
		if b.Key == key {
			return messages.Outcome_OUTCOME_DEAD, true
		}
	}
	return 0, false
}

// Said is what the bots made of a message.
type Said struct {
	Answers []*messages.Answer // in order; none: deliberate silence
	Session map[string]string  // values to set; an empty one removes its key

	Forget   bool     // the conversation starts afresh behind this message
	Tokens   int64    // model tokens that the turn cost
	Upstream Upstream // how the remote bots fared
}

// Step is a committed turn's effect outside the state.
type Step struct {
	Outcome messages.Outcome
	Reply   *messages.Answer // what the open exchange gets; nil is `success`
	Push    bool             // the answer leaves through WeChat's API: Pushing has its parts, and every exchange gets `success`
}

// Turn applies one message and what was said to it. The answers that were kept for this occasion go in front of the new one;
// what WeChat's one reply cannot hold is kept for the next occasion (DESIGN §3 rules 15 and 18).
//
// The returned state is what must be committed before Step.Reply is offered to anybody.
func (s State) Turn(in *messages.Inbound, a Arrival, said Said, limits Limits, now time.Time) (State, Step, error) {
	said.Answers = said.shown(in, limits)
	next := s.expireAnswers(limits, now)
	// Answers leave in order, so whatever was recorded before this turn has been written, kept or buried (DESIGN §3 rule 15). Its
	// mark may have been lost with an activation that wrote nothing after it.
	next = next.settleAll().recall(limits, now)
	next = next.fared(said.Upstream, limits, now).spend(said.Tokens, now)
	if slices.ContainsFunc(said.Answers, func(a *messages.Answer) bool { return a.GetTransfer() != nil }) || !next.owesHandOver(limits, now) {
		next.HandOver = nil
	}
	if said.Forget {
		next = next.afresh(said, now)
	} else {
		next = next.converse(in, said, limits, now)
	}
	next = next.apply(a).granted(in.GetKind(), a, now)
	next.Counts.Turns++
	switch in.GetKind() {
	case messages.Kind_KIND_SUBSCRIBE:
		next.Follows = FollowsYes
	case messages.Kind_KIND_UNSUBSCRIBE:
		next.Follows = FollowsNo
	default:
	}

	if !in.GetKind().Repliable() {
		next = next.unmark(a.Key)
		next.Counts.Silent++
		return next.remember(a, messages.Outcome_OUTCOME_SILENT, limits, now), Step{Outcome: messages.Outcome_OUTCOME_SILENT}, nil
	}
	return next.answer(a, said.Answers, limits, now)
}

// answer decides how the answers of a turn leave, and remembers the message.
func (s State) answer(a Arrival, answers []*messages.Answer, limits Limits, now time.Time) (State, Step, error) {
	next, reply, repeat, err := s.compose(a, answers, limits, now)
	if err != nil {
		return s, Step{}, err
	}
	step := Step{Outcome: messages.Outcome_OUTCOME_ANSWERED, Reply: reply}
	switch p, pushing := next.Pushing(a.Key); {
	case pushing && p.Answered:
		step.Push = true
	case reply != nil:
		blob, err := Seal(reply)
		if err != nil {
			return s, Step{}, err
		}
		next.Answers = append(slices.Clip(next.Answers), Recorded{Key: a.Key, Answer: blob, AtMS: now.UnixMilli(), Repeat: repeat, At: a.At})
	case len(answers) > 0 && len(next.Kept) > 0: // it waits for its occasion
	default:
		step.Outcome = messages.Outcome_OUTCOME_SILENT
		next.Counts.Silent++
		return next.remember(a, step.Outcome, limits, now), step, nil
	}
	next.Counts.Answered++
	return next.remember(a, step.Outcome, limits, now), step, nil
}

// shown are the answers that WeChat would show. An ingress would refuse the others, and all that is kept behind them, for ever.
func (said Said) shown(in *messages.Inbound, limits Limits) []*messages.Answer {
	if !in.GetKind().Repliable() {
		return nil
	}
	answers, _ := Bounded(said.Answers)
	return slices.DeleteFunc(slices.Clone(answers), func(a *messages.Answer) bool {
		return !wechat.Shows(a) || !limits.Push && !wechat.Passive(a)
	})
}

// Delivered notes that the recorded answer of key was written. It needs no commit of its own: the partition's checkpoint
// holds the fact, and the next commit writes it down.
func (s State) Delivered(key messages.Key) State {
	s.Answers = slices.Clone(s.Answers)
	for i := range s.Answers {
		if s.Answers[i].Key == key {
			s.Answers[i].Settled = true
		}
	}
	return s
}

// Assume notes that the recorded answer of key counts as delivered, since WeChat did not ask for it again after the delivery that the
// log took at last. The result must be committed before the message is settled: the next owner must know, should WeChat ask later.
func (s State) Assume(key messages.Key, last time.Time) State {
	s = s.Delivered(key)
	for i := range s.Answers {
		if s.Answers[i].Key == key {
			s.Answers[i].AssumedMS = last.UnixMilli()
		}
	}
	return s
}

// Certain notes that the recorded answer of key was written for sure.
func (s State) Certain(key messages.Key) State {
	s = s.Delivered(key)
	for i := range s.Answers {
		if s.Answers[i].Key == key {
			s.Answers[i].AssumedMS = 0
		}
	}
	return s
}

// settleAll marks every recorded answer as delivered.
func (s State) settleAll() State {
	s.Answers = slices.Clone(s.Answers)
	for i := range s.Answers {
		s.Answers[i].Settled = true
	}
	return s
}

// Keep moves the recorded answer of key, which found no open exchange, to the answers that wait for the user's next message.
// repeat says that its delivery is unknown rather than refused. The result must be committed before the message is settled.
func (s State) Keep(key messages.Key, repeat bool, limits Limits, now time.Time) State {
	r, ok := s.Recorded(key)
	if !ok {
		return s
	}
	s.Answers = without(s.Answers, key)
	// What else is kept is the rest of this very reply, or was said later: the reply goes in front.
	kept := Kept{Key: key, Answer: withoutHint(r.Answer, limits), AtMS: now.UnixMilli(), Repeat: repeat || r.Repeat}
	s.Kept = append([]Kept{kept}, s.Kept...)
	s.Counts.Kept++
	return s.boundKept(limits, now)
}

// Abandon gives up the recorded answer of key: it becomes a dead letter with the answer in it. The message keeps its outcome.
func (s State) Abandon(key messages.Key, reason, detail string, now time.Time) State {
	r, ok := s.Recorded(key)
	if !ok {
		return s
	}
	s.Answers = without(s.Answers, key)
	return s.bury(Burial{Key: key, Reason: reason, Detail: detail, Answer: r.Answer, AtMS: now.UnixMilli()})
}

// bury adds a dead letter that is to be published once the state is committed.
func (s State) bury(b Burial) State {
	s.Counts.Dead++
	b.Number = s.Counts.Dead
	s.Burials = append(slices.Clip(s.Burials), b)
	return s
}

// Bury ends a message as a dead letter without a turn. inOrder says that the message's turn in the queue has come, so that it
// moves the last applied position; otherwise it is recorded by key alone (DESIGN §3 rule 2). The result must be committed,
// then the burial published, then the message settled.
func (s State) Bury(a Arrival, inOrder bool, reason, detail string, limits Limits, now time.Time) State {
	if inOrder {
		s = s.apply(a)
	}
	s = s.bury(Burial{Key: a.Key, Reason: reason, Detail: detail, AtMS: now.UnixMilli()})
	return s.remember(a, messages.Outcome_OUTCOME_DEAD, limits, now)
}

// Published forgets a burial whose dead letter is in the log of dead letters.
func (s State) Published(number uint64) State {
	s.Burials = slices.DeleteFunc(slices.Clone(s.Burials), func(b Burial) bool { return b.Number == number })
	return s
}

// FloodNoticeEvery is how often at most a flooding user is told of it.
const FloodNoticeEvery = time.Minute

// Notice tells whether the user may be told now that messages are dropped, and notes that it is done: the state must be committed
// before the notice goes out, so that neither a replay nor the next owner gives it again. The clocks of two owners may differ, so a
// notice of the near future counts too.
func (s State) Notice(now time.Time) (State, bool) {
	if since := now.Sub(time.UnixMilli(s.NoticedMS)); since.Abs() < FloodNoticeEvery {
		return s, false
	}
	s.NoticedMS = now.UnixMilli()
	return s, true
}

// Drop records messages that a flooding user sent beyond the queue. They are recorded by key alone.
func (s State) Drop(dropped []Arrival, limits Limits, now time.Time) State {
	for _, a := range dropped {
		s.Counts.Dropped++
		s = s.remember(a, messages.Outcome_OUTCOME_DROPPED_FLOOD, limits, now)
	}
	return s
}

// Limited is a message over a rate.
type Limited struct {
	Arrival
	Kind messages.Kind
}

// Limit records messages that came over a rate, by key alone. They were written all the same: each opens its grant.
func (s State) Limit(limited []Limited, limits Limits, now time.Time) State {
	for _, l := range limited {
		s.Counts.Limited++
		s = s.granted(l.Kind, l.Arrival, now).remember(l.Arrival, messages.Outcome_OUTCOME_LIMITED, limits, now)
	}
	return s
}

// remember records the key, and forgets the keys and answers whose time is over.
func (s State) remember(a Arrival, o messages.Outcome, limits Limits, now time.Time) State {
	s = s.unmark(a.Key)
	keys := s.Keys.with(KnownKey{Key: a.Key, Outcome: o, LogTime: a.LogTime})
	keys, horizon := keys.trimmed(a.LogTime.Add(-limits.KeyRetention))
	s.Keys = keys
	s.AheadS = max(s.AheadS, a.created()-a.LogTime.Unix())
	if ms := horizon.UnixMilli(); !horizon.IsZero() && ms > s.HorizonMS {
		s.HorizonMS = ms + time.Second.Milliseconds() - 1 // key times are whole seconds: cover the rest of it
	}
	s.Answers = recentAnswers(s.Answers, now)
	return s
}

// recentAnswers keeps unsettled answers, and of the others the newest few within AnswerRetention.
func recentAnswers(all []Recorded, now time.Time) []Recorded {
	settled := 0
	for _, r := range all {
		if r.Settled {
			settled++
		}
	}
	cutoff := now.Add(-AnswerRetention).UnixMilli()
	return slices.DeleteFunc(slices.Clone(all), func(r Recorded) bool {
		if !r.Settled {
			return false
		}
		drop := settled > settledAnswers || r.AtMS < cutoff
		settled--
		return drop
	})
}

func without(all []Recorded, key messages.Key) []Recorded {
	return slices.DeleteFunc(slices.Clone(all), func(r Recorded) bool { return r.Key == key })
}

// converse adds the message and its answer to the conversation, within its bounds. An event that nobody answered is no part of
// it: a phone that reports its place every five seconds would push everything else out.
func (s State) converse(in *messages.Inbound, said Said, limits Limits, now time.Time) State {
	if in.GetKind().IsEvent() && len(said.Answers) == 0 && len(said.Session) == 0 {
		return s
	}
	turns := slices.Clip(s.History(limits, now))
	session := s.SessionAt(limits, now)
	ms := now.UnixMilli()
	turns = append(turns, Turn{Role: RoleUser, Kind: int32(in.GetKind()), Text: Describe(in), AtMS: ms})
	for _, answer := range said.Answers {
		turns = append(turns, Turn{Role: RoleBot, Text: clipped(DescribeAnswer(answer), limits.MaxBytes/2), AtMS: ms})
	}
	s.Turns = boundTurns(turns, limits)
	s.LastMS = ms
	s.Session = patched(session, said.Session)
	return s
}

// clipped is the beginning of a text that is longer than size bytes: one long answer must not push the whole conversation out.
func clipped(text string, size int) string {
	if len(text) <= size {
		return text
	}
	head, _ := wechat.CutText(text, size-len("…"))
	return head + "…"
}

// afresh forgets the conversation and what the bots noted in it. The message that asked for that is no part of the new one.
func (s State) afresh(said Said, now time.Time) State {
	s.Turns, s.Session, s.LastMS = nil, patched(nil, said.Session), now.UnixMilli()
	return s
}

// boundTurns drops the oldest utterances beyond the bounds; a bot's answer never stands first, without its question.
func boundTurns(turns []Turn, limits Limits) []Turn {
	size := 0
	from := len(turns)
	for from > 0 {
		size += len(turns[from-1].Text)
		if len(turns)-from+1 > limits.MaxTurns || size > limits.MaxBytes {
			break
		}
		from--
	}
	for from < len(turns) && turns[from].Role != RoleUser {
		from++
	}
	return turns[from:]
}

func patched(session, patch map[string]string) map[string]string {
	if len(patch) == 0 {
		return session
	}
	out := maps.Clone(session)
	if out == nil {
		out = make(map[string]string, len(patch))
	}
	for k, v := range patch {
		if v == "" {
			delete(out, k)
		} else {
			out[k] = v
		}
	}
	return out
}
