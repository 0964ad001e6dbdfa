package checker

import (
	"regexp"
	"slices"
	"strings"

	"hongyan/wechat/simulator"
)

// modelAnswer finds, in what a phone showed, an answer of the example model (bots/model/example), which quotes the question first of all; the
// apology for a model that could not be asked, which names nothing; and the answers of rules.
var modelAnswer = regexp.MustCompile(`【示例模型】[^【《]*?“问 ([^”]+)”[^【《]*|【忙】[^【《]*|《([^》]*)》`)

// Named is what became of questions to the example model, by the question's name.
type Named struct {
	Model map[string]string // what the model said, as it was shown
	Sorry map[string]bool   // those that got UnavailableText
}

// NameAnswers returns the records with the example model's words, and the apologies for it, written as `《name》` of the question that they
// answer, as Deliveries and Check read them. The given records stay as they are.
//
// The model's words name their question themselves. An apology is taken for that of its user's oldest question that nothing has answered
// yet: with answers in order that is so, and where it is not, the checker finds a question without an answer, or with two.
func NameAnswers(records []simulator.Record) ([]simulator.Record, Named) {
	n := Named{Model: make(map[string]string), Sorry: make(map[string]bool)}
	out := slices.Clone(records)
	open := make(map[string][]string) // questions without an answer, by user, oldest first
	for i, r := range out {
		switch {
		case r.Kind == simulator.RecordPush && strings.HasPrefix(r.Content, Question("")):
			open[r.OpenID] = append(open[r.OpenID], Name(r.Content))
		case r.Answer != nil && (r.Kind == simulator.RecordReceived || r.Kind == simulator.RecordCustom):
			answer := *r.Answer
			answer.Content = modelAnswer.ReplaceAllStringFunc(answer.Content, func(said string) string {
				name := n.take(said, open[r.OpenID])
				open[r.OpenID] = slices.DeleteFunc(open[r.OpenID], func(s string) bool { return s == name })
				return "《" + name + "》"
			})
			out[i].Answer = &answer
		}
	}
	return out, n
}

// take is the name of the question that something is the answer to.
func (n Named) take(said string, open []string) string {
	found := modelAnswer.FindStringSubmatch(said)
	switch {
	case found[1] != "":
		n.Model[found[1]] = strings.TrimSpace(said)
		return found[1]
	case found[2] != "":
		return found[2]
	case len(open) == 0:
		return "an apology for nothing"
	default:
		n.Sorry[open[0]] = true
		return open[0]
	}
}
