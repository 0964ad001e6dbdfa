// Package script plays users from a file against a back end: who writes what and when, which answer must come within which time,
// and what goes wrong at WeChat's API meanwhile. The format, with all keys, stands in docs/simulator.md.
//
// Parse reads a script, NewRunner prepares it, and Run plays it on a simulated platform whose Options.Watch is the runner's Watch:
// passive replies, customer-service messages and the fault banner all come from the platform's own log.
package script

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"hongyan/wechat/simulator"
)

// Script is a file as it was read and checked.
type Script struct {
	Name     string    `yaml:"name"`     // for people; the file's name when empty
	Accounts []Account `yaml:"accounts"` // optional: accounts can also come from elsewhere
	Faults   []Fault   `yaml:"faults"`   // injected at the start; their `after` counts from there
	Users    []User    `yaml:"users"`
	Load     *Load     `yaml:"load"`

	file string
}

// User is one user, or a number of users who do the same.
type User struct {
	ID      string `yaml:"id"`      // OpenID; with a count, ID-1, ID-2 …
	Count   int    `yaml:"count"`   // 1 when absent
	Account string `yaml:"account"` // the platform's first when absent
	Start   Span   `yaml:"start"`   // before the first step
	Spread  Span   `yaml:"spread"`  // users begin evenly over that time
	Repeat  int    `yaml:"repeat"`  // how often all steps are done; 1 when absent
	Steps   []Step `yaml:"steps"`

	line int
}

// Step is one thing that a user does, or waits for. A step without text, event, message and receive only pauses or expects.
type Step struct {
	After   Span     `yaml:"after"`           // pause before the step
	Text    string   `yaml:"text"`            // {user}, {n} (message of this step, from 1), {round} and {all} (of the script) are filled in
	Event   Event    `yaml:"event"`           // subscribe, or {name: CLICK, key: HELP}
	Message *Message `yaml:"message"`         // anything else, with the keys of the phone's API
	Receive *bool    `yaml:"receive"`         // the user switches receiving of the account's messages off or on
	Count   int      `yaml:"count"`           // how often; 1 when absent
	Every   Span     `yaml:"every"`           // between two of them
	Wait    Wait     `yaml:"wait_for_answer"` // true (15 s) or a time: go on when something came, or then
	Expect  *Expect  `yaml:"expect"`          // must be fulfilled before the user goes on

	line int
}

// sends tells whether the step pushes something.
func (s *Step) sends() bool { return s.Text != "" || s.Event.Name != "" || s.Message != nil }

// label names the step in the report.
func (s *Step) label() string {
	switch {
	case s.Text != "":
		return s.Text
	case s.Event.Name != "":
		return strings.TrimSpace(s.Event.Name + " " + s.Event.Key)
	case s.Message != nil:
		return "[" + s.Message.Type + "]"
	case s.Receive != nil:
		return fmt.Sprintf("receive %v", *s.Receive)
	case s.Expect != nil:
		return "expect"
	}
	return "pause"
}

// Expect is what the user must see, within a time that begins with the step's message. Without a condition anything will do.
type Expect struct {
	Contains Texts   `yaml:"contains"` // all of these in one message
	Equals   *string `yaml:"equals"`
	Matches  string  `yaml:"matches"`  // a regular expression
	Type     string  `yaml:"type"`     // text, image, news …
	Via      string  `yaml:"via"`      // passive or custom; either when absent
	Messages int     `yaml:"messages"` // so many messages that fulfil the rest; 1 when absent
	Within   Span    `yaml:"within"`   // 5 s when absent
	Silent   bool    `yaml:"silent"`   // nothing at all may come within the time
	Banner   bool    `yaml:"banner"`   // the fault banner must come

	pattern *regexp.Regexp
	line    int
}

// Load is a stream of messages at a steady rate from many users in turn, whatever the back end does.
type Load struct {
	ID      string  `yaml:"id"`    // OpenIDs are ID-1 …; load when absent
	Users   int     `yaml:"users"` // 100 when absent
	Account string  `yaml:"account"`
	Rate    Rate    `yaml:"rate"`  // 50/s
	Total   int     `yaml:"total"` // messages
	Text    string  `yaml:"text"`
	Expect  *Expect `yaml:"expect"`

	line int
}

// Fault is one fault of the API, with the keys of POST /api/faults.
type Fault struct {
	simulator.Fault

	line int
}

// Message is a message of a user in full.
type Message struct{ simulator.Message }

// Event is an event by name, or with its key.
type Event struct{ Name, Key string }

// Span is a duration; it is written as 1.5s, 200ms, 2m.
type Span time.Duration

// String is the duration as people write it.
func (d Span) String() string { return time.Duration(d).String() }

// Wait is how long a user waits for something to come.
type Wait time.Duration

// Rate is messages per second.
type Rate float64

// Texts is one text or a list.
type Texts []string

// Open reads and checks a script file.
func Open(file string) (*Script, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the script: %w", err)
	}
	return Parse(file, data)
}

// Parse reads and checks a script; file is its name in errors. The error names file and line of every fault.
func Parse(file string, data []byte) (*Script, error) {
	s := new(Script)
	if err := decode(file, data, s); err != nil {
		return nil, err
	}
	s.file = file
	if s.Name == "" {
		s.Name = file
	}
	return s, s.check()
}

// decode reads one YAML document strictly.
func decode(file string, data []byte, into any) error {
	err := yaml.NewDecoder(bytes.NewReader(data), yaml.Strict()).Decode(into)
	if err == nil || errors.Is(err, io.EOF) { // nothing in it: the checks say what is missing
		return nil
	}
	var at yaml.Error
	if errors.As(err, &at) && at.GetToken() != nil {
		return fmt.Errorf("%s:%d: %s", file, at.GetToken().Position.Line, at.GetMessage())
	}
	var placed *placedError
	if errors.As(err, &placed) {
		return fmt.Errorf("%s:%d: %w", file, placed.line, placed.err)
	}
	return fmt.Errorf("%s: %w", file, err)
}

// placedError is a fault at a line of the file.
type placedError struct {
	line int
	err  error
}

// Error is the fault without its place, which decode adds.
func (e *placedError) Error() string { return fmt.Sprintf("line %d: %v", e.line, e.err) }

// Unwrap gives the fault itself.
func (e *placedError) Unwrap() error { return e.err }

// lineOf is where a node begins. A block mapping's own token is its first colon, so its first key stands for it.
func lineOf(n ast.Node) int {
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 {
		n = m.Values[0].Key
	}
	if tk := n.GetToken(); tk != nil && tk.Position != nil {
		return tk.Position.Line
	}
	return 1
}

// strictly reads a node into a value, which must not be of a type that UnmarshalYAML of the same node is for.
func strictly(n ast.Node, into any) error { return yaml.NodeToValue(n, into, yaml.Strict()) }

// UnmarshalYAML notes the line beside the content.
func (u *User) UnmarshalYAML(n ast.Node) error {
	type plain User
	u.line = lineOf(n)
	return strictly(n, (*plain)(u))
}

// UnmarshalYAML notes the line beside the content.
func (s *Step) UnmarshalYAML(n ast.Node) error {
	type plain Step
	s.line = lineOf(n)
	return strictly(n, (*plain)(s))
}

// UnmarshalYAML notes the line beside the content.
func (e *Expect) UnmarshalYAML(n ast.Node) error {
	type plain Expect
	e.line = lineOf(n)
	return strictly(n, (*plain)(e))
}

// UnmarshalYAML notes the line beside the content.
func (l *Load) UnmarshalYAML(n ast.Node) error {
	type plain Load
	l.line = lineOf(n)
	return strictly(n, (*plain)(l))
}

// UnmarshalYAML reads the keys of the HTTP interface.
func (f *Fault) UnmarshalYAML(n ast.Node) error {
	f.line = lineOf(n)
	return throughJSON(n, &f.Fault)
}

// UnmarshalYAML reads the keys of the HTTP interface.
func (m *Message) UnmarshalYAML(n ast.Node) error { return throughJSON(n, &m.Message) }

// throughJSON reads a node by the JSON names of a type.
func throughJSON(n ast.Node, into any) error {
	var content map[string]any
	if err := strictly(n, &content); err != nil {
		return err
	}
	b, err := json.Marshal(content)
	if err == nil {
		d := json.NewDecoder(bytes.NewReader(b))
		d.DisallowUnknownFields()
		err = d.Decode(into)
	}
	if err != nil {
		return &placedError{lineOf(n), err}
	}
	return nil
}

// UnmarshalYAML takes a name, or {name, key}.
func (e *Event) UnmarshalYAML(n ast.Node) error {
	if strictly(n, &e.Name) == nil {
		return nil
	}
	var in struct {
		Name string `yaml:"name"`
		Key  string `yaml:"key"`
	}
	err := strictly(n, &in)
	e.Name, e.Key = in.Name, in.Key
	return err
}

// UnmarshalYAML takes a text such as 1.5s.
func (d *Span) UnmarshalYAML(n ast.Node) error {
	var text string
	if err := strictly(n, &text); err != nil {
		return err
	}
	parsed, err := time.ParseDuration(text)
	if err != nil || parsed < 0 {
		return &placedError{lineOf(n), fmt.Errorf("%q is no time; write for example 1.5s", text)}
	}
	*d = Span(parsed)
	return nil
}

// UnmarshalYAML takes true or a duration.
func (w *Wait) UnmarshalYAML(n ast.Node) error {
	var on bool
	if strictly(n, &on) == nil {
		*w = 0
		if on {
			*w = Wait(15 * time.Second)
		}
		return nil
	}
	var d Span
	if err := d.UnmarshalYAML(n); err != nil {
		return &placedError{lineOf(n), errors.New("wait_for_answer is true or a time such as 10s")}
	}
	*w = Wait(d)
	return nil
}

// UnmarshalYAML takes N/s or N/m.
func (r *Rate) UnmarshalYAML(n ast.Node) error {
	var text string
	if err := strictly(n, &text); err != nil {
		return err
	}
	var number float64
	var unit string
	if _, err := fmt.Sscanf(strings.Replace(text, "/", " ", 1), "%f %s", &number, &unit); err != nil || number <= 0 || unit != "s" && unit != "m" {
		return &placedError{lineOf(n), fmt.Errorf("rate %q: write for example 50/s or 600/m", text)}
	}
	if unit == "m" {
		number /= 60
	}
	*r = Rate(number)
	return nil
}

// UnmarshalYAML takes one text or a list.
func (t *Texts) UnmarshalYAML(n ast.Node) error {
	if n.Type() == ast.SequenceType {
		return strictly(n, (*[]string)(t))
	}
	*t = []string{""}
	return strictly(n, &(*t)[0])
}
