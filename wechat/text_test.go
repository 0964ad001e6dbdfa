package wechat_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"hongyan/wechat"
)

func TestCutText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		s          string
		max        int
		head, rest string
	}{
		{"", 10, "", ""},
		{"0123456789", 10, "0123456789", ""},
		{"0123456789a", 10, "0123456789", "a"},
		{"汉字汉字", 10, "汉字汉", "字"},
		{"汉字", 0, "汉", "字"},
		{"😀😀", -1, "😀", "😀"},
		{"aaaaaaaa\nb ccc", 10, "aaaaaaaa\n", "b ccc"},
		{"a\nbbbbbbbbbbbb", 10, "a\nbbbbbbbb", "bbbb"},
		{"今天天气很好。你呢，吃了", 24, "今天天气很好。", "你呢，吃了"},
		{"一。二\n三四。五六七八", 20, "一。二\n三四。", "五六七八"},
		{"It is 3.14 or so. And then", 20, "It is 3.14 or so. ", "And then"},
		{"www.example.com/a.html", 20, "www.example.com/a.ht", "ml"},
		{"a\xff\xfeb", 10, "a\uFFFDb", ""},
		{"a\xffb", 4, "a\uFFFD", "b"},
	} {
		if head, rest := wechat.CutText(c.s, c.max); head != c.head || rest != c.rest {
			t.Errorf("CutText(%q, %d) = %q, %q; want %q, %q", c.s, c.max, head, rest, c.head, c.rest)
		}
	}
}

func TestCutTextKeepsAll(t *testing.T) {
	t.Parallel()
	pieces := rapid.SampledFrom([]string{"a", "汉", "😀", "\n", "。", ". ", "\xff", "é"})
	rapid.Check(t, func(t *rapid.T) {
		s := strings.Join(rapid.SliceOf(pieces).Draw(t, "pieces"), "")
		limit := rapid.IntRange(-1, 40).Draw(t, "max")
		var parts []string
		for head, rest := wechat.CutText(s, limit); ; head, rest = wechat.CutText(rest, limit) {
			if len(head) > max(limit, 4) || !utf8.ValidString(head) || head == "" && rest != "" {
				t.Fatalf("head %q, rest %q", head, rest)
			}
			parts = append(parts, head)
			if rest == "" {
				break
			}
		}
		if got, want := strings.Join(parts, ""), strings.ToValidUTF8(s, "\uFFFD"); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}
