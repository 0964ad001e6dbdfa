package chaos

import (
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"sync"
	"time"

	"hongyan/internal/checker"
	"hongyan/messages"
	"hongyan/wechat/simulator"
)

// platformLog is the platform's own log of a leg. It is the simulator's WitnessWriter: every record comes here in order, and goes
// to a file as evidence.
type platformLog struct {
	partitions int
	file       io.Writer

	mu      sync.Mutex
	records []simulator.Record
	pushed  int
	open    map[string]time.Time // when messages without an end were pushed, by OpenID and MsgId
	banners int
}

func newPlatformLog(partitions int, file io.Writer) *platformLog {
	return &platformLog{partitions: partitions, file: file, open: map[string]time.Time{}}
}

// Write takes one record as a line of JSON.
func (l *platformLog) Write(line []byte) (int, error) {
	var r simulator.Record
	if err := json.Unmarshal(line, &r); err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records = append(l.records, r)
	id := r.OpenID + "/" + r.MsgID
	switch r.Kind {
	case simulator.RecordPush:
		l.pushed++
		l.open[id] = r.At
	case simulator.RecordEnd:
		delete(l.open, id)
		if r.Banner {
			l.banners++
		}
	default:
	}
	return l.file.Write(line)
}

// forget begins a new leg: nothing may be under way.
func (l *platformLog) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records, l.pushed, l.banners = nil, 0, 0
}

// all are the leg's records so far. They must not be changed.
func (l *platformLog) all() []simulator.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.records[:len(l.records):len(l.records)]
}

// counts are the messages pushed, those without an end, and the banners.
func (l *platformLog) counts() (pushed, open, banners int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pushed, len(l.open), l.banners
}

// endedUntil tells whether every message that was pushed until an instant has an end.
func (l *platformLog) endedUntil(until time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, pushed := range l.open {
		if pushed.Before(until) {
			return false
		}
	}
	return true
}

// answered is one message that came to its answer.
type answered struct {
	partition     int
	host          string // that the answering delivery went to
	first         string // that its first delivery went to
	pushed, at    time.Time
	deliveries    int
	deliveredFrom time.Time // when the answering delivery began
}

var ownAnswer = regexp.MustCompile(`《[^》]*》`)

// answers are the messages with an answer among the records from an index on, as far as they were pushed in these records, too.
func (l *platformLog) answers(from int) (out []answered) {
	type begun struct {
		pushed, sent time.Time
		first        string
	}
	under := make(map[string]*begun)
	for _, r := range l.all()[from:] {
		id := r.OpenID + "/" + r.MsgID
		b := under[id]
		switch {
		case r.Kind == simulator.RecordPush:
			under[id] = &begun{pushed: r.At}
		case b == nil:
		case r.Kind == simulator.RecordSent:
			b.sent = r.At
			if r.Number == 1 {
				b.first = r.Host
			}
		case r.Kind == simulator.RecordReceived && r.Outcome == simulator.OutcomeAnswered && ownAnswer.MatchString(r.Answer.Content):
			out = append(out, answered{
				partition: partitionOf(r.OpenID, l.partitions), host: r.Host, first: b.first,
				pushed: b.pushed, at: r.At, deliveries: r.Number, deliveredFrom: b.sent,
			})
		}
	}
	return out
}

func partitionName(p int) string { return fmt.Sprintf("partition %d", p) }

// userPartition is the partition of a user of any account.
func userPartition(account, openID string) int {
	return messages.User{Account: account, OpenID: openID}.Partition(partitions)
}

func partitionOf(openID string, partitions int) int {
	return messages.User{Account: "demo", OpenID: openID}.Partition(partitions)
}

// mark is an instant of the leg: its time, and how many records were there.
type mark struct {
	at    time.Time
	index int
}

func (l *platformLog) mark() mark {
	l.mu.Lock()
	defer l.mu.Unlock()
	return mark{at: time.Now(), index: len(l.records)}
}

// resumed is how long after the mark every partition and every one of the hosts had answered a message that was pushed after it; ok
// is false while one has not. missing names them.
func (l *platformLog) resumed(since mark, hosts []string) (after time.Duration, missing []string, ok bool) {
	first := make(map[string]time.Time)
	note := func(what string, at time.Time) {
		if was, ok := first[what]; !ok || at.Before(was) {
			first[what] = at
		}
	}
	for _, a := range l.answers(since.index) {
		note(partitionName(a.partition), a.at)
		note(a.host, a.at)
	}
	wanted := slices.Clone(hosts)
	for p := range l.partitions {
		wanted = append(wanted, partitionName(p))
	}
	for _, what := range wanted {
		at, ok := first[what]
		if !ok {
			missing = append(missing, what)
			continue
		}
		after = max(after, at.Sub(since.at))
	}
	return after, missing, len(missing) == 0
}

// longestWaits is, for each partition, the longest that a message waited for its answer, of those pushed between two marks.
func (l *platformLog) longestWaits(from, to mark) map[int]time.Duration {
	longest := make(map[int]time.Duration)
	for _, a := range l.answers(from.index) {
		if a.pushed.Before(to.at) {
			longest[a.partition] = max(longest[a.partition], a.at.Sub(a.pushed))
		}
	}
	return longest
}

// story is what the checker needs of the platform.
func (l *platformLog) story() checker.Story { return checker.Story{Witness: l.all()} }
