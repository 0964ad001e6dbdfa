//go:build compose

package compose

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"
)

// line is one row of the table that the test prints.
type line struct {
	step, note       string
	messages, again  int // written in that time; answered by a redelivery
	answered         int // rightly
	refused          int // told to send again
	slowest, elapsed time.Duration
}

// proof is the composition under traffic, and the table.
type proof struct {
	*composition
	load  *traffic
	table []line
}

// TestComposition is the life of the composition, one step after the other under traffic that never stops.
func TestComposition(t *testing.T) {
	p := &proof{composition: newComposition(t)}
	t.Cleanup(p.print)

	started := time.Now()
	p.compose("build")
	p.row("build the image with its Dockerfile", p.image(), started)

	started = time.Now()
	p.compose("up", "--detach")
	t.Cleanup(p.remove)
	p.allHealthy(3)
	p.row("up", fmt.Sprintf("%d containers healthy", 1+2+3+1+1), started)
	p.hardened()

	p.load = startTraffic(t)
	p.flows("all quiet", func() string { return spread(p.owners(3)) })
	p.flows("kill -9 a worker", func() string {
		p.killProcess(p.containers("worker")[0])
		p.healthy("worker", 3)
		return spread(p.owners(3))
	})
	p.flows("kill -9 an ingress", func() string {
		p.killProcess(p.containers("ingress")[0])
		p.healthy("ingress", 2)
		return ""
	})
	p.flows("kill -9 NATS", func() string {
		p.killProcess(p.containers("nats")[0])
		p.healthy("nats", 1)
		return spread(p.owners(3))
	})
	p.flows("kill -9 Redis", func() string {
		p.killProcess(p.containers("redis")[0])
		p.healthy("redis", 1)
		return spread(p.owners(3))
	})
	p.flows("restart NATS and Redis in order", func() string {
		p.compose("restart", "nats", "redis")
		p.healthy("nats", 1)
		p.healthy("redis", 1)
		return spread(p.owners(3))
	})
	p.flows("replace both ingresses (new addresses)", func() string {
		// Recreating them would take both down at once. This way the new ones serve before the old ones go.
		before := p.containers("ingress")
		p.compose("up", "--detach", "--no-deps", "--no-recreate", "--scale", "ingress=4", "ingress")
		p.healthy("ingress", 4)
		for _, old := range before {
			p.run("docker", "stop", old.ID)
			p.run("docker", "rm", old.ID)
		}
		p.compose("up", "--detach", "--no-deps", "--no-recreate", "--scale", "ingress=2", "ingress")
		p.healthy("ingress", 2)
		return replaced(t, before, p.containers("ingress"))
	})
	p.flows("--scale worker=5", func() string {
		p.compose("up", "--detach", "--no-recreate", "--scale", "worker=5")
		p.healthy("worker", 5)
		return spread(p.owners(5))
	})
	p.flows("--scale worker=3", func() string {
		p.compose("up", "--detach", "--no-recreate", "--scale", "worker=3")
		p.healthy("worker", 3)
		return spread(p.owners(3))
	})
	p.load.end()
	p.oneTurnEach()

	started = time.Now()
	p.compose("down")
	p.compose("up", "--detach")
	p.allHealthy(3)
	p.oneTurnEach() // the volumes still know everybody
	p.row("down and up", "volumes kept", started)
}

// flows does something to the composition while messages flow, and until some of them, written after it, have ended. Each message
// must have got its own answer; where the log itself was away for too long, the word that it was not received.
func (p *proof) flows(step string, do func() string) {
	p.t.Helper()
	logAway := strings.Contains(step, "NATS") // where it is away for all of WeChat's deliveries, nothing can be accepted
	started := time.Now()
	note := do()
	p.settle()
	all := p.load.since(started)
	row := line{step: step, note: note, messages: len(all), elapsed: time.Since(started)}
	var faults []string
	for _, s := range all {
		row.slowest = max(row.slowest, s.elapsed)
		if s.repeated {
			row.again++
		}
		switch {
		case s.fault != "":
			faults = append(faults, s.fault)
		case s.refused && !logAway:
			faults = append(faults, "a message was refused, though the log was there")
		case s.refused:
			row.refused++
		default:
			row.answered++
		}
	}
	p.table = append(p.table, row)
	if len(faults) > 0 {
		p.t.Fatalf("%s: %d of %d messages were not answered rightly, for example %s\n%s", step, len(faults), len(all), faults[0], p.complaints())
	}
}

// settle waits for some hundred messages that were written from now on.
func (p *proof) settle() {
	p.t.Helper()
	from := time.Now()
	p.until(2*time.Minute, func() string {
		if n := len(p.load.since(from)); n < 10*users {
			return fmt.Sprintf("only %d messages got through", n)
		}
		return ""
	})
}

func (p *proof) allHealthy(workers int) {
	p.t.Helper()
	for service, count := range map[string]int{"nats": 1, "redis": 1, "ingress": 2, "worker": workers, "nginx": 1} {
		p.healthy(service, count)
	}
}

// image looks at what was built.
func (p *proof) image() string {
	p.t.Helper()
	const most = 48 << 20 // bytes
	out := p.run("docker", "image", "inspect", "--format", "{{.Size}} {{.Config.User}}", "hongyan:check")
	size, user, _ := strings.Cut(out, " ")
	bytes, err := strconv.Atoi(size)
	if err != nil {
		p.t.Fatal(err)
	}
	if bytes >= most {
		p.t.Errorf("the image has %d bytes, want less than %d", bytes, most)
	}
	if user != "65532:65532" {
		p.t.Errorf("the image's user is %q, want a number that is not root's", user)
	}
	if v := p.run("docker", "run", "--rm", "--read-only", "--network", "none", "hongyan:check", "version"); !strings.Contains(v, "check") {
		p.t.Errorf("the image does not know its version: %s", v)
	}
	return fmt.Sprintf("%.1f MB, user %s", float64(bytes)/1e6, user)
}

// hardened checks what the composition promises about every container.
func (p *proof) hardened() {
	p.t.Helper()
	for _, one := range p.containers("") {
		h := one.HostConfig
		once := one.service() == "certs" || one.service() == "nats-volume"
		if !h.ReadonlyRootfs || h.Privileged || !slices.Contains(h.CapDrop, "ALL") || !slices.ContainsFunc(h.SecurityOpt, func(o string) bool {
			return strings.HasPrefix(o, "no-new-privileges")
		}) {
			p.t.Errorf("%s is not as locked up as it should be: %+v", one.Name, h)
		}
		if (len(h.CapAdd) > 0 || strings.HasPrefix(one.Config.User, "0")) && one.service() != "nats-volume" {
			p.t.Errorf("%s runs as %q with %v", one.Name, one.Config.User, h.CapAdd)
		}
		if once && (one.State.Status != "exited" || one.State.ExitCode != 0) {
			p.t.Errorf("%s did not end well: %s %d", one.Name, one.State.Status, one.State.ExitCode)
		}
		if !once && (h.RestartPolicy.Name != "unless-stopped" || h.Memory == 0 || h.PidsLimit == 0) {
			p.t.Errorf("%s has no restart policy or no limits: %+v", one.Name, h)
		}
		for port, bindings := range one.NetworkSettings.Ports {
			for _, b := range bindings {
				if one.service() != "nginx" || b.HostIp != "127.0.0.1" {
					p.t.Errorf("%s publishes %s on %s:%s", one.Name, port, b.HostIp, b.HostPort)
				}
			}
		}
	}
}

// oneTurnEach asks a node about every user: as many committed turns as messages that were accepted, all answered, no dead letter.
func (p *proof) oneTurnEach() {
	p.t.Helper()
	started := time.Now()
	node := p.containers("worker")[0].ID
	messages := 0
	for openID, count := range p.load.count {
		out := p.run("docker", "exec", node, "/hongyan", "user", "show", "-c", settings, "-o", "json", account+"/"+openID)
		var u struct {
			Counts struct{ Turns, Answered, Silent, Dead, Dropped, Kept int }
			Queued int
		}
		if err := json.Unmarshal([]byte(out), &u); err != nil {
			p.t.Fatalf("user show: %v: %s", err, out)
		}
		// A refused one may have reached the log after all: the acknowledgement was lost.
		least := count - p.load.refused[openID]
		if u.Counts.Turns < least || u.Counts.Turns > count || u.Counts.Answered != u.Counts.Turns || u.Counts.Dead != 0 || u.Counts.Dropped != 0 || u.Queued != 0 {
			p.t.Errorf("%s wrote %d messages, the engine tells %+v", openID, count, u)
		}
		messages += count
	}
	p.row("one committed turn per message", fmt.Sprintf("%d users, %d messages", len(p.load.count), messages), started)
}

// replaced checks that no container of before is among those of now.
func replaced(t *testing.T, before, now []container) string {
	t.Helper()
	for _, old := range before {
		if slices.ContainsFunc(now, func(n container) bool { return n.ID == old.ID }) {
			t.Errorf("%s was not replaced", old.Name)
		}
	}
	return fmt.Sprintf("%d containers", len(now))
}

// spread is the number of partitions per worker, in order of size.
func spread(owned map[string]int) string {
	return fmt.Sprintf("partitions %v", slices.Sorted(maps.Values(owned)))
}

func (p *proof) row(step, note string, started time.Time) {
	p.table = append(p.table, line{step: step, note: note, elapsed: time.Since(started)})
}

// remove takes everything away, the volumes too.
func (p *proof) remove() {
	ctx := context.WithoutCancel(p.t.Context()) // which is over when the test cleans up
	if _, err := p.try(ctx, append(slices.Clone(p.base), "down", "--volumes", "--remove-orphans")...); err != nil {
		p.t.Log(err)
	}
}

func (p *proof) print() {
	var text strings.Builder
	out := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "STEP\tTOOK\tMESSAGES\tANSWERED\tBY REDELIVERY\tREFUSED\tSLOWEST\t")
	for _, l := range p.table {
		messages, answered, again, refused, slowest := "-", "-", "-", "-", "-"
		if l.messages > 0 {
			messages, answered, again = strconv.Itoa(l.messages), strconv.Itoa(l.answered), strconv.Itoa(l.again)
			refused = strconv.Itoa(l.refused)
			slowest = l.slowest.Round(time.Millisecond).String()
		}
		fmt.Fprintf(out, "%s\t%.1fs\t%s\t%s\t%s\t%s\t%s\t%s\n", l.step, l.elapsed.Seconds(), messages, answered, again, refused, slowest, l.note)
	}
	_ = out.Flush()
	p.t.Logf("the composition, with %s:\n%s", p.base[0], text.String())
}
