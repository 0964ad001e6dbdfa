package fold

import (
	"strings"
	"testing"
	"unicode"

	"pgregory.net/rapid"
)

func TestText(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                    "",
		" \t\n\u3000":         "",
		"hi":                  "HI",
		"  ＨＩ　there\n ":       "HI THERE",
		"坏\u200b词":            "坏词",
		"\ufeff坏 \u200d 词":    "坏 词",
		"１２！～。.":              "12!~。.",
		"\u212a":              "K", // the sign for kelvin
		"ſtraße":              "STRAßE",
		"\xff":                "\ufffd",
		"簡体 简体":               "簡体 简体",
		"\u200b \u200b x":     "X",
		"x\u200b\u3000\u200b": "X",
	} {
		if got := Text(text); got != want {
			t.Errorf("%q folds to %q, want %q", text, got, want)
		}
	}
}

func TestTextIsIdempotent(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "s")
		once := Text(s)
		if twice := Text(once); twice != once {
			t.Errorf("%q folds to %q and then to %q", s, once, twice)
		}
	})
}

// What a folded character stands for folds to it again, the characters stand in order, and between them is nothing to be seen.
func TestRunesStandForTheirPlaces(t *testing.T) {
	t.Parallel()
	char := rapid.SampledFrom([]rune{'a', 'K', '\u212a', 'Ｚ', '坏', ' ', '\u3000', '\n', '\u200b', '\ufeff', '\U0001f600', '！'})
	rapid.Check(t, func(t *rapid.T) {
		text := string(rapid.SliceOf(char).Draw(t, "text"))
		end := 0
		for r := range Runes(text) {
			switch own := text[r.Start:r.End]; {
			case r.Start < end || r.End <= r.Start:
				t.Fatalf("%q: %+v stands before %d", text, r, end)
			case Text(text[end:r.Start]) != "":
				t.Fatalf("%q: %q is nowhere", text, text[end:r.Start])
			case r.Value == ' ' && (Text(own) != "" || !strings.ContainsFunc(own, unicode.IsSpace)):
				t.Fatalf("%q: %q is a space", text, own)
			case r.Value != ' ' && Text(own) != string(r.Value):
				t.Fatalf("%q: %q is %q", text, own, r.Value)
			}
			end = r.End
		}
		if Text(text[end:]) != "" {
			t.Fatalf("%q: %q is nowhere", text, text[end:])
		}
	})
}

// The short way past Unicode's tables is for runes without another case.
func TestCaselessRunes(t *testing.T) {
	t.Parallel()
	for r := caselessFirst; r <= caselessLast; r++ {
		if other := unicode.SimpleFold(r); other != r {
			t.Errorf("%q has another case, %q", r, other)
		}
	}
}
