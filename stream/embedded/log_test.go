package embedded

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

func TestNatsLog(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	log := &natsLog{to: slog.New(slog.NewTextHandler(&text, nil))}
	log.Noticef("notice %d", 1)
	log.Debugf("debug %d", 2)
	log.Tracef("trace %d", 3)
	if text.Len() > 0 {
		t.Errorf("nobody asked for: %s", text.String())
	}
	log.Warnf("dropped [%s] and %q", "$KV.hy_state.p01.u.demo.SECRET1", "$KV.b.p02.u.x.SECRET2")
	log.Errorf("cannot %s", "write")
	if log.Fatal() != nil {
		t.Errorf("fatal without a fatal line: %v", log.Fatal())
	}
	log.Fatalf("first %s", "cause")
	log.Fatalf("second")
	got := text.String()
	for _, want := range []string{"level=WARN", "$KV.hy_state.…]", "level=ERROR", "cannot write", "second"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in: %s", want, got)
		}
	}
	if strings.Contains(got, "SECRET") {
		t.Errorf("a key is shown: %s", got)
	}
	if err := log.Fatal(); err == nil || err.Error() != "first cause" {
		t.Errorf("the fatal line is %v, want the first", err)
	}
}
