package model

import (
	"slices"

	"hongyan/conversation"
	"hongyan/messages"
)

// utterance is one message of the conversation as the model gets it.
type utterance struct {
	user    bool // else the assistant
	text    string
	picture *picture // beside the text
}

func (u utterance) tokens() int {
	n := messageTokens(u.text) + estimate(u.picture.note())
	if u.shows() {
		n += perPicture
	}
	return n
}

// shows tells whether a picture stands beside the text.
func (u utterance) shows() bool { return u.picture != nil && u.picture.url != "" }

// words are the text, with a word about a picture that cannot be shown.
func (u utterance) words() string { return u.text + u.picture.note() }

// utterances are the turns of a history, oldest first; agents speak for us. Turns without words are left out, since endpoints
// refuse an empty message. The kept picture stands in the turn in which it was sent.
func utterances(history []conversation.Turn, kept *picture) []utterance {
	all := make([]utterance, 0, len(history)+1)
	for i, turn := range history {
		if turn.Text == "" {
			continue
		}
		u := utterance{user: turn.Role == conversation.RoleUser, text: turn.Text}
		if kept != nil && kept.turn == i {
			u.picture = kept
		}
		all = append(all, u)
	}
	return all
}

// fit is what of a conversation goes into a budget of tokens: the newest utterance in any case, cut where it alone is too much and
// without its picture where there is no room for that, and of those before it as many as fit, from the newest back. What remains
// never begins with the assistant. It returns a slice of its own.
func fit(all []utterance, budget int) []utterance {
	if len(all) == 0 {
		return nil
	}
	newest := all[len(all)-1]
	if newest.tokens() > budget && newest.shows() {
		newest.picture = newest.picture.missing("没有地方放这张图片了")
	}
	if newest.tokens() > budget {
		newest.text = cut(newest.text, max(budget-perMessage-estimate(newest.picture.note()), 0))
	}
	left := budget - newest.tokens()
	from := len(all) - 1
	for from > 0 && all[from-1].tokens() <= left {
		from--
		left -= all[from].tokens()
	}
	for from < len(all)-1 && !all[from].user {
		from++
	}
	kept := slices.Clone(all[from:])
	kept[len(kept)-1] = newest
	return kept
}

// merge joins neighbours of one role: several answers to one question, questions that got none. The templates of many open models
// refuse two messages of one role in a row. It never takes more tokens than its parts.
func merge(all []utterance) []utterance {
	merged := all[:0]
	for _, u := range all {
		if n := len(merged); n > 0 && merged[n-1].user == u.user && merged[n-1].picture == nil && u.picture == nil {
			merged[n-1].text += "\n" + u.text
			continue
		}
		merged = append(merged, u)
	}
	return merged
}

// lastImage is the index of the newest turn in which the user sent a picture, or -1.
func lastImage(history []conversation.Turn) int {
	for i, turn := range slices.Backward(history) {
		if turn.Role == conversation.RoleUser && turn.Kind == int32(messages.Kind_KIND_IMAGE) {
			return i
		}
	}
	return -1
}
