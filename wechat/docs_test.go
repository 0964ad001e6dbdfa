package wechat

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"hongyan/messages"
)

// The table of kinds in docs/wechat.md is what the code does, kind by kind and name by name.
func TestKindsAreDocumented(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../docs/wechat.md")
	if err != nil {
		t.Fatal(err)
	}
	yes := map[bool]string{true: "yes", false: "no"}
	kinds, events := map[messages.Kind]bool{}, 0
	for line := range strings.Lines(string(raw)) {
		cells := strings.Split(strings.Trim(line, "| \n"), " | ")
		if len(cells) != 5 || !strings.HasPrefix(cells[0], "`") {
			continue
		}
		number, ok := messages.Kind_value["KIND_"+strings.Trim(cells[0], "`")]
		if !ok {
			t.Errorf("no kind %s", cells[0])
			continue
		}
		kind := messages.Kind(number)
		kinds[kind] = true
		for name := range strings.SplitSeq(cells[1], ", ") {
			if kind == messages.Kind_KIND_UNKNOWN {
				break
			}
			name = strings.Trim(name, "`")
			is := messageKind(name)
			if kind.IsEvent() {
				is = eventKind(name)
				events++
			}
			if is != kind {
				t.Errorf("%s is %v, documented as %v", name, is, kind)
			}
		}
		grant := "none"
		if count, valid, ok := kind.Grant(); ok && valid.Hours() >= 1 {
			grant = fmt.Sprintf("%d in %d h", count, int(valid.Hours()))
		} else if ok {
			grant = fmt.Sprintf("%d in %d min", count, int(valid.Minutes()))
		}
		forUser := (&messages.Inbound{OpenId: "o1", Kind: kind}).ForUser()
		if got := []string{yes[kind.Repliable()], yes[forUser], grant}; strings.Join(got, " | ") != strings.Join(cells[2:], " | ") {
			t.Errorf("%v is %q, documented as %q", kind, got, cells[2:])
		}
	}
	if len(kinds) != len(messages.Kind_name) || events != len(eventKinds) {
		t.Errorf("%d of %d kinds and %d of %d events are documented", len(kinds), len(messages.Kind_name), events, len(eventKinds))
	}
}
