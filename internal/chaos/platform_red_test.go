package chaos

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"hongyan/wechat/simulator"
)

// script writes a platform's log by hand: seconds from its beginning.
type script struct {
	t     *testing.T
	log   *platformLog
	began time.Time
}

func newScript(t *testing.T, partitions int) *script {
	t.Helper()
	return &script{t: t, log: newPlatformLog(partitions, io.Discard), began: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
}

func (s *script) record(r simulator.Record, seconds float64) {
	s.t.Helper()
	r.At = s.at(seconds)
	line, err := json.Marshal(r)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.log.Write(line); err != nil {
		s.t.Fatal(err)
	}
}

func (s *script) at(seconds float64) time.Time {
	return s.began.Add(time.Duration(seconds * float64(time.Second)))
}

// message is one that is pushed, and answered at a delivery after those that failed. The answer comes at the end; an empty host
// means that none came.
func (s *script) message(openID, id string, pushed, ended float64, answer string, hosts ...string) {
	s.t.Helper()
	r := simulator.Record{OpenID: openID, MsgID: id}
	r.Kind = simulator.RecordPush
	s.record(r, pushed)
	for i, host := range hosts {
		r.Number, r.Host, r.Kind, r.Outcome, r.Answer = i+1, host, simulator.RecordSent, "", nil
		s.record(r, pushed)
		r.Kind, r.Outcome = simulator.RecordReceived, simulator.OutcomeRefused
		if i == len(hosts)-1 {
			r.Outcome, r.Answer = simulator.OutcomeAnswered, &simulator.Answer{Type: "text", Content: answer}
		}
		s.record(r, ended)
	}
}

// users of partitions 0 and 1 of two.
func twoUsers(t *testing.T) (users [2]string) {
	t.Helper()
	for i := 0; users[0] == "" || users[1] == ""; i++ {
		if i > 1000 {
			t.Fatal("no user for a partition")
		}
		openID := fmt.Sprint("u", i)
		users[partitionOf(openID, 2)] = openID
	}
	return users
}

// TestResumed: only answers to what was pushed after the mark count, from every partition and every host.
func TestResumed(t *testing.T) {
	t.Parallel()
	u := twoUsers(t)
	s := newScript(t, 2)
	s.message(u[0], "1", 0, 0.1, "《1》", "a")
	s.record(simulator.Record{Kind: simulator.RecordPush, OpenID: u[1], MsgID: "2"}, 0.9) // before the mark
	since := mark{at: s.at(1), index: len(s.log.all())}
	s.record(simulator.Record{
		Kind: simulator.RecordReceived, OpenID: u[1], MsgID: "2", Number: 1, Host: "b", Outcome: simulator.OutcomeAnswered,
		Answer: &simulator.Answer{Type: "text", Content: "《2》"},
	}, 1.1)
	s.message(u[0], "3", 1.2, 1.4, "《3》", "a")
	s.message(u[1], "4", 1.3, 1.5, "还在想", "b") // not an answer
	if _, missing, ok := s.log.resumed(since, []string{"a", "b"}); ok || !slices.Equal(missing, []string{"b", "partition 1"}) {
		t.Errorf("resumed %v, missing %q", ok, missing)
	}
	s.message(u[1], "5", 1.6, 3.0, "《5》", "a", "b")
	s.message(u[1], "6", 1.6, 9.0, "《6》", "b")
	if after, missing, ok := s.log.resumed(since, []string{"a", "b"}); !ok || after != 2*time.Second {
		t.Errorf("resumed %v after %v, missing %q; want 2s", ok, after, missing)
	}
}

// TestLongestWaits: by partition, of what was pushed between the marks.
func TestLongestWaits(t *testing.T) {
	t.Parallel()
	u := twoUsers(t)
	s := newScript(t, 2)
	s.message(u[0], "1", 0, 9, "《1》", "a")
	from := mark{at: s.at(10), index: len(s.log.all())}
	s.message(u[0], "2", 10, 10.3, "《2》", "a")
	s.message(u[0], "3", 11, 11.1, "《3》", "a")
	s.message(u[1], "4", 11, 11.2, "《4》", "a")
	to := mark{at: s.at(12), index: len(s.log.all())}
	s.message(u[1], "5", 13, 20, "《5》", "a")
	waits := s.log.longestWaits(from, to)
	if len(waits) != 2 || waits[0] != 300*time.Millisecond || waits[1] != 200*time.Millisecond {
		t.Errorf("longest waits %v", waits)
	}
}

// TestTable: the rows as people read them, and what an interrupted run knows.
func TestTable(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	p, err := openProgress(folder, "plan", false)
	if err != nil {
		t.Fatal(err)
	}
	var times []time.Duration
	for i := range 100 {
		times = append(times, time.Duration(100-i)*10*time.Millisecond)
	}
	err = p.add(row{
		Fault: "kill", Target: "≤ 0.9 s", Limit: 900 * time.Millisecond, Injections: 100, Messages: 12_345, Banners: 2, Times: times,
		Violations: []string{"x"}, Breaches: []string{"y"},
	})
	if err != nil {
		t.Fatal(err)
	}
	const want = `| Fault   | Injections | Messages | Violations | Banners |    p50 |    p99 |    max | Target  |   Over it |
|---------|-----------:|---------:|-----------:|--------:|-------:|-------:|-------:|---------|----------:|
| kill    |        100 |   12,345 |          2 |       2 | 0.50 s | 0.99 s | 1.00 s | ≤ 0.9 s | 10 of 100 |
| **all** |        100 |   12,345 |          2 |       2 |        |        |        |         |           |
`
	if got := p.table(); got != want {
		t.Errorf("the table:\n%s\nwant:\n%s", got, want)
	}
	again, err := openProgress(folder, "plan", false)
	if err != nil || !again.done("kill") || again.done("cut") || again.table() != want {
		t.Errorf("an interrupted run goes on with %+v, %v", again, err)
	}
	for name, open := range map[string]func() (*progress, error){
		"another plan": func() (*progress, error) { return openProgress(folder, "other", false) },
		"anew":         func() (*progress, error) { return openProgress(folder, "plan", true) },
		"finished": func() (*progress, error) {
			if err := again.finish(); err != nil {
				return nil, err
			}
			return openProgress(folder, "plan", false)
		},
	} {
		if begun, err := open(); err != nil || len(begun.Rows) > 0 {
			t.Errorf("%s: begins with %+v, %v", name, begun, err)
		}
	}
}
