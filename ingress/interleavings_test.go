package ingress

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"hongyan/messages"
)

// plan is one random life of an exchange: what the client, the log and the owners do, and when.
type plan struct {
	patience    time.Duration // the client's
	acceptAfter time.Duration // how long the log takes
	acceptFails bool
	old         bool // a last delivery by age
	offers      []plannedOffer
}

type plannedOffer struct {
	at      time.Duration
	patient time.Duration
	answer  int // 0: bare success
	ask     bool
	wrong   bool // for another message
}

var millis = func(label string, lo, hi int) *rapid.Generator[time.Duration] {
	return rapid.Custom(func(t *rapid.T) time.Duration {
		// Instants that meet each other are the interesting ones: most draws are on a coarse grid.
		grid := rapid.SampledFrom([]int{1, 100, 100, 500}).Draw(t, label+" grid")
		return time.Duration(rapid.IntRange(lo/grid, hi/grid).Draw(t, label)*grid) * time.Millisecond
	})
}

var plans = rapid.Custom(func(t *rapid.T) plan {
	p := plan{
		patience:    millis("patience", 500, 6000).Draw(t, "patience"),
		acceptAfter: millis("accept", 0, 4000).Draw(t, "accept"),
		acceptFails: rapid.IntRange(0, 4).Draw(t, "fails") == 0,
		old:         rapid.Bool().Draw(t, "old"),
	}
	for range rapid.IntRange(1, 6).Draw(t, "offers") {
		p.offers = append(p.offers, plannedOffer{
			at:      millis("at", 0, 6000).Draw(t, "at"),
			patient: millis("patient", 1, 3000).Draw(t, "patient"),
			answer:  rapid.IntRange(0, 2).Draw(t, "answer"),
			ask:     rapid.IntRange(0, 3).Draw(t, "ask") == 0,
			wrong:   rapid.IntRange(0, 5).Draw(t, "wrong") == 0,
		})
	}
	return p
})

func (o plannedOffer) text() string {
	if o.answer == 0 {
		return ""
	}
	return fmt.Sprintf("answer-%d", o.answer)
}

// carried tells whether the client's response is the one that the offer brought.
func (o plannedOffer) carried(r result) bool {
	if r.err != nil || r.status != 200 {
		return false
	}
	if o.answer == 0 {
		return r.body == "success"
	}
	return strings.Contains(r.body, "<![CDATA["+o.text()+"]]>")
}

// life is what came of a plan.
type life struct {
	client   result
	verdicts []messages.Verdict
	final    []messages.Verdict // of the same offers, asked once more when all is over
	open     int
}

func live(t *testing.T, p plan) (out life) {
	inBubble(t, func(o *Options) { o.Accounts[0].Thinking = "still thinking" }, func(s *stage) {
		seen := make(chan *messages.Entry, 1)
		s.log.hook = func(_ context.Context, e *messages.Entry) error {
			seen <- e
			time.Sleep(p.acceptAfter)
			if p.acceptFails {
				return errors.New("no")
			}
			return nil
		}
		created := time.Now()
		if p.old {
			created = created.Add(-20 * time.Second)
		}
		client := s.deliverFor("1", created, p.patience)
		e := <-seen
		message := func(o plannedOffer) *messages.Offer {
			m := offerOf(e, o.text())
			if m.Ask = o.ask; o.wrong {
				m.Key = make([]byte, messages.KeySize)
			}
			return m
		}
		verdicts := make([]chan messages.Verdict, len(p.offers))
		for i, o := range p.offers {
			verdicts[i] = make(chan messages.Verdict, 1)
			go func() { // ends with its patience
				time.Sleep(o.at)
				ctx, cancel := context.WithTimeout(context.Background(), o.patient)
				defer cancel()
				verdicts[i] <- s.Offer(ctx, message(o)).GetVerdict()
			}()
		}
		out.client = <-client
		for _, v := range verdicts {
			out.verdicts = append(out.verdicts, <-v)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		for _, o := range p.offers {
			m := message(o)
			m.Ask = true
			if m.Answer == nil && !o.ask { // a bare question would ask about any answer: offer success once more
				m.Ask = false
			}
			out.final = append(out.final, s.Offer(context.Background(), m).GetVerdict())
		}
		out.open = s.slots.count()
	})
	return out
}

// Whatever meets whatever at whatever instant: a verdict never says more than what came to the client. On pipes, what was
// written was read, so it can be told exactly.
func TestVerdictsTellTheTruth(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		p := plans.Draw(rt, "plan")
		got := live(t, p)
		if got.open != 0 {
			rt.Errorf("%d slots stayed open", got.open)
		}
		for i, o := range p.offers {
			for when, v := range map[string]messages.Verdict{"at once": got.verdicts[i], "when all was over": got.final[i]} {
				aboutAny := o.ask && o.answer == 0 && !o.wrong
				switch {
				case v == written && o.wrong, v == written && !aboutAny && !o.carried(got.client):
					rt.Errorf("offer %d is written (%s), the client got %+v", i, when, got.client)
				case v == refused && !o.wrong && !o.ask && o.carried(got.client):
					rt.Errorf("offer %d is refused (%s), the client got %+v", i, when, got.client)
				case v == open && (!o.ask || when != "at once"):
					rt.Errorf("offer %d is open (%s)", i, when)
				}
			}
			if v := got.verdicts[i]; (v == written || v == refused) && got.final[i] != v && !o.ask {
				rt.Errorf("offer %d was %v, and is %v later", i, v, got.final[i])
			}
		}
		if got.client.err == nil && got.client.status == 200 && strings.Contains(got.client.body, "answer-") &&
			!slices.ContainsFunc(p.offers, func(o plannedOffer) bool { return !o.wrong && !o.ask && o.carried(got.client) }) {
			rt.Errorf("the client got %+v, which nobody offered for its message", got.client)
		}
		if p.acceptFails && got.client.err == nil && got.client.status == 200 && !strings.Contains(got.client.body, "not received") {
			rt.Errorf("the log failed, the client got %+v", got.client)
		}
	})
}
