package example

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// StoryLength is how many characters the long story has: enough for three pages of WeChat's 2,048 bytes and more.
const StoryLength = 6000

// asked is what a request comes to.
type asked struct {
	question string   // the user's last text
	before   []string // what the user said before, oldest first
	images   []image  // with the last message
	results  []result // of the tools that were called for this question
	chinese  bool
}

// result is what a tool said.
type result struct{ tool, text string }

// understand finds the question in a request.
func understand(r *chatRequest) asked {
	var a asked
	for i, m := range r.Messages {
		switch m.Role {
		case roleUser:
			if i > 0 && (a.question != "" || len(a.images) > 0) {
				a.before = append(a.before, a.question)
			}
			a.question, a.images, a.results = strings.TrimSpace(m.Content.text), m.Content.images, nil
		case roleTool:
			a.results = append(a.results, result{r.caller(i), m.Content.text})
		}
	}
	a.chinese = a.question == "" || strings.ContainsFunc(a.question, func(c rune) bool { return unicode.Is(unicode.Han, c) })
	return a
}

// in is the words in the question's language.
func (a asked) in(chinese, english string) string {
	if a.chinese {
		return chinese
	}
	return english
}

var (
	asksMemory = regexp.MustCompile(`(?i)(刚才|之前|上一?句).*(说|问)|我说(了|过)什么|what did i (just )?(say|ask)`)
	// placeholder stands in the conversation for what is no text, e.g. [图片].
	placeholder = regexp.MustCompile(`^\[[^\[\]]+\]$`)
	asksStory   = regexp.MustCompile(`(?i)长故事|长一?点的故事|^long$|\blong (story|answer)\b`)
)

// answer is what the example says.
func (a asked) answer() string {
	name := a.in("【示例模型】", "[Example model 示例模型] ")
	switch {
	case len(a.results) > 0:
		return name + a.tools()
	case asksMemory.MatchString(a.question):
		return name + a.memory()
	case asksStory.MatchString(a.question):
		return name + a.story(StoryLength-utf8.RuneCountInString(name))
	case len(a.images) > 0:
		return name + a.pictures()
	default:
		return name + a.echo()
	}
}

// echo repeats the question in other words, which change from turn to turn.
func (a asked) echo() string {
	turn, said := len(a.before)+1, quote(a.question)
	if turn == 1 {
		return fmt.Sprintf(a.in(
			"您说的是“%s”，这是我们对话的第 1 句。我是内置的示例，不会真的思考：改 bots.model 的 base_url、api_key 和 model，就换成真正的模型。",
			"You said “%s”, and it is the first thing in this conversation. I am built in and do not think: "+
				"change base_url, api_key and model of bots.model to ask a real one."), said)
	}
	form := [...]string{
		a.in("关于“%s”：连同这一句，我收到了您的 %d 句话；上一句是“%s”。", "About “%s”: with this one I have %d of your messages; the last was “%s”."),
		a.in("您又提到“%s”。这是第 %d 句，在“%s”之后。", "Now it is “%s”, your message number %d, after “%s”."),
		a.in("“%s”，我记下了。到现在一共 %d 句，前一句是“%s”。", "“%s”, noted. That makes %d so far; before it came “%s”."),
	}[turn%3]
	return fmt.Sprintf(form, said, turn, quote(a.before[turn-2]))
}

// memory tells what the context holds.
func (a asked) memory() string {
	n := len(a.before)
	if n == 0 {
		return a.in("这是我们对话的开头，您之前还没有说过什么。", "This is where our conversation begins: you have said nothing before.")
	}
	return fmt.Sprintf(a.in("您刚才说的是“%s”。这段对话里，我记得您之前的 %d 句话。", "You said “%s”. I remember %d of your messages from before."),
		quote(a.before[n-1]), n)
}

// pictures tells what came.
func (a asked) pictures() string {
	var each []string
	for _, p := range a.images {
		if p.kind == "" {
			each = append(each, a.in("一个图片地址（没有去取）", "an address of a picture (not fetched)"))
			continue
		}
		each = append(each, fmt.Sprintf(a.in("%s，%s", "%s, %s"), p.kind, size(p.size)))
	}
	list := fmt.Sprintf(a.in("收到 %d 张图片：%s。", "Got pictures, %d: %s."), len(each), strings.Join(each, a.in("；", "; ")))
	if a.question == "" || placeholder.MatchString(a.question) {
		return list
	}
	return list + fmt.Sprintf(a.in("您还说了“%s”。", " You also said “%s”."), quote(a.question))
}

// tools repeats what the tools said.
func (a asked) tools() string {
	var each []string
	for _, r := range a.results {
		each = append(each, fmt.Sprintf(a.in("工具 %s 回答：%s", "The tool %s says: %s"), r.tool, shortened(r.text, 1000)))
	}
	return strings.Join(each, "\n")
}

// story is exactly so many characters in numbered paragraphs, so that a missing page would be seen.
func (a asked) story(length int) string {
	var b strings.Builder
	count := 0
	for i := 1; count < length; i++ {
		part := fmt.Sprintf(a.in(
			"第 %d 段：鸿雁又飞过一座山，把同一封信带得更远。山下的人抬头看见它，记住了这一天的风。\n",
			"Part %d: the wild goose crossed one more mountain and carried the same letter further. Those below looked up and kept the day in mind.\n"), i)
		if left := length - count; utf8.RuneCountInString(part) > left {
			part = string([]rune(part)[:left])
		}
		b.WriteString(part)
		count += utf8.RuneCountInString(part)
	}
	return b.String()
}

// reasoning is what a model that reasons aloud would have said before its answer.
func (a asked) reasoning() string {
	return fmt.Sprintf(a.in("用户说“%s”，之前有 %d 句。我照实复述即可。", "The user says “%s”, with %d messages before it. I repeat what I got."),
		quote(a.question), len(a.before))
}

// call is the call of a tool that the question names, once for each question.
func (a asked) call(r *chatRequest) (functionCall, bool) {
	if len(a.results) > 0 || string(r.ToolChoice) == `"none"` {
		return functionCall{}, false
	}
	for _, t := range r.Tools {
		name := t.Function.Name
		at := strings.Index(strings.ToLower(a.question), strings.ToLower(name))
		if name == "" || at < 0 || at+len(name) > len(a.question) {
			continue
		}
		return functionCall{Name: name, Arguments: t.Function.Parameters.filled(a.question[at+len(name):])}, true
	}
	return functionCall{}, false
}

var number = regexp.MustCompile(`-?\d+(\.\d+)?`)

// filled is the arguments as JSON: texts are what stands behind the tool's name, numbers the first number there.
func (p parameters) filled(text string) string {
	text = strings.TrimFunc(text, func(c rune) bool { return unicode.IsSpace(c) || unicode.IsPunct(c) })
	arguments := make(map[string]any)
	for name, property := range p.Properties {
		kind, _ := property.Type.(string)
		switch first := number.FindString(text); {
		case kind == "string":
			arguments[name] = text
		case kind == "number" && first != "":
			arguments[name] = json.Number(first)
		case kind == "integer" && first != "":
			whole, _, _ := strings.Cut(first, ".")
			arguments[name] = json.Number(whole)
		case kind == "boolean":
			arguments[name] = true
		}
	}
	out, err := json.Marshal(arguments)
	if err != nil { // a number such as 007, which JSON does not have
		return "{}"
	}
	return string(out)
}

// quote is a text as it stands inside an answer.
func quote(s string) string {
	if s == "" {
		return "…"
	}
	return shortened(s, 100)
}

// shortened is the text, or its first characters.
func shortened(s string, characters int) string {
	if utf8.RuneCountInString(s) <= characters {
		return s
	}
	return string([]rune(s)[:characters]) + "…"
}

func size(bytes int) string {
	switch {
	case bytes < 1000:
		return fmt.Sprintf("%d B", bytes)
	case bytes < 1_000_000:
		return fmt.Sprintf("%.1f KB", float64(bytes)/1e3)
	default:
		return fmt.Sprintf("%.1f MB", float64(bytes)/1e6)
	}
}

// pieces cuts a text into what a stream sends at a time: its tokens. A Chinese character is one, a few letters are one.
func pieces(s string) []string {
	var out []string
	from, letters := 0, 0
	for i, c := range s {
		if c > unicode.MaxLatin1 {
			if letters > 0 {
				out = append(out, s[from:i])
			}
			out = append(out, s[i:i+utf8.RuneLen(c)])
			from, letters = i+utf8.RuneLen(c), 0
			continue
		}
		if letters++; letters == 4 {
			out = append(out, s[from:i+utf8.RuneLen(c)])
			from, letters = i+utf8.RuneLen(c), 0
		}
	}
	if from < len(s) {
		out = append(out, s[from:])
	}
	return out
}
