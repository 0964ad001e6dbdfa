package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
)

// root is the tree's, seen from this folder.
const root = "../.."

// Every snippet stands in its file exactly once, what it becomes is Go, and the tests that must turn red exist: a list that
// has rotted shows nothing. The mutants themselves run with `make mutants`.
func TestMutantsApply(t *testing.T) {
	t.Parallel()
	if err := check(root, all()); err != nil {
		t.Error(err)
	}
}

// page is where the rules stand beside their tests and mutants.
const page = "docs/reliability.md"

// A row of the page's table: rule, what it prevents, tests, mutants.
var row = regexp.MustCompile(`(?m)^\| (\d+|P\d|[AB]) \|([^|\n]*)\|([^|\n]*)\|([^|\n]*)\|$`)

var quoted = regexp.MustCompile("`([^`]+)`")

// The reliability page names tests and mutants that exist, each mutant at its own rule, and leaves no rule and no mutant out.
func TestReliabilityPage(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(page)))
	if err != nil {
		t.Fatal(err)
	}
	rules := make(map[string]string) // of mutants
	for _, m := range all() {
		rules[m.name] = m.rule
	}
	named := make(map[string]bool)
	rows := make(map[string]bool)
	for _, m := range row.FindAllStringSubmatch(string(text), -1) {
		rule, tests, mutants := m[1], quoted.FindAllStringSubmatch(m[3], -1), quoted.FindAllStringSubmatch(m[4], -1)
		if rows[rule] {
			t.Errorf("rule %s has two rows", rule)
		}
		rows[rule] = true
		if len(tests) == 0 || len(mutants) == 0 {
			t.Errorf("rule %s has %d tests and %d mutants on the page", rule, len(tests), len(mutants))
		}
		for _, q := range tests {
			name, err := parseTest(q[1])
			if err == nil {
				err = exists(root, name)
			}
			if err != nil {
				t.Errorf("rule %s: %v", rule, err)
			}
		}
		for _, q := range mutants {
			switch of, ok := rules[q[1]]; {
			case !ok:
				t.Errorf("rule %s: there is no mutant %s", rule, q[1])
			case of != rule:
				t.Errorf("mutant %s stands at rule %s of the page and takes out rule %s", q[1], rule, of)
			}
			named[q[1]] = true
		}
	}
	for n := range 20 {
		if !rows[strconv.Itoa(n+1)] {
			t.Errorf("rule %d has no row", n+1)
		}
	}
	for _, m := range all() {
		if !named[m.name] {
			t.Errorf("the page does not name mutant %s at rule %s", m.name, m.rule)
		}
	}
}
