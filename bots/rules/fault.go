package rules

import (
	"fmt"
	"strings"
)

// Fault is one thing that is wrong with a rules file.
type Fault struct {
	Line    int // from 1
	Column  int // from 1, in characters, where a caret belongs; 0 where the fault is the line's or the whole file's
	Message string
}

// Error is a rules file that cannot be used: all of its faults, in the order of the file.
type Error struct {
	File   string
	Faults []Fault
}

// Error is one line per fault: "rules.yaml:3:14: message".
func (e *Error) Error() string {
	lines := make([]string, len(e.Faults))
	for i, f := range e.Faults {
		lines[i] = fmt.Sprintf("%s:%d:%d: %s", e.File, f.Line, f.Column, f.Message)
	}
	return strings.Join(lines, "\n")
}
