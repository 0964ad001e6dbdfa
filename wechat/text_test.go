package wechat_test

import (
	"slices"
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

func TestSplitText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		s     string
		limit int
		want  []string
	}{
		{"", 10, nil},
		{"汉字", 6, []string{"汉字"}},
		{"汉字汉", 6, []string{"汉字", "汉"}},
		{"汉字", 0, []string{"汉", "字"}},
		{"😀😀", -1, []string{"😀", "😀"}},
		{"aaaaaaaa\nb ccc", 12, []string{"aaaaaaaa\n", "b ccc"}},
		{"a\nbbbbbbbbbbbb", 12, []string{"a\nbbbbbbbbbb", "bb"}},                             // too far in front
		{"aaaaaaaaaa\n。b ccc", 15, []string{"aaaaaaaaaa\n", "。b ccc"}},                       // a line end goes before a sentence end
		{"今天天气很好！你呢，吃了", 27, []string{"今天天气很好！", "你呢，吃了"}},                                   // its last third begins at byte 18
		{"一二三。一二三？四五六七八", 27, []string{"一二三。一二三？", "四五六七八"}},                                 // the last of two
		{"一二三。四五六七八九十一", 27, []string{"一二三。四五六七八", "九十一"}},                                   // in the first two thirds
		{"123456789 <a href=\"u\">v</a>", 15, []string{"123456789 <a hr", "ef=\"u\">v</a>"}}, // the link begins too early
		{"1234567890 1<a href=\"u\">v</a>", 18, []string{"1234567890 1<a hre", "f=\"u\">v</a>"}},
		{"1234567890 12<a href=\"u\">v</a>", 18, []string{"1234567890 12", "<a href=\"u\">v</a>"}},
		{"12345 <a href=\"u\">v</a>。89", 26, []string{"12345 <a href=\"u\">v</a>。", "89"}},
		{"一二三四五六。<a href=\"u。\">v</a>", 30, []string{"一二三四五六。", "<a href=\"u。\">v</a>"}},                         // the end within the link does not count
		{"1234567890123456789012345 <a >v</a>6789", 36, []string{"1234567890123456789012345 <a >v</a>6", "789"}}, // a whole link
		{"a\xffb", 4, []string{"a\uFFFD", "b"}},
	} {
		if got := wechat.SplitText(c.s, c.limit); !slices.Equal(got, c.want) {
			t.Errorf("SplitText(%q, %d) = %q, want %q", c.s, c.limit, got, c.want)
		}
	}
}

func TestSplitTextKeepsAll(t *testing.T) {
	t.Parallel()
	pieces := rapid.SampledFrom([]string{"a", "汉", "😀", "\n", "。", "！", "？", ". ", "\xff", "é", `<a href="x">`, "</a>"})
	rapid.Check(t, func(t *rapid.T) {
		s := strings.Join(rapid.SliceOf(pieces).Draw(t, "pieces"), "")
		limit := rapid.IntRange(-1, 40).Draw(t, "limit")
		parts := wechat.SplitText(s, limit)
		for i, part := range parts {
			if part == "" || len(part) > max(limit, 4) || !utf8.ValidString(part) {
				t.Fatalf("part %q of %q", part, parts)
			}
			// No more parts than are needed: each is more than two thirds full, but for what a rune's border takes.
			if i < len(parts)-1 && len(part) < max(limit, 4)*2/3-3 {
				t.Fatalf("part %q of %q is too short", part, parts)
			}
		}
		if got, want := strings.Join(parts, ""), strings.ToValidUTF8(s, "\uFFFD"); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}
