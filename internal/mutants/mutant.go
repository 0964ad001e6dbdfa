package main

import (
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// mutant is one safeguard taken out.
type mutant struct {
	name  string // words joined by "-"; names it for ever
	rule  string // of DESIGN §3, a promise, or A for the account's actor: "8", "P6"
	takes string // what is taken out, in a few words
	file  string // slash-separated, from the root
	old   string // occurs in the file exactly once
	new   string // stands in its place
	// tests that must turn red, as folder and name: "actors.TestFlood". One is enough.
	tests []string
	// hangs says that the time-out of a test counts as red: what is taken out is what ends a wait.
	hangs bool
}

// mutate is the file's source with the snippet replaced. Its error says why this mutant has rotted.
func (m mutant) mutate(source string) (string, error) {
	rotted := func(format string, args ...any) error {
		return fmt.Errorf("mutant %s has rotted: %s: "+format+"; write its snippet in internal/mutants anew",
			append([]any{m.name, m.file}, args...)...)
	}
	if n := strings.Count(source, m.old); m.old == "" || n != 1 {
		return "", rotted("the snippet occurs %d times, not once: %q", n, m.old)
	}
	mutated := strings.Replace(source, m.old, m.new, 1)
	if mutated == source {
		return "", rotted("the replacement changes nothing")
	}
	if _, err := parser.ParseFile(token.NewFileSet(), m.file, mutated, parser.SkipObjectResolution); err != nil && strings.HasSuffix(m.file, ".go") {
		return "", rotted("it is no Go any more: %w", err)
	}
	return mutated, nil
}

// testName is a test as mutants and the reliability page name it.
type testName struct{ dir, name string }

func parseTest(s string) (testName, error) {
	i := strings.LastIndex(s, ".")
	if i <= 0 || !strings.HasPrefix(s[i+1:], "Test") {
		return testName{}, fmt.Errorf("%q is not a folder, a dot and the name of a test", s)
	}
	return testName{dir: s[:i], name: s[i+1:]}, nil
}

func (t testName) String() string { return t.dir + "." + t.name }

// byFolder sorts a mutant's tests by the folder that is compiled for them; the order of the list is kept.
func (m mutant) byFolder() ([]folder, error) {
	var folders []folder
	for _, s := range m.tests {
		t, err := parseTest(s)
		if err != nil {
			return nil, fmt.Errorf("mutant %s: %w", m.name, err)
		}
		i := slices.IndexFunc(folders, func(f folder) bool { return f.dir == t.dir })
		if i < 0 {
			folders = append(folders, folder{dir: t.dir})
			i = len(folders) - 1
		}
		if !slices.Contains(folders[i].tests, t.name) {
			folders[i].tests = append(folders[i].tests, t.name)
		}
	}
	if len(folders) == 0 {
		return nil, fmt.Errorf("mutant %s names no test that must turn red", m.name)
	}
	return folders, nil
}

// folder is some tests of one folder.
type folder struct {
	dir   string
	tests []string
}

// check finds what is wrong with the list itself, against the tree: names, snippets, tests.
func check(root string, mutants []mutant) error {
	var faults []error
	seen := make(map[string]bool)
	for _, m := range mutants {
		if seen[m.name] {
			faults = append(faults, fmt.Errorf("two mutants are called %s", m.name))
		}
		seen[m.name] = true
		if m.name == "" || m.rule == "" || m.takes == "" {
			faults = append(faults, fmt.Errorf("mutant %q of %s needs a name, a rule and what it takes out", m.name, m.file))
		}
		if _, err := m.read(root); err != nil {
			faults = append(faults, err)
		}
		folders, err := m.byFolder()
		if err != nil {
			faults = append(faults, err)
		}
		for _, f := range folders {
			for _, name := range f.tests {
				if err := exists(root, testName{f.dir, name}); err != nil {
					faults = append(faults, fmt.Errorf("mutant %s: %w", m.name, err))
				}
			}
		}
	}
	return errors.Join(faults...)
}

// read is the mutated source.
func (m mutant) read(root string) (string, error) {
	source, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(m.file)))
	if err != nil {
		return "", fmt.Errorf("mutant %s has rotted: %w", m.name, err)
	}
	return m.mutate(string(source))
}

// exists tells whether a folder's test files have the test.
func exists(root string, t testName) error {
	files, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(t.dir), "*_test.go"))
	if err != nil {
		return err
	}
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if strings.Contains(string(source), "\nfunc "+t.name+"(") {
			return nil
		}
	}
	return fmt.Errorf("there is no test %s", t)
}
