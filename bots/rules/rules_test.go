package rules

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"hongyan/examples"
	"hongyan/messages"
)

func mustParse(t *testing.T, yaml string) *Set {
	t.Helper()
	set, err := Parse("rules.yaml", []byte(yaml))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func said(content string) *messages.Inbound {
	return &messages.Inbound{
		Kind: messages.Kind_KIND_TEXT,
		Body: &messages.Inbound_Text{Text: &messages.Text{Content: content}},
	}
}

func picture() *messages.Inbound {
	return &messages.Inbound{
		Kind: messages.Kind_KIND_IMAGE,
		Body: &messages.Inbound_Media{Media: &messages.Media{MediaId: "m"}},
	}
}

func happened(kind messages.Kind, name, key string) *messages.Inbound {
	return &messages.Inbound{
		Kind: kind,
		Body: &messages.Inbound_Event{Event: &messages.Event{Name: name, Key: key}},
	}
}

const everyKind = `
rules:
  - {match: exact, value: [你好, Hello World, "１２３", "?"], reply: exact}
  - {match: exact, value: 安静, reply: ""}
  - {match: regexp, value: "^(?P<city>\\p{Han}+?)市?天气$", reply: "${city}/$1天气/$$5"}
  - {match: regexp, value: ["^A(x*)$", "^a(.*)$"], reply: $1}
  - {match: regexp, value: ^闭嘴, reply: ""}
  - {match: contains, value: [价格, Price], reply: contains $1, delay: 7s}
  - {match: event, value: [subscribe, scan], reply: event}
  - {match: menu, value: HELP, reply: menu}
  - {match: event, value: CLICK, reply: other click}
  - {match: default, reply: default}
`

func TestMatch(t *testing.T) {
	t.Parallel()
	set := mustParse(t, everyKind)
	const none = "no rule"
	tests := []struct {
		name string
		in   *messages.Inbound
		want string
	}{
		{"exact", said("你好"), "exact"},
		{"blanks around", said(" \n你好　"), "exact"},
		{"case and blanks within", said("hELLO   wORLD"), "exact"},
		{"full width in the text", said("ＨＥＬＬＯ　Ｗｏｒｌｄ"), "exact"},
		{"full width in the value", said("123"), "exact"},
		{"full-width sign", said("？"), "exact"},
		{"zero-width space", said("你\u200b好"), "exact"},
		{"exact is not contains", said("你好吗"), "default"},
		{"silence", said("安静"), ""},
		{"regexp with groups", said("上海市天气"), "上海/上海天气/$5"},
		{"regexp trims", said("  北京天气\n"), "北京/北京天气/$5"},
		{"regexp sees the case", said("axy"), "xy"},
		{"regexp that leaves nothing falls through", said("A"), "default"},
		{"regexp with silence", said("闭嘴吧"), ""},
		{"contains", said("请问价格是？"), "contains $1"},
		{"contains folds", said("ＰＲＩＣＥ list"), "contains $1"},
		{"default", said("什么"), "default"},
		{"empty text", said(""), "default"},
		{"picture", picture(), "default"},
		{"event", happened(messages.Kind_KIND_SUBSCRIBE, "subscribe", ""), "event"},
		{"event in another case", happened(messages.Kind_KIND_SCAN, "SCAN", "7"), "event"},
		{"menu", happened(messages.Kind_KIND_CLICK, "CLICK", "HELP"), "menu"},
		{"menu keys are exact", happened(messages.Kind_KIND_CLICK, "CLICK", "help"), "other click"},
		{"menu is for clicks", happened(messages.Kind_KIND_SCANCODE_PUSH, "scancode_push", "HELP"), none},
		{"no default for events", happened(messages.Kind_KIND_VIEW, "VIEW", "u"), none},
		{"no default for unknown kinds", &messages.Inbound{}, none},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, ok := set.Match(tt.in)
			switch {
			case !ok && tt.want != none:
				t.Errorf("no rule matched, want %q", tt.want)
			case ok && got.Text != tt.want:
				t.Errorf("got %q, want %q", got.Text, tt.want)
			}
			if wantDelay := strings.HasPrefix(tt.want, "contains"); wantDelay != (got.Delay == 7*time.Second) {
				t.Errorf("the delay is %v", got.Delay)
			}
		})
	}
}

func TestFilesWithoutRules(t *testing.T) {
	t.Parallel()
	for _, yaml := range []string{"", "\n", "# nothing\n", "rules:\n", "rules: []\n", "\ufeffrules: []\n", "---\nrules: []\n"} {
		set := mustParse(t, yaml)
		if _, ok := set.Match(said("x")); ok || set.Len() != 0 {
			t.Errorf("%q has %d rules", yaml, set.Len())
		}
	}
}

// TestScalarsStayAsWritten shows that numbers and words like true are taken as the text that stands in the file.
func TestScalarsStayAsWritten(t *testing.T) {
	t.Parallel()
	set := mustParse(t, "rules:\n  - {match: exact, value: [1, 007, 1.0, true], reply: 12.50}\n")
	for _, text := range []string{"1", "007", "1.0", "true", "TRUE"} {
		if got, ok := set.Match(said(text)); !ok || got.Text != "12.50" {
			t.Errorf("%q: %v %v", text, got, ok)
		}
	}
	for _, text := range []string{"7", "1.00"} {
		if _, ok := set.Match(said(text)); ok {
			t.Errorf("%q matched", text)
		}
	}
}

// TestExample holds the shipped file: it has no faults, every rule in it can be reached, and what it offers under 帮助 works.
func TestExample(t *testing.T) {
	t.Parallel()
	set := mustParse(t, string(examples.Rules))
	tests := map[string]*messages.Inbound{
		"您好，欢迎关注":       happened(messages.Kind_KIND_SUBSCRIBE, "subscribe", "qrscene_1"),
		"扫码成功":          happened(messages.Kind_KIND_SCAN, "SCAN", "1"),
		"您可以这样问我":       happened(messages.Kind_KIND_CLICK, "CLICK", "HELP"),
		"基础版免费":         happened(messages.Kind_KIND_CLICK, "CLICK", "PRICE"),
		"您好！很高兴":        said("你好"),
		"您好！":           said("Hi"),
		"不客气":           said("谢谢"),
		"您可以":           said("？"),
		"您想了解北京的天气":     said("北京天气"),
		"您想了解上海的":       said("上海市今天的天气怎么样？"),
		"您想了解广州的":       said("今天广州天气如何"),
		"想查哪座城市":        said("天气"),
		"想查哪座":          said("今天天气怎么样"),
		"您想了解深圳的":       said("请问深圳明天的天气"),
		"您想了解成都的":       said("帮我查一下成都天气"),
		"想查天气吗":         said("London天气"),
		"基础版":           said("你们的产品多少钱"),
		"人工客服":          said("转人工"),
		"让您久等了":         said("慢"),
		"抱歉，这个问题我还不会":   said("宇宙的尽头是什么"),
		"抱歉，":           picture(),
		"":              happened(messages.Kind_KIND_UNSUBSCRIBE, "unsubscribe", ""),
		"您可以这样问我：\n· 价": said("帮助"),
	}
	reached := make(map[string]bool)
	for want, in := range tests {
		got, ok := set.Match(in)
		if !ok || !strings.HasPrefix(got.Text, want) || want == "" && got.Text != "" {
			t.Errorf("%v: got %q (%v), want %q…", in, got.Text, ok, want)
		}
		reached[got.Text] = true
		if (got.Delay != 0) != (want == "让您久等了") {
			t.Errorf("%v: the delay is %v", in, got.Delay)
		}
		if len(got.Text) > 2048 {
			t.Errorf("%v: the reply has %d bytes, WeChat shows 2048", in, len(got.Text))
		}
	}
	for _, r := range set.rules {
		if r.kind != pattern && !reached[r.reply] {
			t.Errorf("the rule in line %d was not reached by any of the questions", r.line)
		}
	}
	help, _ := set.Match(said("帮助"))
	for line := range strings.Lines(help.Text) {
		if offer, ok := strings.CutPrefix(line, "· "); ok {
			ask, _, _ := strings.Cut(offer, "：")
			if got, ok := set.Match(said(ask)); !ok || strings.HasPrefix(got.Text, "抱歉") {
				t.Errorf("帮助 offers %q, which gets %q", ask, got.Text)
			}
		}
	}
}

func TestFoldIsIdempotent(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "s")
		once := Fold(s)
		if twice := Fold(once); twice != once {
			t.Errorf("%q folds to %q and then to %q", s, once, twice)
		}
	})
}

// TestFirstMatchWins compares Match with its plainest form on generated rules of exact and contains values.
func TestFirstMatchWins(t *testing.T) {
	t.Parallel()
	word := rapid.StringMatching(`[ab]{1,3}`)
	rapid.Check(t, func(t *rapid.T) {
		var yaml strings.Builder
		yaml.WriteString("rules:\n")
		type plain struct {
			exact bool
			value string
		}
		var rules []plain
		for range rapid.IntRange(0, 6).Draw(t, "rules") {
			r := plain{exact: rapid.Bool().Draw(t, "exact"), value: word.Draw(t, "value")}
			if r.exact && slices.Contains(rules, r) {
				continue // a fault: it would never match
			}
			kind := map[bool]string{true: "exact", false: "contains"}[r.exact]
			rules = append(rules, r)
			yaml.WriteString("  - {match: " + kind + ", value: " + r.value + ", reply: r" + string(rune('0'+len(rules))) + "}\n")
		}
		set, err := Parse("rules.yaml", []byte(yaml.String()))
		if err != nil {
			t.Fatal(err)
		}
		text := word.Draw(t, "text")
		want := ""
		for i, r := range rules {
			if r.exact && r.value == text || !r.exact && strings.Contains(text, r.value) {
				want = "r" + string(rune('1'+i))
				break
			}
		}
		if got, ok := set.Match(said(text)); got.Text != want || ok != (want != "") {
			t.Errorf("%q: got %q, want %q, of\n%s", text, got.Text, want, &yaml)
		}
	})
}

// BenchmarkMatch is one message through the shipped rules: the first rules, and all of them to the default.
func BenchmarkMatch(b *testing.B) {
	set, err := Parse("rules.yaml", examples.Rules)
	if err != nil {
		b.Fatal(err)
	}
	for name, in := range map[string]*messages.Inbound{"greeting": said("你好"), "default": said("宇宙的尽头是什么")} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := set.Match(in); !ok {
					b.Fatal("no rule")
				}
			}
		})
	}
}
