package conversation

import (
	"testing"
	"time"
)

// Rule 10: as long as a callback is accepted, before or after its time, its key is known.
func TestRetentionFor(t *testing.T) {
	t.Parallel()
	for skew, want := range map[time.Duration]time.Duration{
		0: MinKeyRetention, time.Minute: MinKeyRetention, 5 * time.Minute: 10 * time.Minute, 15 * time.Minute: 30 * time.Minute,
	} {
		if got := RetentionFor(skew); got != want {
			t.Errorf("keys stay %v for a window of %v, want %v", got, skew, want)
		}
	}
}
