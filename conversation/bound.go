package conversation

import (
	"google.golang.org/protobuf/proto"

	"hongyan/messages"
	"hongyan/wechat"
)

// What a record holds at most of what a bot says, so that it always fits the store, whose servers take about 1 MiB.
const (
	// AnswerBytes is how much the answers of one turn may be together: sixteen pages of WeChat's.
	AnswerBytes = 32 << 10
	// KeptBytes is how much may wait for the user's next messages.
	KeptBytes = 128 << 10
)

// Bounded are the answers of one turn within AnswerBytes: a text is cut on a rune border, and what comes behind that is left out.
func Bounded(answers []*messages.Answer) (kept []*messages.Answer, cut bool) {
	left := AnswerBytes
	for i, a := range answers {
		size := proto.Size(a)
		if size <= left {
			left -= size
			continue
		}
		kept = append(kept, answers[:i]...)
		if head, _ := wechat.CutText(a.GetText().GetContent(), left); head != "" {
			kept = append(kept, textAnswer(head))
		}
		return kept, true
	}
	return answers, false
}
