package groupsync_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"hongyan/stream/embedded"
	"hongyan/stream/groupsync"
)

// BenchmarkPublish measures the log's write with and without the barrier behind it: 1 KiB to a stream with one replica, each
// caller waits for its own acknowledgement and then for the disk.
func BenchmarkPublish(b *testing.B) {
	for _, durability := range []string{"os", "disk"} {
		for _, callers := range []int{1, 64, 500} {
			b.Run(fmt.Sprintf("%s/callers=%d", durability, callers), func(b *testing.B) {
				dir := b.TempDir()
				js := openStream(b, dir)
				var barrier *groupsync.Barrier
				if durability == "disk" {
					var err error
					if barrier, err = groupsync.New(dir, groupsync.Options{}); err != nil {
						b.Fatal(err)
					}
					defer barrier.Close()
				}
				data := make([]byte, 1024)
				var wg sync.WaitGroup
				b.ResetTimer()
				for c := range callers {
					turns := b.N / callers
					if c < b.N%callers {
						turns++
					}
					wg.Go(func() {
						for range turns {
							if err := publish(js, barrier, fmt.Sprint("in.", c%64), data); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
			})
		}
	}
}

func openStream(b *testing.B, dir string) jetstream.JetStream {
	b.Helper()
	server, err := embedded.Start(embedded.Options{StoreDir: dir})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = server.Close() })
	conn, err := server.Connect("bench")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(conn.Close)
	js, err := jetstream.New(conn, jetstream.WithPublishAsyncTimeout(10*time.Second), jetstream.WithPublishAsyncMaxPending(1<<16))
	if err != nil {
		b.Fatal(err)
	}
	if _, err := js.CreateStream(context.Background(), jetstream.StreamConfig{Name: "IN", Subjects: []string{"in.>"}}); err != nil {
		b.Fatal(err)
	}
	return js
}

func publish(js jetstream.JetStream, barrier *groupsync.Barrier, subject string, data []byte) error {
	future, err := js.PublishMsgAsync(&nats.Msg{Subject: subject, Data: data})
	if err != nil {
		return err
	}
	select {
	case <-future.Ok():
	case err := <-future.Err():
		return err
	}
	return barrier.Sync(context.Background())
}
