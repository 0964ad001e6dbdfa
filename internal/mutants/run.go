package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// hangLimit is how long the tests of a mutant may take that is expected to make them wait for ever; without it they take a second.
const hangLimit = 30 * time.Second

// runner compiles and tests mutants.
type runner struct {
	root     string        // folder of go.mod
	limit    time.Duration // of one folder's tests
	parallel int
	progress *progress
	temp     string // for binaries and mutated files
}

// result is what became of a mutant.
type result struct {
	mutant
	red     string // the test that turned red, empty where none did
	err     error  // why nothing was shown
	took    time.Duration
	said    string // what the tests, or the compiler, said
	skipped bool   // the run was interrupted before it came to this one
}

func (r result) killed() bool { return r.red != "" && r.err == nil }

// run tests all mutants. The results stand in the order of the list; the error says what is not as it must be.
func (r *runner) run(ctx context.Context, mutants []mutant) ([]result, error) {
	if err := check(r.root, mutants); err != nil {
		return nil, err
	}
	var err error
	if r.temp, err = os.MkdirTemp("", "mutants-"); err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(r.temp) }()
	defer r.progress.close()

	if err := r.baseline(ctx, mutants); err != nil {
		return nil, err
	}
	results := make([]result, len(mutants))
	r.each(len(mutants), func(i int) {
		if ctx.Err() != nil {
			results[i] = result{mutant: mutants[i], skipped: true}
			return
		}
		began := time.Now()
		results[i] = r.test(ctx, i, mutants[i])
		results[i].took = time.Since(began)
		r.progress.done(results[i])
	})
	return results, verdict(ctx, results)
}

// verdict is the error of a run in which something was not killed.
func verdict(ctx context.Context, results []result) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w: interrupted", errSurvived)
	}
	var faults []error
	for _, r := range results {
		switch {
		case r.err != nil:
			faults = append(faults, fmt.Errorf("mutant %s: %w", r.name, r.err))
		case r.red == "":
			faults = append(faults, fmt.Errorf("mutant %s survived: taken out was %s (rule %s), and no test noticed; the one that should is missing in %s",
				r.name, r.takes, r.rule, strings.Join(r.tests, ", ")))
		}
	}
	if len(faults) == 0 {
		return nil
	}
	return errors.Join(append([]error{errSurvived}, faults...)...)
}

// each calls f for 0 to n-1, some at once, and returns when all have returned.
func (r *runner) each(n int, f func(i int)) {
	next := make(chan int)
	var workers sync.WaitGroup
	for range min(r.parallel, n) {
		workers.Go(func() {
			for i := range next {
				f(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	workers.Wait()
}

// baseline runs the tests of all mutants on the tree as it is: a test that is red, or does not run, shows nothing.
func (r *runner) baseline(ctx context.Context, mutants []mutant) error {
	var folders []folder
	for _, m := range mutants {
		of, err := m.byFolder()
		if err != nil {
			return err
		}
		for _, f := range of {
			i := slices.IndexFunc(folders, func(have folder) bool { return have.dir == f.dir })
			if i < 0 {
				folders = append(folders, f)
				continue
			}
			for _, name := range f.tests {
				if !slices.Contains(folders[i].tests, name) {
					folders[i].tests = append(folders[i].tests, name)
				}
			}
		}
	}
	faults := make([]error, len(folders))
	r.each(len(folders), func(i int) {
		f := folders[i]
		r.progress.at("without a mutant: " + f.dir)
		binary := filepath.Join(r.temp, fmt.Sprintf("base-%d.test", i))
		if said, err := r.compile(ctx, f.dir, "", binary); err != nil {
			faults[i] = fmt.Errorf("%s does not compile without a mutant: %w\n%s", f.dir, err, said)
			return
		}
		defer func() { _ = os.Remove(binary) }()
		o := r.execute(ctx, binary, f, r.limit, false)
		for _, name := range f.tests {
			if !slices.Contains(o.green, name) {
				faults[i] = fmt.Errorf("%s.%s is not green without a mutant, so it shows nothing:\n%s", f.dir, name, tail(o.said))
				return
			}
		}
		// What a process says behind its last test (a check for leaks may come too early for a server that just closed) is left out
		// here as it is below: a mutant is killed by a test, or not at all.
	})
	return errors.Join(faults...)
}

// test compiles one mutant and runs its tests, folder by folder, until one is red.
func (r *runner) test(ctx context.Context, number int, m mutant) result {
	res := result{mutant: m}
	overlay, err := r.overlay(number, m)
	if err != nil {
		res.err = err
		return res
	}
	folders, err := m.byFolder()
	if err != nil {
		res.err = err
		return res
	}
	for _, f := range folders {
		r.progress.at(m.name)
		binary := filepath.Join(r.temp, fmt.Sprintf("%d.test", number))
		said, err := r.compile(ctx, f.dir, overlay, binary)
		if err != nil {
			res.err, res.said = fmt.Errorf("it does not compile, so it shows nothing: %w\n%s", err, tail(said)), said
			return res
		}
		limit := r.limit
		if m.hangs {
			limit = min(limit, hangLimit)
		}
		o := r.execute(ctx, binary, f, limit, true)
		_ = os.Remove(binary)
		res.said += o.said
		switch {
		case o.timeout && !m.hangs:
			res.err = fmt.Errorf("the tests of %s did not end in %v, and it is not expected to hang", f.dir, r.limit)
			return res
		case o.timeout:
			res.red = f.dir + "." + f.tests[0] + " (hangs)"
			return res
		case len(o.red) > 0:
			res.red = f.dir + "." + o.red[0]
			return res
		case o.err != nil:
			res.err = fmt.Errorf("the test process of %s ended and no test was red: %w\n%s", f.dir, o.err, tail(o.said))
			return res
		}
	}
	return res
}

// overlay writes the mutated file and the go command's list of what it stands for.
func (r *runner) overlay(number int, m mutant) (string, error) {
	mutated, err := m.read(r.root)
	if err != nil {
		return "", err
	}
	replacement := filepath.Join(r.temp, fmt.Sprintf("%d-%s", number, filepath.Base(m.file)))
	if err := os.WriteFile(replacement, []byte(mutated), 0o600); err != nil {
		return "", err
	}
	list, err := json.Marshal(map[string]map[string]string{
		"Replace": {filepath.Join(r.root, filepath.FromSlash(m.file)): replacement},
	})
	if err != nil {
		return "", err
	}
	name := filepath.Join(r.temp, fmt.Sprintf("%d.json", number))
	return name, os.WriteFile(name, list, 0o600)
}

// compile makes the test binary of a folder.
func (r *runner) compile(ctx context.Context, dir, overlay, binary string) (said string, err error) {
	args := []string{"test", "-c", "-vet=off", "-ldflags=-s -w", "-o", binary}
	if overlay != "" {
		args = append(args, "-overlay", overlay)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "./"+dir)...) //nolint:gosec // our own list of mutants
	cmd.Dir = r.root
	out, err := cmd.CombinedOutput()
	if err == nil {
		if _, serr := os.Stat(binary); serr != nil {
			err = fmt.Errorf("%s has no tests: %w", dir, serr)
		}
	}
	return string(out), err
}

// outcome is what a test binary did.
type outcome struct {
	red, green []string // top-level tests, in the order in which they ended
	timeout    bool
	err        error
	said       string
}

var (
	ended   = regexp.MustCompile(`(?m)^--- (PASS|FAIL): (Test\w*)`)
	timeOut = regexp.MustCompile(`(?m)^panic: test timed out after `)
	chatter = regexp.MustCompile(`(?m)^(=== (RUN|PAUSE|CONT|NAME) .*| *--- PASS: .*)\n`)
)

// execute runs some tests of a binary in their folder, and ends whatever they started.
func (r *runner) execute(ctx context.Context, binary string, f folder, limit time.Duration, failFast bool) outcome {
	args := []string{"-test.v", "-test.count=1", "-test.timeout=" + limit.String(), "-test.run=^(" + strings.Join(f.tests, "|") + ")$"}
	if failFast {
		args = append(args, "-test.failfast")
	}
	ctx, cancel := context.WithTimeout(ctx, limit+10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...) //nolint:gosec // built by ourselves a moment ago
	cmd.Dir = filepath.Join(r.root, filepath.FromSlash(f.dir))
	cmd.WaitDelay = 5 * time.Second
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	ownGroup(cmd)
	err := cmd.Run()
	endGroup(cmd)
	o := outcome{err: err, timeout: timeOut.Match(said.Bytes()) || errors.Is(ctx.Err(), context.DeadlineExceeded)}
	o.said = chatter.ReplaceAllString(said.String(), "")
	for _, m := range ended.FindAllStringSubmatch(said.String(), -1) {
		if m[1] == "FAIL" {
			o.red = append(o.red, m[2])
		} else {
			o.green = append(o.green, m[2])
		}
	}
	return o
}

// tail is the end of a long text.
func tail(s string) string {
	const most = 4000
	if len(s) <= most {
		return s
	}
	return "…" + s[len(s)-most:]
}
