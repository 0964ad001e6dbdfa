package jetstream

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"hongyan/messages"
	"hongyan/state"
)

const benchUsers = 10_000

// BenchmarkCommit measures commits of many users' turns by 1, 64 and 500 callers at once, each with users of its own.
func BenchmarkCommit(b *testing.B) {
	for _, size := range []int{300, 1024} {
		for _, callers := range []int{1, 64, 500} {
			b.Run(fmt.Sprintf("size=%d/callers=%d", size, callers), func(b *testing.B) {
				store := openStore(b, connect(b, startServer(b, b.TempDir())), Options{})
				var ids atomic.Uint64
				value := make([]byte, size)
				eachUser(b, callers, func(user int, bases []state.Record) error {
					key := state.Key{Partition: user % 64, User: messages.User{Account: "demo", OpenID: "o6_bmjrPTlm6_2sgVt7h-" + strconv.Itoa(user)}}
					id := ids.Add(1)
					rec, err := store.Commit(context.Background(), key, bases[user], state.Write{Epoch: 1, WriteID: id, Incarnation: id, Value: value})
					bases[user] = rec
					return err
				})
			})
		}
	}
}

// BenchmarkWays compares the library's own ways to do what the appender does.
func BenchmarkWays(b *testing.B) {
	const size, callers = 300, 500
	ways := map[string]func(b *testing.B, js natsjs.JetStream, kv natsjs.KeyValue) func(string, []byte, uint64) (uint64, error){
		"kv.Update": func(_ *testing.B, _ natsjs.JetStream, kv natsjs.KeyValue) func(string, []byte, uint64) (uint64, error) {
			return func(key string, value []byte, revision uint64) (uint64, error) {
				return kv.Update(context.Background(), key, value, revision)
			}
		},
		"PublishMsgAsync": func(_ *testing.B, js natsjs.JetStream, _ natsjs.KeyValue) func(string, []byte, uint64) (uint64, error) {
			return func(key string, value []byte, revision uint64) (uint64, error) {
				future, err := js.PublishMsgAsync(&nats.Msg{Subject: "$KV.ways." + key, Data: value,
					Header: nats.Header{nats.ExpectedLastSubjSeqHdr: {strconv.FormatUint(revision, 10)}}})
				if err != nil {
					return 0, err
				}
				select {
				case ack := <-future.Ok():
					return ack.Sequence, nil
				case err := <-future.Err():
					return 0, err
				}
			}
		},
	}
	for name, way := range ways {
		b.Run(name, func(b *testing.B) {
			js := connect(b, startServer(b, b.TempDir()))
			js, err := natsjs.New(js.Conn(), natsjs.WithPublishAsyncMaxPending(1<<16), natsjs.WithPublishAsyncTimeout(DefaultOpTimeout))
			if err != nil {
				b.Fatal(err)
			}
			kv, err := js.CreateKeyValue(context.Background(), natsjs.KeyValueConfig{Bucket: "ways"})
			if err != nil {
				b.Fatal(err)
			}
			update := way(b, js, kv)
			eachUser(b, callers, func(user int, bases []state.Record) error {
				value := make([]byte, size+state.EnvelopeHead)
				binary.BigEndian.PutUint64(value, uint64(user))
				seq, err := update(fmt.Sprintf("p%02d.u.demo.bzZfYm1qclBUbG02XzJzZ1Z0N2g-%d", user%64, user), value, bases[user].Revision)
				bases[user].Revision = seq
				return err
			})
		})
	}
}

// eachUser spreads b.N turns over the callers; every caller goes round its own users.
func eachUser(b *testing.B, callers int, turn func(user int, bases []state.Record) error) {
	b.Helper()
	b.ReportAllocs()
	bases := make([]state.Record, benchUsers)
	var wg sync.WaitGroup
	b.ResetTimer()
	for c := range callers {
		turns := b.N / callers
		if c < b.N%callers {
			turns++
		}
		wg.Go(func() {
			for n := range turns {
				user := c + (n*callers)%(benchUsers/callers*callers)
				if err := turn(user, bases); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
}
