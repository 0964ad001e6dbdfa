package model

import (
	"unicode"
	"unicode/utf8"
)

// What the estimate counts. Tokenizers differ; each figure is on the safe side of those that the field runs (OpenAI's, DeepSeek's,
// Qwen's, Llama's).
const (
	perMessage    = 4    // the frame of a message: role and separators
	perPicture    = 1000 // a picture of usual size
	perReply      = 3    // the frame of the answer to come
	bytesPerToken = 3    // of letters that are not Chinese, Japanese or Korean
	rareRune      = 3    // emoji and characters beyond the basic plane
	firstWide     = '\u2e80'
)

// estimate is how many tokens a text takes: one for each Chinese, Japanese or Korean character, each digit and each sign, one for
// every 3 bytes of other letters and blanks. Texts put together never take more than they do alone, plus one.
func estimate(text string) int {
	tokens, letters := 0, 0
	for _, r := range text {
		n, bytes := weigh(r)
		tokens += n
		letters += bytes
	}
	return tokens + (letters+bytesPerToken-1)/bytesPerToken
}

// weigh is what one rune counts: whole tokens, or bytes of which several make one.
func weigh(r rune) (tokens, bytes int) {
	switch {
	case r > 0xffff:
		return rareRune, 0
	case r >= firstWide:
		return 1, 0
	case r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsSpace(r)):
		return 0, 1
	case r < utf8.RuneSelf:
		return 1, 0
	default:
		return 0, utf8.RuneLen(r)
	}
}

// messageTokens is the estimate of a message with this text; an absent one takes nothing.
func messageTokens(text string) int {
	if text == "" {
		return 0
	}
	return perMessage + estimate(text)
}

// cut is the longest beginning of the text that takes at most so many tokens; it ends on a rune border.
func cut(text string, tokens int) string {
	whole, letters := 0, 0
	for i, r := range text {
		n, bytes := weigh(r)
		whole += n
		letters += bytes
		if whole+(letters+bytesPerToken-1)/bytesPerToken > tokens {
			return text[:i]
		}
	}
	return text
}
