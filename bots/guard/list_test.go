package guard

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"hongyan/bots/fold"
)

func parsed(t interface {
	Helper()
	Fatal(args ...any)
}, words ...string,
) *List {
	t.Helper()
	l, err := Parse("words.txt", []byte(strings.Join(words, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestReplace(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		words, text, want string
	}{
		{"坏词", "这是坏词。", "这是***。"},
		{"坏词", "坏词", "***"},
		{"坏词", "坏 词", "坏 词"}, // a blank between makes two words
		{"坏词", "坏\u200b\ufeff词！", "***！"},
		{"坏词", "坏词\u200b坏词", "***\u200b***"},
		{"坏词", "坏词坏词", "******"},
		{"BadWord", "a ｂａｄｗｏｒｄ here", "a *** here"},
		{"bad word", "a BAD \n　 WORD here", "a *** here"},
		{"bad word", "  bad word  ", "  ***  "},
		{"  bad  ", "bad", "***"},
		{"ab|bc", "xabcx", "x***x"},
		{"ab|abcd|bc", "xabcdx", "x***x"},
		{"abcd|bc", "xabcx", "xa***x"}, // the long one does not come to its end, the short one within does
		{"he|she|his|hers", "ushers", "u***"},
		{"a|ab|bab|bc|bca|c|caa", "abccab", "*********"}, // the example of the paper: abc, then c, then ab
		{"ß", "STRASSE Straße", "STRASSE Stra***e"},
		{"k", "\u212a", "***"},
		{"\U0001f4a9", "so \U0001f4a9 what", "so *** what"},
		{"坏", "\xff坏\xfe", "\xff***\xfe"},
		{"x*", "ax*b", "a***b"},
		{"b|a***c", "xabcx", "x***x"},          // a word that comes into being by a replacement
		{"", "anything", "anything"},           // no words
		{"坏词", "好话", "好话"},                     // none of them
		{"# 坏词|好 # 话", "# 坏词 好话", "# 坏词 ***话"}, // comments
		{"C#|＃x", "c# #X #y", "*** *** #y"},
	} {
		l := parsed(t, strings.Split(c.words, "|")...)
		got := l.Replace(c.text, "***")
		if got != c.want {
			t.Errorf("%s in %q: %q, want %q", c.words, c.text, got, c.want)
		}
		if l.Has(c.text) != (got != c.text) || l.Has(got) {
			t.Errorf("%s: Has(%q) is %v, Has(%q) is %v", c.words, c.text, l.Has(c.text), got, l.Has(got))
		}
	}
}

// A list that makes a word out of every replacement comes to its end.
func TestReplaceEnds(t *testing.T) {
	t.Parallel()
	l := parsed(t, "坏", "yx", "xx", "yy")
	if got := l.Replace(strings.Repeat("坏", 100), "xy"); got != "xy" {
		t.Errorf("got %q", got)
	}
}

// naive is what is left of the list without its automaton: whether a folded text has any of the words.
func naive(words []string, text string) bool {
	folded := fold.Text(text)
	return slices.ContainsFunc(words, func(w string) bool {
		f := fold.Text(w)
		return f != "" && strings.Contains(folded, f)
	})
}

// Few signs, so that words meet and overlap all the time.
var sign = rapid.SampledFrom([]rune{'a', 'A', 'ａ', 'b', '*', '坏', '词', ' ', '\u3000', '\u200b', '\U0001f600'})

func text(limit int) *rapid.Generator[string] {
	return rapid.Map(rapid.SliceOfN(sign, 0, limit), func(r []rune) string { return string(r) })
}

// No word is left, nothing else is touched, UTF-8 stays UTF-8, whatever the words and the replacement are.
func TestReplaceLeavesNoWord(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOfN(text(4), 0, 8).Draw(t, "words")
		said := text(40).Draw(t, "said")
		replacement := rapid.SampledFrom([]string{"***", "x", "ab", "删"}).Draw(t, "replacement")
		l := parsed(t, words...)
		if l.Has(said) != naive(words, said) {
			t.Fatalf("Has says %v", l.Has(said))
		}
		if l.Has(replacement) {
			t.Skip("no such list is ever in force")
		}
		got := l.Replace(said, replacement)
		switch {
		case naive(words, got):
			t.Fatalf("%q has a word", got)
		case !naive(words, said) && got != said:
			t.Fatalf("%q has no word, and became %q", said, got)
		case !utf8.ValidString(got):
			t.Fatalf("%q is not UTF-8", got)
		}
	})
}

// What is replaced is what belongs to a word: each character of a span, blanks and invisible marks aside, stands in one.
func TestSpansAreWords(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOfN(text(4), 0, 8).Draw(t, "words")
		said := text(40).Draw(t, "said")
		var folded []rune
		covered := make(map[int]bool) // by the offset in said
		var at []int
		for r := range fold.Runes(said) {
			folded, at = append(folded, r.Value), append(at, r.Start)
		}
		for _, w := range words {
			word := []rune(fold.Text(w))
			for i := range folded {
				if len(word) > 0 && i+len(word) <= len(folded) && slices.Equal(folded[i:i+len(word)], word) {
					for j := range word {
						covered[at[i+j]] = true
					}
				}
			}
		}
		spans := parsed(t, words...).spans(said)
		for _, start := range at {
			inside := slices.ContainsFunc(spans, func(s span) bool { return s.start <= start && start < s.end })
			if inside != covered[start] {
				t.Fatalf("the character at %d is in a span: %v; in a word: %v; spans %v", start, inside, covered[start], spans)
			}
		}
	})
}

func TestParse(t *testing.T) {
	t.Parallel()
	many := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintln(&b, "w", i)
		}
		return b.String()
	}
	for _, c := range []struct {
		name, data string
		words      int
		line       int // of the fault; -1: none
		fault      string
	}{
		{"empty", "", 0, -1, ""},
		{"comments and blanks", "\ufeff# 一\r\n\n  \n坏词 # 二\r\n\t# 三\n", 1, -1, ""},
		{"the same words", "Bad\nBAD\nｂａｄ\n", 1, -1, ""},
		{"not UTF-8", "好\n坏\xff\n", 0, 2, "not UTF-8"},
		{"too long a word", "好\n\n" + strings.Repeat("坏", 100), 0, 3, "300 bytes"},
		{"as many as may be", many(MaxWords), MaxWords, -1, ""},
		{"one too many", many(MaxWords + 1), 0, MaxWords + 1, "100000 are the most"},
		{"the same one too often", many(MaxWords) + "W 7\n", MaxWords, -1, ""},
		{"too large", strings.Repeat("#\n", MaxFileSize), 0, 0, "more than"},
	} {
		l, err := Parse("words.txt", []byte(c.data))
		var faulty *Error
		switch {
		case c.line < 0 && (err != nil || l.Len() != c.words):
			t.Errorf("%s: %v, %v", c.name, l, err)
		case c.line >= 0 && (!errors.As(err, &faulty) || faulty.Line != c.line || !strings.Contains(err.Error(), c.fault)):
			t.Errorf("%s: %v", c.name, err)
		case c.line >= 0 && (strings.Contains(err.Error(), "坏") || !strings.HasPrefix(err.Error(), "words.txt:")):
			t.Errorf("%s: it quotes the word, or lacks the file: %v", c.name, err)
		}
	}
}

// large is a list of n Chinese words of two to four characters, and a text of so many bytes in which none of them is.
func large(n, size int) (words []string, text string) {
	random := rand.New(rand.NewPCG(1, 2))
	known := make(map[string]bool, n)
	for len(words) < n {
		w := make([]rune, 2+random.IntN(3))
		for i := range w {
			w[i] = '一' + rune(random.IntN(3000))
		}
		w[len(w)-1] = '龟' // which the text has not, so that it goes far along the words and back
		if !known[string(w)] {
			known[string(w)] = true
			words = append(words, string(w))
		}
	}
	var b strings.Builder
	for b.Len() < size-utf8.UTFMax {
		b.WriteRune('一' + rune(random.IntN(3000)))
	}
	return words, b.String()
}

// A text of 64 KiB against 100,000 words; "times" is how much longer it takes to look for one word after the other.
func BenchmarkReplace(b *testing.B) {
	words, said := large(MaxWords, 64<<10)
	l, err := Parse("words.txt", []byte(strings.Join(words, "\n")))
	if err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	for _, w := range words {
		if strings.Contains(said, w) {
			b.Fatal("the text has a word")
		}
	}
	plain := time.Since(began)
	b.SetBytes(int64(len(said)))
	for b.Loop() {
		if l.Replace(said, "***") != said {
			b.Fatal("the text has a word")
		}
	}
	b.ReportMetric(float64(plain)/(float64(b.Elapsed())/float64(b.N)), "times")
}

func BenchmarkParse(b *testing.B) {
	words, _ := large(MaxWords, 0)
	data := []byte(strings.Join(words, "\n"))
	for b.Loop() {
		if _, err := Parse("words.txt", data); err != nil {
			b.Fatal(err)
		}
	}
}
