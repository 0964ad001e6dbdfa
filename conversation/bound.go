package conversation

import (
	"strings"
	"unicode/utf8"

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

// Bounded are the answers of one turn as a record can hold them. Together they are within AnswerBytes: a text is cut on a rune border, and
// what comes behind that is left out. So is what cannot be encoded: bytes that are no UTF-8 are replaced in texts, and end other answers.
func Bounded(answers []*messages.Answer) (kept []*messages.Answer, cut bool) {
	left := AnswerBytes
	for _, a := range answers {
		if text := a.GetText(); text != nil && !utf8.ValidString(text.GetContent()) {
			a = textAnswer(strings.ToValidUTF8(text.GetContent(), "\uFFFD"))
		}
		encoded, err := proto.Marshal(a)
		switch size := len(encoded); {
		case err != nil:
			cut = true
		case size <= left:
			left -= size
			kept = append(kept, a)
		default:
			if head, _ := wechat.CutText(a.GetText().GetContent(), left); head != "" {
				kept = append(kept, textAnswer(head))
			}
			return kept, true
		}
	}
	return kept, cut
}
