package main

import (
	"errors"
	"io"
	"strings"
	"testing"
)

// TestBenchUsage: what cannot be measured is a wrong command line, said before anything starts.
func TestBenchUsage(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"--mode", "compat"}, {"--durability", "os,tape"}, {"--users", "10"}, {"--rounds", "0"}, {"--output", "yaml"},
	} {
		cmd := newBenchCommand()
		cmd.SilenceUsage, cmd.SilenceErrors = true, true
		cmd.SetArgs(args)
		cmd.SetOut(io.Discard)
		cmd.SetErr(io.Discard)
		err := cmd.ExecuteContext(t.Context())
		var coded *codedError
		if !errors.As(err, &coded) || coded.code != exitUsage || !strings.Contains(err.Error(), args[1]) && args[0] != "--durability" {
			t.Errorf("bench %v: %v", args, err)
		}
	}
}
