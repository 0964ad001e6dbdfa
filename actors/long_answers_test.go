package actors

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"hongyan/bots"
	"hongyan/messages"
	"hongyan/state"
)

// payload refuses what a NATS server of the usual max_payload refuses (state/jetstream/publish.go: ErrMaxPayload is ErrInvalid).
type payload struct{ state.Store }

func (p payload) Commit(ctx context.Context, key state.Key, base state.Record, w state.Write) (state.Record, error) {
	if len(w.Value) > 1<<20-200 {
		return state.Record{}, fmt.Errorf("%w: nats: maximum payload exceeded", state.ErrInvalid)
	}
	return p.Store.Commit(ctx, key, base, w)
}

// A remote bot's answer may have 1 MiB, and a record that holds it does not fit the store: the message must end all the same, and the
// user's next one must be answered.
func TestHugeAnswer(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.bot.says = map[string]bots.Response{"long": {Handled: true, Answers: textsOf("x", 1<<20)}}
		w.start()
		w.engine.Store = payload{w.store}
		w.deliver(w.message("u1", "1", "long"))
		next := w.deliver(w.message("u1", "2", "hello"))
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := w.bot.count("long"); n != 1 {
			t.Errorf("the bot was asked %d times for one message", n)
		}
		if !next.isDone() || next.got() == nil {
			t.Error("the user's next message was not answered in 10 minutes")
		}
		if n := testutil.ToFloat64(w.engine.metrics.answersCut.WithLabelValues(account)); n != 1 {
			t.Errorf("%v turns were counted as cut", n)
		}
	})
}

// The same, reached by five answers of 220 kB that nobody fetched.
func TestManyLongAnswers(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.bot.says = map[string]bots.Response{"long": {Handled: true, Answers: textsOf("x", 220<<10)}}
		w.start()
		w.engine.Store = payload{w.store}
		for i := range 6 {
			w.deliver(w.message("u1", fmt.Sprint(i), "long"))
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := w.bot.count("long"); n != 6 {
			t.Errorf("the bot was asked %d times for 6 messages", n)
		}
	})
}

func textsOf(s string, n int) []*messages.Answer {
	return []*messages.Answer{bots.Text(strings.Repeat(s, n))}
}

// An answer with a broken byte in it ends its message as well.
func TestInvalidUTF8(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.bot.says = map[string]bots.Response{"odd": {Handled: true, Answers: textsOf("a\xff", 1)}}
		w.start()
		w.deliver(w.message("u1", "1", "odd"))
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := w.bot.count("odd"); n != 1 {
			t.Errorf("the bot was asked %d times", n)
		}
	})
}
