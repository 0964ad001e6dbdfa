//go:build compose

package compose

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	project = "hongyancheck"
	account = "demo"
	appID   = "wx0123456789abcdef"
	token   = "ComposeCheckToken"
	aesKey  = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ"
	// Digits alone: the form of a password that configuration languages like to take for a number.
	password = "31415926535897932384626433832795"
	callback = "127.0.0.1:8080"
	settings = "/etc/hongyan/hongyan.yaml" // inside the containers
)

// composition is the running docker-compose.yml, driven as an operator drives it: by the commands of Docker and Compose.
type composition struct {
	t    *testing.T
	root string   // of the project
	base []string // the Compose command with its first arguments
	env  []string
}

func newComposition(t *testing.T) *composition {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("DOCKER_HOST") == "" {
		t.Fatal("no engine is named (DOCKER_HOST): run it with make compose, which starts one of its own")
	}
	file := filepath.Join(t.TempDir(), "env")
	lines := []string{
		"NATS_PASSWORD=" + password, "REDIS_PASSWORD=" + password, "HONGYAN_ADMIN_TOKEN=compose-check-admin-token",
		"HONGYAN_ACCOUNTS_DEMO_APP_ID=" + appID, "HONGYAN_ACCOUNTS_DEMO_TOKEN=" + token, "HONGYAN_ACCOUNTS_DEMO_ENCODING_AES_KEY=" + aesKey,
		"HONGYAN_LIMITS_USER_RATE=0", "HONGYAN_LIMITS_ACCOUNT_RATE=0", // the traffic writes faster than people may
		"CALLBACK_LISTEN=" + callback, "TAG=check",
	}
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	base := strings.Fields(cmp.Or(os.Getenv("COMPOSE"), "docker-compose"))
	base = append(base, "--project-name", project, "--project-directory", root, "--file", filepath.Join(root, "docker-compose.yml"), "--env-file", file)
	return &composition{t: t, root: root, base: base, env: append(os.Environ(), "ENV_FILE="+file)}
}

// run runs a command to its end and returns its standard output; a failure of it is one of the test.
func (c *composition) run(args ...string) string {
	c.t.Helper()
	out, err := c.try(c.t.Context(), args...)
	if err != nil {
		c.t.Fatal(err)
	}
	return out
}

func (c *composition) try(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Env = c.root, c.env
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s: %w\n%s%s", strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return strings.TrimSpace(stdout.String()), nil
}

func (c *composition) compose(args ...string) string {
	c.t.Helper()
	return c.run(append(slices.Clone(c.base), args...)...)
}

// container is what `docker inspect` tells of one.
type container struct {
	ID    string `json:"Id"`
	Name  string
	State struct {
		Status   string
		Pid      int
		ExitCode int
		Health   struct{ Status string }
	}
	RestartCount int
	Config       struct {
		User   string
		Image  string
		Labels map[string]string
	}
	HostConfig struct {
		ReadonlyRootfs bool
		Privileged     bool
		CapAdd         []string
		CapDrop        []string
		SecurityOpt    []string
		Memory         int64
		PidsLimit      int64
		RestartPolicy  struct{ Name string }
	}
	NetworkSettings struct {
		Ports map[string][]struct{ HostIp, HostPort string }
	}
}

func (c container) service() string { return c.Config.Labels["com.docker.compose.service"] }

// containers are those of a service, also the ended ones; of all services where it is empty.
func (c *composition) containers(service string) []container {
	c.t.Helper()
	args := []string{"docker", "ps", "--all", "--quiet", "--no-trunc", "--filter", "label=com.docker.compose.project=" + project}
	if service != "" {
		args = append(args, "--filter", "label=com.docker.compose.service="+service)
	}
	ids := strings.Fields(c.run(args...))
	if len(ids) == 0 {
		return nil
	}
	out, err := c.try(c.t.Context(), append([]string{"docker", "inspect"}, ids...)...)
	if err != nil && !strings.Contains(err.Error(), "No such object") { // one was removed since it was listed
		c.t.Fatal(err)
	}
	var all []container
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		c.t.Fatalf("docker inspect: %v", err)
	}
	return all
}

// healthy waits until a service has so many containers, all healthy, and no other.
func (c *composition) healthy(service string, count int) {
	c.t.Helper()
	c.until(3*time.Minute, func() string {
		all := c.containers(service)
		var states []string
		good := 0
		for _, one := range all {
			states = append(states, one.State.Status+" "+one.State.Health.Status)
			if one.State.Health.Status == "healthy" && one.State.Status == "running" {
				good++
			}
		}
		if good == count && len(all) == count {
			return ""
		}
		return fmt.Sprintf("%s: want %d healthy containers, have %q", service, count, states)
	})
}

// until polls until nothing is missing any more.
func (c *composition) until(within time.Duration, missing func() string) {
	c.t.Helper()
	deadline := time.Now().Add(within)
	for {
		what := missing()
		if what == "" {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("not within %v: %s\n%s", within, what, c.complaints())
		}
		select {
		case <-c.t.Context().Done():
			c.t.Fatal(c.t.Context().Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// complaints are what every container said besides the usual, its last lines, for the reader of a failure. Everything that was said goes to
// a file of its own.
func (c *composition) complaints() string {
	const last = 8 // per container
	out, err := c.try(context.WithoutCancel(c.t.Context()), append(slices.Clone(c.base), "logs", "--no-color", "--timestamps")...)
	if err != nil {
		return err.Error()
	}
	file := filepath.Join(c.root, ".build", "compose", "containers.log")
	if err := os.WriteFile(file, []byte(out), 0o600); err != nil {
		return err.Error()
	}
	kept := make(map[string][]string)
	for said := range strings.Lines(out) {
		name, text, ok := strings.Cut(said, "|")
		usual := strings.Contains(text, `"level":"info"`) || strings.Contains(text, "[INF]") || strings.Contains(text, "/wechat/callback")
		if ok && !usual {
			kept[name] = append(kept[name], strings.TrimSpace(text))
		}
	}
	var text strings.Builder
	fmt.Fprintf(&text, "everything that the containers said is in %s; of their complaints the last are\n", file)
	for _, name := range slices.Sorted(maps.Keys(kept)) {
		for _, said := range kept[name][max(0, len(kept[name])-last):] {
			fmt.Fprintf(&text, "%s| %s\n", name, said)
		}
	}
	return text.String()
}

// killProcess ends a container's process with SIGKILL, as a crash does: the restart policy, not the operator, brings it back.
func (c *composition) killProcess(one container) {
	c.t.Helper()
	if one.State.Pid <= 0 {
		c.t.Fatalf("%s does not run", one.Name)
	}
	if err := syscall.Kill(one.State.Pid, syscall.SIGKILL); err != nil {
		c.t.Fatalf("kill %s: %v", one.Name, err)
	}
	c.until(time.Minute, func() string {
		for _, now := range c.containers(one.service()) {
			if now.ID == one.ID && now.RestartCount > one.RestartCount && now.State.Status == "running" {
				return ""
			}
		}
		return one.Name + " was not started again"
	})
}

// owners tells how many partitions each worker has, once so many workers have all of them and none is moving.
func (c *composition) owners(workers int) map[string]int {
	c.t.Helper()
	var owned map[string]int
	c.until(2*time.Minute, func() string {
		running := c.containers("worker")
		if len(running) == 0 {
			return "there is no worker"
		}
		out, err := c.try(c.t.Context(), "docker", "exec", running[0].ID, "/hongyan", "partitions", "-c", settings, "-o", "json")
		if err != nil {
			return err.Error()
		}
		var list struct {
			Partitions []struct {
				Owner    string
				Moving   bool
				Reported bool
			}
		}
		if err := json.Unmarshal([]byte(out), &list); err != nil {
			return fmt.Sprintf("hongyan partitions -o json: %v: %s", err, out)
		}
		owned = make(map[string]int)
		for _, p := range list.Partitions {
			if p.Moving || !p.Reported {
				return fmt.Sprintf("partitions are moving: %v so far", owned)
			}
			owned[p.Owner]++
		}
		if len(owned) != workers {
			return fmt.Sprintf("want all partitions on %d workers, have %v", workers, owned)
		}
		return ""
	})
	return owned
}
