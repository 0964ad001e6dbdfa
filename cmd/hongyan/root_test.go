package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"hongyan/config"
)

// outcome is what a command line did.
type outcome struct {
	code           int
	stdout, stderr string
}

func execute(t *testing.T, args ...string) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), args, &stdout, &stderr)
	return outcome{code, stdout.String(), stderr.String()}
}

func TestCommandLines(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		line           string
		code           int
		stdout, stderr string // what they contain; an empty one must be empty
	}{
		{"", 0, "鸿雁", ""},
		{"--help", 0, "Exit codes", ""},
		{"help config check", 0, "Exit codes", ""},
		{"config", 0, "check", ""},
		{"vershun", 2, "", `hongyan: there is no command "vershun"; did you mean "version"?`},
		{"config chek", 2, "", `hongyan: there is no command "chek"; did you mean "check"?`},
		{"version extra", 2, "", "see hongyan version --help"},
		{"version --nope", 2, "", "unknown flag: --nope"},
		{"version -o yaml", 2, "", "-o yaml: write text or json"},
		{"version", 0, runtime.Version(), ""},
		{"completion tcsh", 2, "", "tcsh"},
		{"completion bash", 0, "bash completion", ""},
		{"completion zsh", 0, "#compdef hongyan", ""},
		{"completion fish", 0, "fish", ""},
		{"completion powershell", 0, "Register-ArgumentCompleter", ""},
		{"config example", 0, "accounts:", ""},
		{"config check -c testdata/nowhere.yaml", 1, "no such file", ""},
		{"user show", 2, "", "name one user"},
		{"user show u1", 2, "", `"u1" does not name a user`},
		{"user show demo/u1 --user u2", 2, "", "name one user"},
		{"user show -c testdata/nowhere.yaml demo/u1", 1, "", "no such file"},
	} {
		got := execute(t, strings.Fields(c.line)...)
		if got.code != c.code || !matches(got.stdout, c.stdout) || !matches(got.stderr, c.stderr) {
			t.Errorf("hongyan %s: exit %d\nstdout: %s\nstderr: %s", c.line, got.code, got.stdout, got.stderr)
		}
	}
}

func matches(got, want string) bool {
	if want == "" {
		return got == ""
	}
	return strings.Contains(got, want)
}

func TestErrorsArePrintedOnce(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		code int
		text string
	}{
		{nil, 0, ""},
		{errors.New("x"), 1, "hongyan: x\n"},
		{exitWith(3, nil), 3, ""},
		{exitWith(3, errors.New("x")), 3, "hongyan: x\n"},
		{fmt.Errorf("a: %w", exitWith(2, errors.New("x"))), 2, "hongyan: a: x\n"},
	} {
		var out bytes.Buffer
		if code := finish(c.err, &out); code != c.code || out.String() != c.text {
			t.Errorf("%v: exit %d, %q", c.err, code, out.String())
		}
	}
}

func TestVersionInJSON(t *testing.T) {
	t.Parallel()
	var b build
	if err := json.Unmarshal([]byte(execute(t, "version", "-o", "json").stdout), &b); err != nil {
		t.Fatal(err)
	}
	if b.Go != runtime.Version() || b.Version == "" || b.Modules["github.com/spf13/cobra"] == "" {
		t.Errorf("%+v", b)
	}
}

// writeConfig puts files into a fresh folder and returns the first one's path.
func writeConfig(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(files); i += 2 {
		if err := os.WriteFile(filepath.Join(dir, files[i]), []byte(files[i+1]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, files[0])
}

func TestConfigCheck(t *testing.T) {
	t.Parallel()
	good := writeConfig(t, "hongyan.yaml", string(config.Reference()), "rules.yaml", "rules:\n  - {match: default, reply: 好}\n")
	got := execute(t, "config", "check", "-c", good)
	if got.code != 0 || !strings.Contains(got.stdout, "can be used: 1 warning") || !strings.Contains(got.stdout, "durability disk: ") || got.stderr != "" {
		t.Errorf("a good file: %+v", got)
	}
	var told struct {
		Usable           bool
		Faults, Warnings []config.Fault
		Durability       string
	}
	if err := json.Unmarshal([]byte(execute(t, "config", "check", "-c", good, "-o", "json").stdout), &told); err != nil ||
		!told.Usable || told.Faults == nil || len(told.Warnings) != 1 || told.Durability != "disk" {
		t.Errorf("%+v %v", told, err)
	}

	soft := writeConfig(t, "hongyan.yaml", strings.Replace(string(config.Reference()), "durability: disk", "durability: os  ", 1), "rules.yaml", "")
	if got := execute(t, "config", "check", "-c", soft); got.code != 0 || !strings.Contains(got.stdout, "may lose the last seconds") {
		t.Errorf("durability os: %+v", got)
	}

	outsideFile := writeConfig(t, "hongyan.yaml", strings.NewReplacer(`url: ""        `, `url: nats://127.0.0.1:1`, "store: jetstream ", "store: redis     ").
		Replace(string(config.Reference())), "rules.yaml", "")
	if got := execute(t, "config", "check", "-c", outsideFile); got.code != 0 || !strings.Contains(got.stdout, "sync_interval") ||
		!strings.Contains(got.stdout, "appendfsync") {
		t.Errorf("outside servers: %+v", got)
	}
	missing := writeConfig(t, "hongyan.yaml", strings.Replace(string(config.Reference()), `    cert: ""
    key: ""
    ca: ""`, "    cert: a.pem\n    key: b.pem\n    ca: c.pem", 1), "rules.yaml", "")
	if got := execute(t, "config", "check", "-c", missing); got.code != 1 || !strings.Contains(got.stdout, "cluster.tls") ||
		!strings.Contains(got.stdout, "a.pem") {
		t.Errorf("missing certificates: %+v", got)
	}

	unbuilt := writeConfig(t, "hongyan.yaml", strings.Replace(string(config.Reference()), `api: ""   `, "api: :9999", 1), "rules.yaml", "")
	got = execute(t, "config", "check", "-c", unbuilt, "-o", "json")
	told.Faults = nil
	if err := json.Unmarshal([]byte(got.stdout), &told); err != nil || got.code != 1 || got.stderr != "" || told.Usable || len(told.Faults) != 1 ||
		told.Faults[0].Line == 0 || !strings.Contains(told.Faults[0].Message, "is not built in this version") {
		t.Errorf("%+v %v", got, err)
	}

	broken := writeConfig(t, "hongyan.yaml", string(config.Reference()), "rules.yaml", "rules:\n  - {match: regexp, value: 'a(', reply: x}\n")
	if got := execute(t, "config", "check", "-c", broken); got.code != 1 || !strings.Contains(got.stdout, "rules.yaml:2:28: error:") ||
		!strings.Contains(got.stdout, "cannot be used: 1 fault") {
		t.Errorf("broken rules: %+v", got)
	}

	words := func(list, safety string) string {
		return writeConfig(t, "hongyan.yaml", "accounts: [{id: demo, mode: plain, token: abc, safety: {block_file: words.txt"+safety+"}}]\n", "words.txt", list)
	}
	for _, c := range []struct{ list, safety, want string }{
		{"# 词\n坏\n", "", "can be used"},
		{"好\n坏\xff\n", "", "words.txt:2:1: error: this line is not UTF-8"},
		{"好\n不能\n", ", refusal: 我不能说", "words.txt:2:1: error: this word stands in safety.refusal"},
		{"坏\n", ", replacement: \"\u3000\"", "accounts[0].safety"},
		{strings.Repeat("#\n", 5<<20), "", "words.txt: error: the file has more than"},
	} {
		if got := execute(t, "config", "check", "-c", words(c.list, c.safety)); !strings.Contains(got.stdout, c.want) || (got.code == 0) != (c.want == "can be used") {
			t.Errorf("safety: want %q: %+v", c.want, got)
		}
	}
}

func TestRunSeesTheContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	path := writeConfig(t, "hongyan.yaml", string(config.Reference())+"\nadmin: {}\n")
	var out bytes.Buffer
	if code := run(ctx, []string{"user", "show", "-c", path, "demo/u1"}, &out, &out); code != exitError {
		t.Errorf("exit %d: %s", code, &out)
	}
}
