package stream_test

import (
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"hongyan/stream"
	"hongyan/stream/embedded"
)

// BenchmarkPurge measures one partition's purge below a sequence on logs of several lengths: 64 partitions, 512 B an entry,
// where the partition's entries are the oldest 1,000 of the log's 64,000 and all others stay.
func BenchmarkPurge(b *testing.B) {
	for _, entries := range []int{64_000, 256_000, 1_000_000} {
		b.Run(fmt.Sprint("entries=", entries), func(b *testing.B) {
			s, err := embedded.Start(embedded.Options{StoreDir: b.TempDir(), MaxStore: 8 << 30})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			conn, err := s.Connect("bench")
			if err != nil {
				b.Fatal(err)
			}
			log, err := stream.Open(b.Context(), conn, stream.Options{Partitions: 64, MaxBytes: 4 << 30})
			if err != nil {
				b.Fatal(err)
			}
			js, err := jetstream.New(conn, jetstream.WithPublishAsyncMaxPending(4096))
			if err != nil {
				b.Fatal(err)
			}
			data := make([]byte, 512)
			for n := range entries {
				if _, err := js.PublishMsgAsync(&nats.Msg{Subject: stream.InSubject(n%64, "demo"), Data: data}); err != nil {
					b.Fatal(err)
				}
				if n%2000 == 1999 {
					<-js.PublishAsyncComplete()
				}
			}
			<-js.PublishAsyncComplete()
			b.ResetTimer()
			for n := range b.N { // another partition each time
				if err := log.Purge(b.Context(), n%64, 64_000/2); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
