package prose

import (
	"strings"
	"testing"
)

func TestUnthink(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, in, want string }{
		{"none", "a < b", "a < b"},
		{"at the beginning", "<think>\nhm\n</think>\n\nyes", "\n\nyes"},
		{"several", "<think>1</think>a<think>2</think>b", "ab"},
		{"unclosed", "a<think>b", "a"},
		{"opened by the prompt", "hm</think>yes", "yes"},
		{"opened by the prompt, and again", "hm</think>a<think>b</think>c", "ac"},
		{"nothing else", "<think>hm</think>", ""},
		{"a tag that is talked about", "the tag `<think>` opens, `</think>` closes", "the tag `<think>` opens, `</think>` closes"},
		{"half a tag", "a <thin b </thin", "a <thin b </thin"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := Unthink(tt.in); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// FuzzUnthink finds that reasoning never gets out, wherever it stands.
func FuzzUnthink(f *testing.F) {
	f.Add("before", "reasoning", "after")
	f.Add("<think>", "</thin", "k>")
	f.Fuzz(func(t *testing.T, before, reasoning, after string) {
		for _, text := range []string{before, reasoning, after} {
			if strings.ContainsAny(text, "<>`/\x00") {
				return
			}
		}
		secret := "\x00" + reasoning + "\x00"
		for _, text := range []string{
			before + openThink + secret + closeThink + after,
			before + openThink + secret,
			secret + closeThink + after,
			openThink + secret + closeThink + before + openThink + secret + closeThink + after + openThink + secret,
		} {
			if got := Unthink(text); strings.Contains(got, "\x00") {
				t.Errorf("%q: reasoning is left in %q", text, got)
			}
		}
		if got := Unthink(before + openThink + secret + closeThink + after); got != before+after {
			t.Errorf("got %q, want %q", got, before+after)
		}
	})
}
