package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"hongyan/config"
)

// FuzzParse: whatever the bytes are, there is a report with places inside the file, and what is accepted is written and read
// back to the same.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/reports/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add(config.Reference())
	f.Add([]byte("a: &a [*a]\nb: *a\n"))
	f.Add([]byte("accounts: [{id: a, <<: &m {<<: *m}}]"))
	f.Add([]byte("? [a]\n: b\n"))
	f.Add([]byte("!!binary x: y"))
	f.Fuzz(func(t *testing.T, src []byte) {
		if strings.Contains(string(src), "_file") || len(src) > 4<<10 {
			t.Skip("would read files, or is slow to parse")
		}
		cfg, report := config.Parse("fuzz.yaml", src, nil)
		lines := strings.Count(string(src), "\n") + 1
		for _, fault := range append(report.Faults, report.Warnings...) {
			if fault.Message == "" || fault.Fix == "" || fault.Line < 0 || fault.Line > lines {
				t.Fatalf("a fault without message, fix or a real place: %+v", fault)
			}
		}
		if err := report.Print(new(strings.Builder), true); err != nil {
			t.Fatal(err)
		}
		config.NotBuilt(cfg)
		if report.Err() != nil {
			return
		}
		first := values(t, cfg)
		again, report := config.Parse("again.yaml", []byte(first), nil)
		if err := report.Err(); err != nil {
			t.Fatalf("what was accepted is refused when written anew: %v\n%s", err, first)
		}
		if second := values(t, again); first != second {
			t.Fatalf("written %s\nread %s", first, second)
		}
	})
}

// TestNoLayoutShowsASecret puts secrets into many layouts, right and wrong ones, beside a fault on the same line.
func TestNoLayoutShowsASecret(t *testing.T) {
	t.Parallel()
	const secret = "q7Q8z9Z1"
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.SampledFrom([]string{"token", "previous_token", "encoding_aes_key", "app_secret", "tokn", "Token"}).Draw(t, "key")
		quote := rapid.SampledFrom([]string{"", "'", `"`}).Draw(t, "quote")
		value := quote + secret + rapid.SampledFrom([]string{"", " x", ",x", "#x", "é中", `\t`}).Draw(t, "tail") + quote
		space := rapid.SampledFrom([]string{" ", "  ", "\t", " \t "}).Draw(t, "space")
		before := rapid.SampledFrom([]string{"", "mode: aes, ", "你: 好, ", "bot: [x], "}).Draw(t, "before")
		after := rapid.SampledFrom([]string{"", ", mode: aes", ", id: Ω", ", : ", "]", "}"}).Draw(t, "after")
		text := "accounts:\n  - {" + before + key + ":" + space + value + after + "}\n"
		if rapid.Bool().Draw(t, "block") {
			text = "accounts:\n  - id: X\n    " + key + ":" + space + value + "\n    mode: aes\n"
		}
		_, report := config.Parse("x.yaml", []byte(text), nil)
		var shown strings.Builder
		if err := report.Print(&shown, false); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(shown.String(), secret) {
			t.Fatalf("the file\n%s\nis reported as\n%s", text, &shown)
		}
	})
}
