// Mutants takes the safeguards of this engine out, one at a time, and sees the tests turn red: a rule whose removal nobody
// notices is not kept by anything. Each mutant is one replaced snippet of one file, compiled through the go command's overlay,
// so the tree itself never changes. docs/reliability.md names the mutants of each rule.
//
//	go run ./internal/mutants [-run REGEX] [-list] [-v] [-p N]
//
// It exits with 0 when every mutant turned a test red, with 1 when one survived or nothing could be shown, with 2 when it was
// called wrongly.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case err == nil:
	case errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(2) //lawtest:allow exit this is a command of its own, not a part of the engine
	default:
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1) //lawtest:allow exit this is a command of its own, not a part of the engine
	}
}

var (
	errUsage    = errors.New("wrong usage")
	errSurvived = errors.New("not every mutant was killed")
)

// command is main without the process around it.
func command(ctx context.Context, args []string, out, errOut io.Writer) error {
	flags := flag.NewFlagSet("mutants", flag.ContinueOnError)
	flags.SetOutput(errOut)
	run := flags.String("run", "", "only mutants whose name or rule (\"rule 8\") matches this regular expression")
	list := flags.Bool("list", false, "list the mutants and run nothing")
	verbose := flags.Bool("v", false, "show what each mutant's tests said")
	parallel := flags.Int("p", runtime.GOMAXPROCS(0), "how many mutants are tested at once")
	limit := flags.Duration("timeout", 2*time.Minute, "how long the tests of one mutant may take")
	if err := flags.Parse(args); err != nil {
		return errors.Join(errUsage, err)
	}
	if flags.NArg() > 0 || *parallel < 1 {
		return fmt.Errorf("%w: no arguments are taken, and -p is at least 1; see -h", errUsage)
	}
	chosen, err := choose(all(), *run)
	if err != nil {
		return err
	}
	if *list {
		return writeList(out, chosen)
	}
	root, err := moduleRoot(ctx)
	if err != nil {
		return err
	}
	r := &runner{root: root, limit: *limit, parallel: *parallel, progress: newProgress(errOut, len(chosen), *verbose)}
	results, err := r.run(ctx, chosen)
	if len(results) > 0 {
		if werr := writeTable(out, results); werr != nil {
			return werr
		}
	}
	return err
}

// choose keeps the mutants that the expression asks for.
func choose(mutants []mutant, expression string) ([]mutant, error) {
	re, err := regexp.Compile(expression)
	if err != nil {
		return nil, fmt.Errorf("%w: -run: %w", errUsage, err)
	}
	var chosen []mutant
	for _, m := range mutants {
		if re.MatchString(m.name) || re.MatchString("rule "+m.rule) {
			chosen = append(chosen, m)
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("%w: no mutant's name or rule matches %q; -list shows them", errUsage, expression)
	}
	return chosen, nil
}

// moduleRoot is the folder of go.mod, from wherever in the tree this runs.
func moduleRoot(ctx context.Context) (string, error) {
	name, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	file := strings.TrimSpace(string(name))
	if filepath.Base(file) != "go.mod" {
		return "", errors.New("there is no go.mod here: run it inside the source tree")
	}
	return filepath.Dir(file), nil
}
