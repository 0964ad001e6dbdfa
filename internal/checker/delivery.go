package checker

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"hongyan/wechat/simulator"
)

// Via is the way on which an answer reached its user.
type Via string

// The ways: in the reply to a delivery, or as a customer-service message.
const (
	ViaPassive Via = "passive"
	ViaCustom  Via = "custom"
)

// Sight is one answer at the moment at which its user's phone showed it.
type Sight struct {
	Name     string // in 《》
	Via      Via
	At       time.Time
	MsgID    string // passive: of the message whose delivery brought it
	Delivery int    // passive: the number of that delivery
	place    int    // among the answers of one text
	seq      uint64 // of the witness's record
}

// Asked is one question, what the platform tells of it, and where its answers were seen.
type Asked struct {
	Told

	Name     string
	Pushed   time.Time
	Seen     []Sight // in the order in which the phone showed them
	Thinking bool    // a delivery got the text that says so
}

// After is how long after the question its first answer was seen; 0 where none was.
func (a *Asked) After() time.Duration {
	if len(a.Seen) == 0 {
		return 0
	}
	return a.Seen[0].At.Sub(a.Pushed)
}

// Ways says on which ways the answers came, such as "passive 2" for the second delivery, for people and for comparison.
func (a *Asked) Ways() string {
	var ways []string
	for _, s := range a.Seen {
		switch {
		case s.Via == ViaCustom:
			ways = append(ways, "custom")
		case s.MsgID != a.MsgID:
			ways = append(ways, "with another message")
		default:
			ways = append(ways, fmt.Sprintf("passive %d", s.Delivery))
		}
	}
	return strings.Join(ways, ", ")
}

// Delivery is what became of questions whose answers may leave on any way.
type Delivery struct {
	Violations []string
	Asked      map[string]*Asked // by name
	Answers    int               // seen, by whatever way
	Unknown    int               // answers that were not seen and are listed as unknown
	Banners    int
}

func (d *Delivery) String() string {
	ways := map[Via]int{}
	for _, a := range d.Asked {
		for _, s := range a.Seen {
			ways[s.Via]++
		}
	}
	return fmt.Sprintf("%d questions, %d answers seen (%d passive, %d customer service), %d unknown, %d banners; violations %d",
		len(d.Asked), d.Answers, ways[ViaPassive], ways[ViaCustom], d.Unknown, d.Banners, len(d.Violations))
}

func (d *Delivery) fault(format string, args ...any) {
	d.Violations = append(d.Violations, fmt.Sprintf(format, args...))
}

// Expect are the names of the answers that a question must get, in order.
type Expect func(question string) []string

// OneAnswer expects of every question its own name.
func OneAnswer(question string) []string { return []string{question} }

// Deliveries decides, for answers that leave as passive replies and through the API alike, from the witness alone: each expected answer was
// seen exactly once, or is listed in unknown (dead letters whose delivery nobody knows, by answer) and was seen once at most; the answers of
// a user came in the order of his questions; nobody saw the fault banner; nothing was seen that nobody asked for.
func Deliveries(records []simulator.Record, expect Expect, unknown map[string]bool) *Delivery {
	d := &Delivery{Asked: make(map[string]*Asked)}
	told, _ := Tell(records)
	users := make(map[string][]*Asked)
	for _, m := range told {
		if m.Text == "" || !strings.HasPrefix(m.Text, Question("")) {
			continue
		}
		a := &Asked{Told: *m, Name: Name(m.Text)}
		if d.Asked[a.Name] != nil {
			d.fault("two questions have the name %s: this test cannot tell their answers apart", a.Name)
		}
		d.Asked[a.Name] = a
		users[m.OpenID] = append(users[m.OpenID], a)
	}
	seen := make(map[string][]Sight) // by user, in the order of the platform
	for _, r := range records {
		if r.Kind == simulator.RecordPush {
			if a := d.Asked[Name(r.Content)]; a != nil {
				a.Pushed = r.At
			}
		}
		d.look(r, seen)
	}
	for openID, asked := range users {
		d.judge(asked, seen[openID], expect, unknown)
	}
	return d
}

// look takes what a record shows a user.
func (d *Delivery) look(r simulator.Record, seen map[string][]Sight) {
	if r.Kind == simulator.RecordEnd && r.Banner {
		d.Banners++
		d.fault("user %s saw the fault banner: %s %s", r.OpenID, r.Outcome, r.Detail)
	}
	via := ViaCustom
	if r.Kind == simulator.RecordReceived && r.Outcome == simulator.OutcomeAnswered {
		via = ViaPassive
	} else if r.Kind != simulator.RecordCustom {
		return
	}
	if r.Answer.Content == ThinkingText {
		for _, a := range d.Asked {
			a.Thinking = a.Thinking || a.MsgID == r.MsgID && a.OpenID == r.OpenID
		}
	}
	for place, found := range answerName.FindAllStringSubmatch(r.Answer.Content, -1) {
		seen[r.OpenID] = append(seen[r.OpenID], Sight{
			Name: found[1], Via: via, At: r.At, MsgID: r.MsgID, Delivery: r.Number, place: place, seq: r.Seq,
		})
	}
}

// judge looks at one user.
func (d *Delivery) judge(asked []*Asked, seen []Sight, expect Expect, unknown map[string]bool) {
	slices.SortStableFunc(seen, func(a, b Sight) int { return cmp.Or(cmp.Compare(a.seq, b.seq), cmp.Compare(a.place, b.place)) })
	slices.SortStableFunc(asked, func(a, b *Asked) int { return a.Pushed.Compare(b.Pushed) })
	at := make(map[string]int) // place among what is expected
	times := make(map[string]int)
	for _, a := range asked {
		for _, name := range expect(a.Name) {
			at[name] = len(at)
			for _, s := range seen {
				if s.Name == name {
					a.Seen = append(a.Seen, s)
					times[name]++
				}
			}
			switch n := times[name]; {
			case n == 1:
				d.Answers++
			case n > 1:
				d.Answers++
				d.fault("answer %s was seen %d times: %s", name, n, a.Ways())
			case unknown[name]:
				d.Unknown++
			default:
				d.fault("answer %s was never seen, and no dead letter says that nobody knows: %s", name, ends(a))
			}
		}
	}
	for i, s := range seen {
		if _, ok := at[s.Name]; !ok {
			d.fault("user %s saw %s, which nobody asked for", asked[0].OpenID, s.Name)
			continue
		}
		if i > 0 && at[s.Name] < at[seen[i-1].Name] && !together(seen[i-1], s) {
			d.fault("user %s saw %s before %s, %v earlier (%s, %s)", asked[0].OpenID, seen[i-1].Name, s.Name, s.At.Sub(seen[i-1].At), seen[i-1].Via, s.Via)
		}
	}
}

// together tells whether the platform itself may have noted the two the other way round: the moment of a passive reply is that at which
// its goroutine read it, not the one at which it was written. Two customer-service messages are noted in their own order.
func together(a, b Sight) bool {
	return a.Via != b.Via && b.At.Sub(a.At) < starved || a.Via == ViaPassive && b.Via == ViaPassive && b.At.Sub(a.At) < starved && a.MsgID != b.MsgID
}

// ends says how the deliveries of a message ended.
func ends(a *Asked) string {
	var out []string
	for n := 1; n <= a.Last; n++ {
		out = append(out, fmt.Sprintf("delivery %d %s", n, a.Received[n].Outcome))
	}
	return strings.Join(out, ", ")
}
