package config_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hongyan/config"
)

var update = flag.Bool("update", false, "write the expected reports anew")

// TestReports compares the whole report about every broken file with a text that people have read.
func TestReports(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/reports/*.yaml")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			t.Parallel()
			src, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			cfg, report := config.Parse(file, src, nil) // Load also looks at the file's mode, which a checkout does not keep
			report.Faults = append(report.Faults, config.NotBuilt(cfg)...)
			report.Sort()
			var got bytes.Buffer
			if err := report.Print(&got, false); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(got.String(), "do-not-show-me") {
				t.Errorf("the report shows a secret:\n%s", &got)
			}
			golden := strings.TrimSuffix(file, ".yaml") + ".txt"
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got.String() != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s", &got, want)
			}
		})
	}
}

func TestColourMarksOnlyWhatItShould(t *testing.T) {
	t.Parallel()
	_, report := config.Parse("x.yaml", []byte("log: {level: loud}\n"), nil)
	var plain, colour bytes.Buffer
	if err := report.Print(&plain, false); err != nil {
		t.Fatal(err)
	}
	if err := report.Print(&colour, true); err != nil {
		t.Fatal(err)
	}
	stripped := colour.String()
	for _, code := range []string{"\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[1;31m", "\x1b[1;33m"} {
		stripped = strings.ReplaceAll(stripped, code, "")
	}
	if stripped != plain.String() || strings.Contains(plain.String(), "\x1b") {
		t.Errorf("with colour:\n%q\nwithout:\n%q", &colour, &plain)
	}
}

func TestReportAsError(t *testing.T) {
	t.Parallel()
	_, report := config.Parse("x.yaml", []byte(small), nil)
	if err := report.Err(); err != nil {
		t.Errorf("warnings alone are an error: %v", err)
	}
	_, report = config.Parse("x.yaml", []byte("log: {level: loud}\n"+small), nil)
	err := report.Err()
	if err == nil || !strings.HasPrefix(err.Error(), "the configuration has 1 fault\nx.yaml:1:14: error: log.level:") {
		t.Errorf("got %v", err)
	}
}
