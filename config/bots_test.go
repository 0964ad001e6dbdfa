package config_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"hongyan/config"
)

// withBots is a small configuration whose account asks all the bots that text has.
func withBots(names, text string) string {
	return small + "    bot: [" + names + "]\nadmin: {token: 0123456789abcdef}\nbots:\n" + text
}

func TestDefaultsOfBots(t *testing.T) {
	t.Parallel()
	cfg := mustLoad(t, write(t, "hongyan.yaml", withBots("model, web, other", `
  model: {type: openai, base_url: "https://a.example.com/v1", api_key: k, model: large, tools: [{name: now, description: the time, subject: t}]}
  web: {type: http, url: "https://b.example.com/bot", timeout:}
  other: {type: nats}
`)))
	silence := 4 * time.Second
	breaker := config.Breaker{Failures: 5, Window: 10 * time.Second, Open: 10 * time.Second, Probes: 1, Silence: &silence}
	want := map[string]config.Bot{
		"model": {
			Type: config.BotOpenAI, Model: "large",
			Endpoints: []config.Endpoint{{BaseURL: "https://a.example.com/v1", APIKey: "k", Model: "large", Weight: 1}},
			MaxTokens: 1024, ContextTokens: 8192, Images: config.ImagesOff,
			NewWords: []string{"/new", "新对话"}, NewReply: "好的，我们重新开始。", Exhausted: "今天的对话额度已经用完，明天再来吧。",
			Tools: []config.Tool{{
				Name: "now", Description: "the time", Subject: "t", Timeout: 10 * time.Second,
				Parameters: map[string]any{"type": "object", "properties": map[string]any{}},
			}},
			Timeout: time.Minute, MaxInFlight: 512, Breaker: breaker,
		},
		"web": {
			Type: config.BotHTTP, Endpoints: []config.Endpoint{{URL: "https://b.example.com/bot", Weight: 1}}, Media: config.MediaOff,
			Timeout: time.Minute, MaxInFlight: 512, Breaker: breaker,
		},
		"other": {
			Type: config.BotNATS, Subject: "hy.bot.other", Media: config.MediaOff, Timeout: time.Minute, MaxInFlight: 512, Breaker: breaker,
		},
	}
	if !reflect.DeepEqual(cfg.Bots, want) {
		t.Errorf("got\n%+v\nwant\n%+v", cfg.Bots, want)
	}
	if !cfg.Bots["other"].Type.Remote() || config.BotRules.Remote() || config.BotFAQ.Remote() {
		t.Error("types are taken for remote that are not, or the other way round")
	}
	limits := config.Limits{
		UserRate: config.Rate{Count: 1, Per: time.Second}, UserBurst: 10, AccountRate: config.Rate{Count: 2000, Per: time.Second},
	}
	if cfg.Limits != limits {
		t.Errorf("limits %+v", cfg.Limits)
	}
}

// TestZerosAreSaid: what 0 means stays 0, and does not become the default.
func TestZerosAreSaid(t *testing.T) {
	t.Parallel()
	cfg := mustLoad(t, write(t, "hongyan.yaml", withBots("model", `
  model:
    type: openai
    model: large
    temperature: 0
    new_words: []
    rate: 0
    breaker: {silence: 0s}
    endpoints:
      - {base_url: "https://a.example.com/v1", weight: 0}
      - {base_url: "https://b.example.com/v1", model: small, weight: 7}
      - {base_url: "https://c.example.com/v1"}
`)+"limits: {user_rate: 0, account_rate: 0}\n"))
	b := cfg.Bots["model"]
	if b.Temperature == nil || *b.Temperature != 0 || b.NewWords == nil || len(b.NewWords) != 0 || *b.Breaker.Silence != 0 {
		t.Errorf("got %+v", b)
	}
	want := []config.Endpoint{
		{BaseURL: "https://a.example.com/v1", Model: "large"},
		{BaseURL: "https://b.example.com/v1", Model: "small", Weight: 7},
		{BaseURL: "https://c.example.com/v1", Model: "large", Weight: 1},
	}
	if !slices.Equal(b.Endpoints, want) {
		t.Errorf("endpoints %+v", b.Endpoints)
	}
	if cfg.Limits.UserRate.PerSecond() != 0 || cfg.Limits.AccountRate.PerSecond() != 0 {
		t.Errorf("limits %+v", cfg.Limits)
	}
}

// TestCompleteNeedsNoFile: a configuration that was put together in Go gets the same defaults, and writes what loads again.
func TestCompleteNeedsNoFile(t *testing.T) {
	t.Parallel()
	cfg := config.Default()
	account := config.DefaultAccount()
	account.ID, account.AppID, account.Token = "demo", "wx0123456789abcdef", "abcdef"
	account.EncodingAESKey, account.Bot = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ", []string{"model"}
	cfg.Accounts = []config.Account{account}
	cfg.Bots = map[string]config.Bot{"model": {Type: config.BotOpenAI, BaseURL: "http://127.0.0.1:1/v1", Model: "example"}}
	cfg.Complete()
	if b := cfg.Bots["model"]; len(b.Endpoints) != 1 || b.Endpoints[0].Model != "example" || b.MaxTokens != 1024 || b.BaseURL != "" {
		t.Errorf("got %+v", b)
	}
	cfg.Node.DataDir = "/data"
	first := values(t, cfg)
	cfg.Complete()
	if second := values(t, cfg); first != second {
		t.Errorf("completed again it differs:\n%s\n%s", first, second)
	}
	again := mustLoad(t, write(t, "again.yaml", strings.ReplaceAll(first, "api_keys: []\n", "")))
	if second := values(t, again); !strings.Contains(second, "base_url: http://127.0.0.1:1/v1") ||
		strings.ReplaceAll(first, "api_keys: []\n", "") != strings.ReplaceAll(second, "api_keys: []\n", "") {
		t.Errorf("--- written\n%s\n--- read\n%s", first, second)
	}
}

func TestParametersOfTools(t *testing.T) {
	t.Parallel()
	cfg := mustLoad(t, write(t, "hongyan.yaml", withBots("model", `
  model:
    type: openai
    base_url: https://a.example.com/v1
    model: large
    tools:
      - name: weather
        description: the weather
        subject: hy.tool.weather
        parameters: &parameters
          type: object
          required: [city]
          additionalProperties: false
          properties:
            city: {type: string, description: "城市", enum: ["1", on, null, true, 1, -1.5, 0x10, 18446744073709551615]}
            1: {type: number, minimum: 1e+2, default:}
      - {name: again, description: the same, subject: hy.tool.again, parameters: {<<: *parameters, required: []}}
`)))
	properties := map[string]any{
		"city": map[string]any{"type": "string", "description": "城市", "enum": []any{"1", "on", nil, true, 1, -1.5, 16, uint64(18446744073709551615)}},
		"1":    map[string]any{"type": "number", "minimum": 100.0, "default": nil},
	}
	for i, required := range [][]any{{"city"}, {}} {
		want := config.Schema{"type": "object", "required": required, "additionalProperties": false, "properties": properties}
		got := cfg.Bots["model"].Tools[i].Parameters
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got\n%#v\nwant\n%#v", got, want)
		}
		if _, err := json.Marshal(got); err != nil {
			t.Error(err)
		}
	}
	first := values(t, cfg)
	if second := values(t, mustLoad(t, write(t, "again.yaml", first))); first != second {
		t.Errorf("--- written\n%s\n--- read\n%s", first, second)
	}
}

// TestBoundsOfParameters: what a mistake or an alias makes endless is refused, and what is only large is not.
func TestBoundsOfParameters(t *testing.T) {
	t.Parallel()
	tool := func(name, value string) string {
		return "      - {name: " + name + ", description: d, subject: s, parameters: {type: object, x: " + value + "}}\n"
	}
	nested := func(levels int) string { return strings.Repeat("[", levels) + strings.Repeat("]", levels) }
	many := func(values int) string { return "[" + strings.Repeat("0,", values) + "]" }
	bomb := "[&a [1,2,3,4,5,6,7,8,9,0], &b [*a,*a,*a,*a,*a,*a,*a,*a], &c [*b,*b,*b,*b,*b,*b,*b,*b], &d [*c,*c,*c,*c,*c,*c,*c,*c], [*d,*d,*d,*d]]"
	for name, c := range map[string]struct {
		tools   string
		refused bool
	}{
		"deep":         {tool("a", nested(32)), false},
		"too deep":     {tool("a", nested(33)), true},
		"many":         {tool("a", many(9000)) + tool("b", many(9000)), false}, // each for itself
		"too many":     {tool("a", many(10_000)), true},
		"few, aliased": {tool("a", bomb), true},
	} {
		_, report := config.Parse("x.yaml", []byte(withBots("model",
			"  model:\n    type: openai\n    base_url: https://a.example.com\n    model: m\n    tools:\n"+c.tools)), nil)
		if got := reportText(t, report); strings.Contains(got, "go on for too long") != c.refused || (report.Err() != nil) != c.refused {
			t.Errorf("%s: got\n%s", name, got)
		}
	}
}

// TestTextsOfBotsFitIntoAMessage: WeChat takes 2,048 bytes.
func TestTextsOfBotsFitIntoAMessage(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("长", 683)
	for key, text := range map[string]string{
		"bots.model.new_reply":           "",
		"bots.model.exhausted":           "",
		"accounts[0].reply.limited":      "HONGYAN_ACCOUNTS_DEMO_REPLY_LIMITED",
		"accounts[0].reply.busy":         "HONGYAN_ACCOUNTS_DEMO_REPLY_BUSY",
		"accounts[0].reply.unavailable":  "HONGYAN_ACCOUNTS_DEMO_REPLY_UNAVAILABLE",
		"accounts[0].reply.hand_over":    "HONGYAN_ACCOUNTS_DEMO_REPLY_HAND_OVER",
		"accounts[0].safety.replacement": "HONGYAN_ACCOUNTS_DEMO_SAFETY_REPLACEMENT",
		"accounts[0].safety.refusal":     "HONGYAN_ACCOUNTS_DEMO_SAFETY_REFUSAL",
	} {
		if text == "" {
			text = "HONGYAN_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
		}
		src := []byte(withBots("model", `  model: {type: openai, base_url: "https://a.example.com", model: m}`+"\n"))
		_, report := config.Parse("x.yaml", src, []string{text + "=" + long})
		if got := reportText(t, report); !strings.Contains(got, key+": the text has 2049 bytes") {
			t.Errorf("%s: got\n%s", key, got)
		}
		if _, report := config.Parse("x.yaml", src, []string{text + "=" + long[3:]}); report.Err() != nil {
			t.Errorf("%s: %v", key, report.Err())
		}
	}
}

// TestTooManyTools: models refuse more than 128.
func TestTooManyTools(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]bool{128: false, 129: true} {
		var tools strings.Builder
		for i := range n {
			tools.WriteString("      - {name: t" + strconv.Itoa(i) + ", description: d, subject: s}\n")
		}
		_, report := config.Parse("x.yaml", []byte(withBots("model",
			"  model:\n    type: openai\n    base_url: https://a.example.com\n    model: m\n    tools:\n"+tools.String())), nil)
		if got := reportText(t, report); strings.Contains(got, "bots.model.tools: 129 tools are more than 128") != want {
			t.Errorf("%d tools: got\n%s", n, got)
		}
	}
}

// TestAnyParametersLoadBack writes trees that JSON Schema can have, and reads them.
func TestAnyParametersLoadBack(t *testing.T) {
	t.Parallel()
	text := rapid.OneOf(rapid.StringMatching(`[ -~\n你]{0,12}`),
		rapid.SampledFrom([]string{"null", "~", "true", "no", "1", "1.0", ".inf", "0x1", "- a", "a: b", "#", "*a", "&a", "<<", "2026-01-01", "'", `"`, "|", "!x", "%"}))
	var tree func(depth int) *rapid.Generator[any]
	tree = func(depth int) *rapid.Generator[any] {
		leaves := rapid.OneOf(text.AsAny(), rapid.Bool().AsAny(), rapid.Int().AsAny(), rapid.Float64Range(-1e300, 1e300).AsAny())
		if depth == 0 {
			return leaves
		}
		return rapid.OneOf(leaves, rapid.SliceOfN(tree(depth-1), 0, 3).AsAny(), rapid.MapOfN(text, tree(depth-1), 0, 3).AsAny())
	}
	base := mustLoad(t, write(t, "hongyan.yaml", withBots("model", `
  model: {type: openai, base_url: "https://a.example.com/v1", model: m, tools: [{name: a, description: a, subject: a}]}
`)))
	rapid.Check(t, func(t *rapid.T) {
		parameters := rapid.MapOfN(text, tree(3), 0, 4).Draw(t, "parameters")
		parameters["type"] = "object"
		base.Bots["model"].Tools[0].Parameters = parameters
		written, err := config.Marshal(base)
		if err != nil {
			t.Fatal(err)
		}
		read, report := config.Parse("x.yaml", written, nil)
		if err := report.Err(); err != nil {
			t.Fatalf("%v\n%s", err, written)
		}
		want, got := asJSON(t, parameters), asJSON(t, read.Bots["model"].Tools[0].Parameters)
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("written\n%#v\nread\n%#v\n%s", want, got, written)
		}
	})
}

// asJSON is v as whoever reads its JSON gets it.
func asJSON(t *rapid.T, v any) (out any) {
	text, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestExamplesOfTheReference takes the signs of comment away from the bots that reference.yaml shows: they load, and what they show
// as a default is one.
func TestExamplesOfTheReference(t *testing.T) {
	t.Parallel()
	lines := strings.Split(string(config.Reference()), "\n")
	for i, line := range lines {
		if rest, ok := strings.CutPrefix(line, "  # "); ok && strings.HasPrefix(strings.TrimLeft(rest, " #"), "type:") ||
			ok && !strings.HasPrefix(rest, "Bots that") && !strings.HasPrefix(rest, "faq:") {
			lines[i] = "  " + rest
		}
	}
	text := strings.Replace(strings.Join(lines, "\n"), "bot: [rules]", "bot: [rules, model, several, web, other]", 1)
	dir := t.TempDir()
	path := filepath.Join(dir, "hongyan.yaml")
	for name, content := range map[string]string{path: text, filepath.Join(dir, "rules.yaml"): "rules: []\n"} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got := mustLoad(t, path).Bots
	model := config.Bot{
		Type: config.BotOpenAI, BaseURL: "https://api.example.com/v1", Model: "example-large", System: "你是{account}的客服。今天是{date}，现在是{time}。",
		Tools: []config.Tool{{
			Name: "weather", Description: "查询一个城市今天的天气", URL: "https://tools.example.com/weather",
			Parameters: map[string]any{
				"type": "object", "properties": map[string]any{"city": map[string]any{"type": "string"}}, "required": []any{"city"},
			},
		}},
	}
	several := config.Bot{Type: config.BotOpenAI, Model: "example-large", Endpoints: []config.Endpoint{
		{BaseURL: "https://one.example.com/v1", Weight: 3}, {BaseURL: "https://two.example.com/v1", Model: "example-small"},
	}}
	want := config.Config{Bots: map[string]config.Bot{
		"model": model, "several": several,
		"web":   {Type: config.BotHTTP, URL: "https://bot.example.com/answer"},
		"other": {Type: config.BotNATS},
		"rules": {Type: config.BotRules, File: config.Path(filepath.Join(dir, "rules.yaml"))},
	}}
	want.Complete()
	for name, w := range want.Bots {
		if g := got[name]; !reflect.DeepEqual(g, w) {
			t.Errorf("%s: the reference shows\n%+v\nthe defaults are\n%+v", name, g, w)
		}
	}
	if len(got) != len(want.Bots) {
		t.Errorf("%d bots", len(got))
	}
}

func TestKeysInAFileForAll(t *testing.T) {
	t.Parallel()
	const warning = "everybody on this machine can read the file, and so this key"
	for _, c := range []struct {
		bot     string
		mode    os.FileMode
		want    bool
		environ []string
	}{
		{`{type: openai, base_url: "https://a.example.com/v1", model: m, api_key: do-not-show-me}`, 0o644, true, nil},
		{`{type: openai, base_url: "https://a.example.com/v1", model: m, api_key: do-not-show-me}`, 0o640, false, nil},
		{`{type: openai, base_url: "https://a.example.com/v1", model: m}`, 0o644, false, nil},
		{`{type: openai, base_url: "https://a.example.com/v1", model: m, api_key_file: hongyan.yaml}`, 0o644, false, nil},
		{`{type: openai, model: m, endpoints: [{base_url: "https://a.example.com/v1"}, {base_url: "https://a.example.com/v1", api_key: do-not-show-me}]}`, 0o644, true, nil},
		{`{type: openai, model: m, base_url: "https://a.example.com/v1", tools: [{name: n, description: d, url: "https://a.example.com", secret: do-not-show-me}]}`, 0o644, true, nil},
		{`{type: openai, base_url: "https://a.example.com/v1", model: m, api_key: replaced}`, 0o644, false, []string{"HONGYAN_BOTS_MODEL_API_KEY=x"}},
		{`{type: http, url: "https://a.example.com/v1", secret: do-not-show-me}`, 0o644, true, nil},
	} {
		path := write(t, "hongyan.yaml", withBots("model", "  model: "+c.bot+"\n"))
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		_, report := config.Load(path, c.environ)
		if err := report.Err(); err != nil {
			t.Error(err)
		}
		if got := reportText(t, report); strings.Contains(got, warning) != c.want || strings.Contains(got, "do-not-show-me") {
			t.Errorf("%s, mode %o: got\n%s", c.bot, c.mode, got)
		}
	}
}
