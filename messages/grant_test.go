package messages_test

import (
	"testing"
	"time"

	"hongyan/messages"
)

// What is repliable and what opens a grant, kind by kind: the tables of wechat-protocol §3 and §5.1.
func TestGrant(t *testing.T) {
	t.Parallel()
	type grant struct {
		count int
		valid time.Duration
	}
	message, short := grant{5, 48 * time.Hour}, grant{3, time.Minute}
	want := map[messages.Kind]grant{
		messages.Kind_KIND_TEXT: message, messages.Kind_KIND_IMAGE: message, messages.Kind_KIND_VOICE: message,
		messages.Kind_KIND_VIDEO: message, messages.Kind_KIND_SHORT_VIDEO: message, messages.Kind_KIND_LOCATION: message,
		messages.Kind_KIND_LINK: message, messages.Kind_KIND_FILE: message, messages.Kind_KIND_MINI_PROGRAM_PAGE: message,
		messages.Kind_KIND_CLICK: short, messages.Kind_KIND_SCANCODE_PUSH: short, messages.Kind_KIND_SCANCODE_WAITMSG: short,
		messages.Kind_KIND_SUBSCRIBE: short, messages.Kind_KIND_SCAN: short,
	}
	for number := range messages.Kind_name {
		kind := messages.Kind(number)
		count, valid, ok := kind.Grant()
		g, opens := want[kind]
		if got := (grant{count, valid}); ok != opens || got != g {
			t.Errorf("%s: grant %v, %v; want %v, %v", kind, got, ok, g, opens)
		}
		if ok && kind == messages.Kind_KIND_UNKNOWN {
			t.Errorf("%s opens a grant", kind)
		}
	}
}
