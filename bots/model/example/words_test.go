package example

import (
	"encoding/base64"
	"math"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"
)

func nan() float64 { return math.NaN() }

func assistant(text string) o { return o{"role": "assistant", "content": text} }

// TestContext: what was sent before can be seen in the answer.
func TestContext(t *testing.T) {
	t.Parallel()
	c := overTCP(t, New(Options{}))
	for _, each := range []struct {
		messages []o
		says     []string
		not      string
	}{
		{[]o{user("讲个笑话")}, []string{"讲个笑话", "第 1 句", "base_url"}, ""},
		{[]o{{"role": "system", "content": "秘密的提示"}, user("讲个笑话"), assistant("好"), user("再讲一个")}, []string{"再讲一个", "2 句", "讲个笑话"}, "秘密"},
		{[]o{user("我叫小明"), assistant("好"), user("我刚才说了什么")}, []string{"刚才说的是“我叫小明”", "1 句"}, ""},
		{[]o{user("一"), assistant("好"), user("二"), assistant("好"), user("我刚才说了什么？")}, []string{"刚才说的是“二”", "2 句"}, "“一”"},
		{[]o{user("我刚才说了什么")}, []string{"开头"}, "“"},
		{[]o{user("hello")}, []string{"You said “hello”", "Example model"}, "您"},
		{[]o{user("my name is Ming"), assistant("ok"), user("What did I just say?")}, []string{"You said “my name is Ming”"}, ""},
		{[]o{user(strings.Repeat("很长", 100))}, []string{strings.Repeat("很长", 50) + "…"}, strings.Repeat("很长", 51)},
	} {
		h := c.hear(nil, each.messages...)
		for _, part := range each.says {
			if !strings.Contains(h.text, part) {
				t.Errorf("%v: %q says nothing of %q", each.messages, h.text, part)
			}
		}
		if each.not != "" && strings.Contains(h.text, each.not) {
			t.Errorf("%v: %q says %q", each.messages, h.text, each.not)
		}
	}
}

// TestStory: exactly so long, and cut where the request has a limit.
func TestStory(t *testing.T) {
	t.Parallel()
	c := overTCP(t, New(Options{}))
	for _, question := range []string{"讲个长故事", "long", "tell me a long story"} {
		if h := c.hear(streamed, user(question)); utf8.RuneCountInString(h.text) != StoryLength || h.finish != "stop" {
			t.Errorf("%q: %d characters, %q", question, utf8.RuneCountInString(h.text), h.finish)
		}
	}
	for _, key := range []string{"max_tokens", "max_completion_tokens"} {
		if h := c.hear(o{key: 100}, user("讲个长故事")); h.usage.CompletionTokens != 100 || h.finish != "length" || utf8.RuneCountInString(h.text) > 200 {
			t.Errorf("%s: %d tokens, %q", key, h.usage.CompletionTokens, h.finish)
		}
	}
	if h := c.hear(nil, user("how long is the way")); utf8.RuneCountInString(h.text) > 1000 {
		t.Error("a question with the word long got the story")
	}
}

func TestReasoning(t *testing.T) {
	t.Parallel()
	e := New(Options{})
	c := overTCP(t, e)
	plain := c.hear(streamed, user("你好"))
	set(t, e, Knobs{Reasoning: true})
	for _, more := range []o{nil, streamed} {
		if h := c.hear(more, user("你好")); h.thought == "" || h.text != plain.text || h.usage.CompletionTokens <= plain.usage.CompletionTokens {
			t.Errorf("with reasoning %q it says %q, without %q", h.thought, h.text, plain.text)
		}
	}
}

func TestImages(t *testing.T) {
	t.Parallel()
	c := overTCP(t, New(Options{}))
	png := "\x89PNG\r\n\x1a\n" + strings.Repeat("x", 1226)
	parts := func(url, text string) []o {
		out := []o{{"type": "image_url", "image_url": o{"url": url}}}
		if text != "" {
			out = append([]o{{"type": "text", "text": text}}, out...)
		}
		return out
	}
	inline := "data:image/gif;base64," + base64.StdEncoding.EncodeToString([]byte(png)) // its bytes are what counts
	if h := c.hear(nil, user(parts(inline, "这是什么"))); !strings.Contains(h.text, "收到 1 张图片：image/png，1.2 KB。") || !strings.Contains(h.text, "“这是什么”") {
		t.Errorf("an inline picture: %q %s", h.text, h.failure)
	}
	if h := c.hear(nil, user(parts(inline, "[图片]"))); strings.Contains(h.text, "“") {
		t.Errorf("a picture with its placeholder: %q", h.text)
	}
	if h := c.hear(nil, user(parts("https://pic.example/1.jpg", ""))); !strings.Contains(h.text, "没有去取") || strings.Contains(h.text, "“") {
		t.Errorf("an address: %q %s", h.text, h.failure)
	}
	for _, bad := range []any{
		parts("ftp://pic.example", ""), parts("data:image/png,abc", ""), parts("data:image/png;base64,###", ""), parts("data:image/png;base64,", ""),
		[]o{{"type": "input_audio"}}, 7, o{},
	} {
		if h := c.hear(nil, user(bad)); h.status != http.StatusBadRequest || !strings.HasPrefix(h.failure, invalidRequest+" ") {
			t.Errorf("%v: status %d, %s", bad, h.status, h.failure)
		}
	}
}

// TestTools: a tool that the question names is called once, with arguments from the question, and its result is told.
func TestTools(t *testing.T) {
	t.Parallel()
	c := overTCP(t, New(Options{}))
	weather := o{"type": "function", "function": o{"name": "weather", "parameters": o{"type": "object", "properties": o{
		"city": o{"type": "string"}, "days": o{"type": "integer"}, "exact": o{"type": "boolean"}, "other": o{"type": "array"},
	}}}}
	for _, stream := range []bool{false, true} {
		more := o{"tools": []o{weather}, "stream": stream}
		h := c.hear(more, user("查 Weather 北京 3 天"))
		if h.tool != "weather" || h.arguments != `{"city":"北京 3 天","days":3,"exact":true}` || h.finish != "tool_calls" || h.text != "" {
			t.Errorf("stream %v: called %q with %s, said %q, ended %q", stream, h.tool, h.arguments, h.text, h.finish)
		}
		call := o{"role": "assistant", "content": nil, "tool_calls": []o{{"id": "c1", "type": "function", "function": o{"name": "weather", "arguments": "{}"}}}}
		result := o{"role": "tool", "tool_call_id": "c1", "content": "晴，25 度"}
		if h := c.hear(more, user("查 weather 北京"), call, result); h.tool != "" || !strings.Contains(h.text, "工具 weather 回答：晴，25 度") {
			t.Errorf("stream %v: after the result it called %q and said %q", stream, h.tool, h.text)
		}
		if h := c.hear(more, user("查 weather 北京"), call, result, assistant("好"), user("再查 weather 上海")); h.tool != "weather" {
			t.Errorf("stream %v: the next question called %q and said %q", stream, h.tool, h.text)
		}
		if h := c.hear(more, user("你好")); h.tool != "" || h.text == "" {
			t.Errorf("stream %v: a question without the tool called %q", stream, h.tool)
		}
		more["tool_choice"] = "none"
		if h := c.hear(more, user("查 weather 北京")); h.tool != "" {
			t.Errorf("stream %v: called %q though it must not", stream, h.tool)
		}
	}
	if h := c.hear(nil, o{"role": "tool", "tool_call_id": "c9", "content": "?"}); h.status != http.StatusBadRequest {
		t.Errorf("a result that nobody asked for: status %d", h.status)
	}
	if h := c.hear(o{"tools": []o{weather}}, user("weather 007")); h.arguments != "{}" {
		t.Errorf("a number that JSON does not have: %s", h.arguments)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	e := New(Options{})
	c := overTCP(t, e)
	for body, says := range map[string]string{
		"":                              "cannot be read",
		"[]":                            "cannot be read",
		`{"messages":[]}`:               "provide a model",
		`{"model":"m","messages":[]}`:   "at least one message",
		`{"model":"m","messages":[{}]}`: "the role",
	} {
		r, err := c.http.Post(c.base+"/v1/chat/completions", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		text := new(strings.Builder)
		_ = r.Write(text)
		r.Body.Close()
		if r.StatusCode != http.StatusBadRequest || !strings.Contains(text.String(), says) || !strings.Contains(text.String(), `{"error":{"message":`) {
			t.Errorf("%q: %s", body, text)
		}
	}
	want(t, e, Stats{Requests: 5, Failed: 5})
	for path, status := range map[string]int{"/v1/models": 200, "/v1/embeddings": 404, "/v1/chat/completions": 404} {
		r, err := c.http.Get(c.base + path)
		if err != nil {
			t.Fatal(err)
		}
		text := new(strings.Builder)
		_ = r.Write(text)
		r.Body.Close()
		if r.StatusCode != status || status == 200 && !strings.Contains(text.String(), `"id":"example"`) {
			t.Errorf("GET %s: %s", path, text)
		}
	}
}

// TestPieces: nothing is lost between the tokens.
func TestPieces(t *testing.T) {
	t.Parallel()
	for text, count := range map[string]int{"": 0, "你好": 2, "hello": 2, "a你b": 3, "abcd": 1, "abcde你": 3, "😀!": 2, "é": 1} {
		if p := pieces(text); len(p) != count || strings.Join(p, "") != text {
			t.Errorf("%q is %q", text, p)
		}
	}
}
