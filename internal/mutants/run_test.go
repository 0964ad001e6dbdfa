package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A small module whose one safeguard some tests know of and others do not.
var toy = map[string]string{
	"go.mod": "module toy\n\ngo 1.26\n",
	"lock/lock.go": `package lock

// Open tells whether the key fits.
func Open(key int) bool {
	if key != 7 {
		return false
	}
	return true
}

// Wait returns when the key fits.
func Wait(key int) {
	for !Open(key) {
	}
}
`,
	"lock/lock_test.go": `package lock

import "testing"

func TestWrongKey(t *testing.T) {
	if Open(8) {
		t.Error("opened")
	}
}

func TestRightKey(t *testing.T) {
	if !Open(7) {
		t.Error("shut")
	}
}

func TestWait(t *testing.T) { Wait(7) }

func TestRed(t *testing.T) { t.Error("red as it is") }
`,
}

func toyModule(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range toy {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func toyMutant(name, old, replacement string, tests ...string) mutant {
	return mutant{name: name, rule: "1", takes: "something", file: "lock/lock.go", old: old, new: replacement, tests: tests}
}

func runToy(t *testing.T, limit time.Duration, mutants ...mutant) ([]result, string, error) {
	t.Helper()
	var out bytes.Buffer
	r := &runner{root: toyModule(t), limit: limit, parallel: 2, progress: newProgress(&out, len(mutants), true)}
	results, err := r.run(t.Context(), mutants)
	if len(results) > 0 {
		if werr := writeTable(&out, results); werr != nil {
			t.Fatal(werr)
		}
	}
	return results, out.String(), err
}

const check7 = "key != 7"

// Killed, survived, no Go and hanging are told apart, and only killed is a success.
func TestVerdicts(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles six times")
	}
	t.Parallel()
	hanging := toyMutant("hanging", "	return true", "	return false", "lock.TestWait")
	expected := hanging
	expected.name, expected.hangs = "hangs-as-expected", true
	results, out, err := runToy(t, 5*time.Second,
		toyMutant("killed", check7, "key < 7", "lock.TestRightKey", "lock.TestWrongKey"),
		toyMutant("survivor", check7, "key < 7", "lock.TestRightKey"),
		toyMutant("no-go", check7, "key != \"7\"", "lock.TestRightKey"),
		expected, hanging,
	)
	if !errors.Is(err, errSurvived) || len(results) != 5 {
		t.Fatalf("%d results, %v\n%s", len(results), err, out)
	}
	for i, want := range []struct {
		red, fault string
		killed     bool
	}{
		{red: "lock.TestWrongKey", killed: true},
		{},
		{fault: "does not compile"},
		{red: "lock.TestWait (hangs)", killed: true},
		{fault: "not expected to hang"},
	} {
		got := results[i]
		if got.red != want.red || got.killed() != want.killed || (got.err == nil) != (want.fault == "") ||
			got.err != nil && !strings.Contains(got.err.Error(), want.fault) {
			t.Errorf("%s: red %q, killed %v, %v", got.name, got.red, got.killed(), got.err)
		}
	}
	for _, want := range []string{"mutant survivor survived", "mutant no-go:", "mutant hanging:"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q: %v", want, err)
		}
	}
	for _, want := range []string{"survivor SURVIVED", "2 of 5 mutants turned a test red", "(survived)", "(nothing shown)"} {
		if !strings.Contains(out, want) {
			t.Errorf("the output does not say %q:\n%s", want, out)
		}
	}
	if strings.Contains(err.Error(), "mutant killed") {
		t.Errorf("the error names a killed mutant: %v", err)
	}
}

// A test that is red without a mutant shows nothing, and neither does a list that has rotted.
func TestNothingShown(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		mutant mutant
		want   string
	}{
		"red as it is":      {toyMutant("m", check7, "key < 7", "lock.TestRed"), "not green without a mutant"},
		"no such snippet":   {toyMutant("m", "key != 9", "key < 7", "lock.TestWrongKey"), "m has rotted: lock/lock.go: the snippet occurs 0 times"},
		"two such snippets": {toyMutant("m", "func ", "func  ", "lock.TestWrongKey"), "the snippet occurs 2 times"},
		"changes nothing":   {toyMutant("m", check7, check7, "lock.TestWrongKey"), "changes nothing"},
		"no Go":             {toyMutant("m", check7, "key !=", "lock.TestWrongKey"), "no Go any more"},
		"no such test":      {toyMutant("m", check7, "key < 7", "lock.TestGone"), "no test lock.TestGone"},
		"no test":           {toyMutant("m", check7, "key < 7"), "names no test"},
		"not a test's name": {toyMutant("m", check7, "key < 7", "TestWrongKey"), "not a folder, a dot"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			results, _, err := runToy(t, time.Minute, c.mutant)
			if err == nil || !strings.Contains(err.Error(), c.want) || len(results) != 0 {
				t.Errorf("%d results, %v; want %q", len(results), err, c.want)
			}
		})
	}
}

// An interrupted run is no success.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	r := &runner{root: toyModule(t), limit: time.Minute, parallel: 1, progress: newProgress(new(bytes.Buffer), 1, false)}
	if _, err := r.run(ended, []mutant{toyMutant("m", check7, "key < 7", "lock.TestWrongKey")}); err == nil {
		t.Error("no error")
	}
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	var out, errOut bytes.Buffer
	for _, args := range [][]string{{"-run", "("}, {"-run", "no such mutant"}, {"-p", "0"}, {"argument"}, {"-unknown"}} {
		if err := command(t.Context(), args, &out, &errOut); !errors.Is(err, errUsage) {
			t.Errorf("%q: %v", args, err)
		}
	}
	out.Reset()
	if err := command(t.Context(), []string{"-list", "-run", "^rule 11$"}, &out, &errOut); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Split(strings.TrimSpace(out.String()), "\n"); len(lines) < 3 || !strings.HasPrefix(lines[0], "MUTANT") ||
		!strings.Contains(out.String(), "barrier-before-the-offer") || strings.Contains(out.String(), "dedupe-key") {
		t.Errorf("the list of rule 11:\n%s", out.String())
	}
}
