package jetstream

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"hongyan/state"
)

// Rule 8: whoever gives up while a write is under way does not know what became of it, here that it was made.
func TestGivingUpIsUnknown(t *testing.T) {
	t.Parallel()
	store := openStore(t, connect(t, startServer(t, t.TempDir())), Options{})
	const silent = "nobody.answers.here"
	if _, err := store.conn.SubscribeSync(silent); err != nil {
		t.Fatal(err)
	}
	patient, err := natsjs.New(store.conn, natsjs.WithPublishAsyncTimeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	ctx, giveUp := context.WithCancel(t.Context())
	store.send = func(m *nats.Msg) (natsjs.PubAckFuture, error) {
		if err := store.conn.PublishMsg(m); err != nil {
			return nil, err
		}
		if err := store.conn.Flush(); err != nil {
			return nil, err
		}
		giveUp()
		return patient.PublishMsgAsync(&nats.Msg{Subject: silent})
	}
	_, err = store.Commit(ctx, testKey, state.Record{}, state.Write{Epoch: 1, WriteID: 1, Incarnation: 1, Value: []byte("first")})
	wantErr(t, err, state.ErrUnknown)
	wantErr(t, err, context.Canceled)
	until(t, "the store has it", func() bool { // the server stores what it was sent a moment later
		rec, err := store.Load(t.Context(), testKey)
		return err == nil && string(rec.Value) == "first"
	})
}
