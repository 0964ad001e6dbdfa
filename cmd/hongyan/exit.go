package main

import (
	"errors"
	"fmt"
	"io"
)

// The exit codes of all commands. A command may give 3 a narrower meaning, which its help says.
const (
	exitOK     = 0
	exitError  = 1 // it did not work; the reason is on the standard error
	exitUsage  = 2 // the command line is wrong
	exitAbsent = 3 // it worked, and there is nothing: no such user, no answer
)

// codedError is an error with the exit code that it causes. Without an error inside, nothing is printed: the command has
// already said everything.
type codedError struct {
	code int
	err  error
}

// Error is the text of the error inside.
func (e *codedError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

// Unwrap gives the error inside.
func (e *codedError) Unwrap() error { return e.err }

// exitWith gives err an exit code; a nil err ends the program silently with it.
func exitWith(code int, err error) error { return &codedError{code, err} }

// finish prints err once, as "hongyan: …", and returns the exit code.
func finish(err error, stderr io.Writer) int {
	if err == nil {
		return exitOK
	}
	var coded *codedError
	if !errors.As(err, &coded) {
		fmt.Fprintf(stderr, "hongyan: %v\n", err)
		return exitError
	}
	if coded.err != nil {
		fmt.Fprintf(stderr, "hongyan: %v\n", err)
	}
	return coded.code
}
