package stream_test

import (
	"fmt"
	"testing"

	"hongyan/messages"
	"hongyan/stream"
)

// Rule 7: what one partition purges, up to its own newest entry, takes nothing from the others.
func TestPurgeLeavesOtherPartitions(t *testing.T) {
	t.Parallel()
	s := open(t, stream.Options{})
	oldest, newest := make(map[int]uint64), make(map[int]uint64)
	for n := range 40 {
		user := fmt.Sprint("u", n)
		p := messages.User{Account: "demo", OpenID: user}.Partition(4)
		seq := accept(t, s.log, user, n)
		if oldest[p] == 0 {
			oldest[p] = seq
		}
		newest[p] = seq
	}
	purged := messages.User{Account: "demo", OpenID: "u39"}.Partition(4)
	if err := s.log.Purge(t.Context(), purged, newest[purged]); err != nil {
		t.Fatal(err)
	}
	for p := range oldest {
		src, err := s.log.Read(t.Context(), p, stream.Start{Sequence: 1})
		if err != nil {
			t.Fatal(err)
		}
		want := oldest[p]
		if p == purged {
			want = newest[p]
		}
		if rec := next(t, src); rec.Sequence != want {
			t.Errorf("partition %d begins at %d, want %d", p, rec.Sequence, want)
		}
		src.Close()
	}
}
