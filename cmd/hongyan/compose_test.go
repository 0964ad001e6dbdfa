package main

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"hongyan/config"
)

// composition is what these tests read of docker-compose.yml.
type composition struct {
	Services map[string]struct {
		Image       string
		User        string
		Environment map[string]string
		EnvFile     []string `yaml:"env_file"`
		ReadOnly    bool     `yaml:"read_only"`
		CapDrop     []string `yaml:"cap_drop"`
		CapAdd      []string `yaml:"cap_add"`
		SecurityOpt []string `yaml:"security_opt"`
		Restart     string
		Grace       string `yaml:"stop_grace_period"`
		Ports       []string
		Name        string `yaml:"container_name"`
		Scale       int
		Volumes     []string
		Networks    []string
		NetworkMode string `yaml:"network_mode"`
	}
	Networks map[string]struct{ Internal bool }
	Version  string
}

func readComposition(t *testing.T) composition {
	t.Helper()
	var c composition
	// A key beside a merged one (<<) replaces it; the parser would take it for a duplicate.
	if err := yaml.UnmarshalWithOptions(readShipped(t, "docker-compose.yml"), &c, yaml.AllowDuplicateMapKey()); err != nil {
		t.Fatalf("docker-compose.yml: %v", err)
	}
	if len(c.Services) == 0 {
		t.Fatal("docker-compose.yml has no services")
	}
	return c
}

func readShipped(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// filledIn is .env.example as an operator fills it in.
func filledIn(t *testing.T) map[string]string {
	t.Helper()
	values := map[string]string{
		"HONGYAN_ACCOUNTS_DEMO_APP_ID": "wx0123456789abcdef", "HONGYAN_ACCOUNTS_DEMO_TOKEN": "DemoToken",
		"HONGYAN_ACCOUNTS_DEMO_ENCODING_AES_KEY": "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ",
	}
	variables := make(map[string]string)
	for line := range strings.Lines(string(readShipped(t, ".env.example"))) {
		line = strings.TrimSpace(line)
		name, value, ok := strings.Cut(line, "=")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if !ok {
			t.Fatalf(".env.example: %q is no variable", line)
		}
		secret := strings.HasSuffix(name, "PASSWORD") || strings.HasPrefix(name, "HONGYAN_")
		if secret && value != "" {
			t.Errorf(".env.example: %s has a value; an example of a secret gets used", name)
		}
		switch {
		case values[name] != "":
			value = values[name]
		case secret:
			value = strings.Repeat("0f", 24)
		}
		variables[name] = value
	}
	return variables
}

// interpolation is ${NAME}, ${NAME:-default} or ${NAME:?message}.
var interpolation = regexp.MustCompile(`\$\{([A-Z_]+)(?::([-?])([^}]*))?\}`)

// interpolated puts the variables into a value, as Compose does.
func interpolated(t *testing.T, value string, variables map[string]string) string {
	t.Helper()
	return interpolation.ReplaceAllStringFunc(value, func(found string) string {
		parts := interpolation.FindStringSubmatch(found)
		switch {
		case variables[parts[1]] != "":
			return variables[parts[1]]
		case parts[2] == "-":
			return parts[3]
		default:
			t.Errorf("docker-compose.yml needs %s, which .env.example does not have", parts[1])
			return ""
		}
	})
}

// Every node of the composition has a configuration that can be served, and every variable that it is given has a key.
func TestCompositionNodesHaveGoodConfigurations(t *testing.T) {
	t.Parallel()
	variables := filledIn(t)
	wanted := map[string]struct {
		roles []config.Role
		scale int
	}{
		"ingress": {[]config.Role{config.RoleIngress, config.RoleConsole}, 2},
		"worker":  {[]config.Role{config.RoleWorker, config.RoleConsole}, 3},
	}
	services := readComposition(t).Services
	for name, want := range wanted {
		service := services[name]
		var environ []string
		for variable, value := range variables { // env_file
			environ = append(environ, variable+"="+value)
		}
		for variable, value := range service.Environment {
			environ = append(environ, variable+"="+interpolated(t, value, variables))
		}
		cfg, report := config.Load(filepath.Join("..", "..", "deploy", "hongyan", "hongyan.yaml"), environ)
		for _, fault := range slices.Concat(report.Faults, report.Warnings, config.NotBuilt(cfg)) {
			t.Errorf("%s: %+v", name, fault)
		}
		if !slices.Equal(cfg.Node.Roles, want.roles) || service.Scale != want.scale {
			t.Errorf("%s: %d with roles %v, want %d with %v", name, service.Scale, cfg.Node.Roles, want.scale, want.roles)
		}
		if cfg.NATS.Durability != config.DurabilityDisk || cfg.State.Store != config.StoreRedis || cfg.NATS.Monitor == "" {
			t.Errorf("%s: durability %s, store %s, monitor %q: the composition promises disk, redis, and to look", name,
				cfg.NATS.Durability, cfg.State.Store, cfg.NATS.Monitor)
		}
		if tls := cfg.Cluster.TLS; tls.CA == "" || tls.Cert == "" || tls.Key == "" {
			t.Errorf("%s: no mutual TLS between the nodes", name)
		}
		checkRules(cfg, report)
		if report.Err() != nil {
			t.Errorf("%s: %v", name, report.Err())
		}
		if cfg.Node.ID != "" || service.Name != "" || len(service.Ports) > 0 {
			t.Errorf("%s cannot be scaled: it has an id, a container name or a port of its own", name)
		}
	}
}

// Every service is locked up, and only nginx is reached from outside, by default from this machine.
func TestCompositionIsLockedUp(t *testing.T) {
	t.Parallel()
	c := readComposition(t)
	if c.Version != "" {
		t.Error("docker-compose.yml has a version, of which the new docker compose warns")
	}
	if !c.Networks["store"].Internal {
		t.Error("the network of NATS and Redis is not internal")
	}
	for name, s := range c.Services {
		if !s.ReadOnly || !slices.Contains(s.CapDrop, "ALL") || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s: read_only %v, cap_drop %v, security_opt %v", name, s.ReadOnly, s.CapDrop, s.SecurityOpt)
		}
		if strings.HasPrefix(s.User, "0") && name != "nats-volume" || len(s.CapAdd) > 0 && s.NetworkMode != "none" {
			t.Errorf("%s: user %q with %v", name, s.User, s.CapAdd)
		}
		if s.Restart != "unless-stopped" && s.NetworkMode != "none" {
			t.Errorf("%s: restart %q", name, s.Restart)
		}
		if (name == "nats" || name == "redis") && !slices.Equal(s.Networks, []string{"store"}) {
			t.Errorf("%s is on the networks %v, want the internal one alone", name, s.Networks)
		}
		for _, port := range s.Ports {
			if name != "nginx" || !strings.HasPrefix(interpolated(t, port, nil), "127.0.0.1:") {
				t.Errorf("%s publishes %s", name, port)
			}
		}
	}
}

// The settings without which P1 (accepted means safe) is a lie, and those of nginx that other promises rest on.
func TestCompositionKeepsPromises(t *testing.T) {
	t.Parallel()
	for file, settings := range map[string][]string{
		"deploy/nats.conf":  {`(?m)^\s*sync_interval: always$`, `(?m)^\s*store_dir: "/data"$`, `(?m)^\s*password: \$NATS_PASSWORD$`},
		"deploy/redis.conf": {`(?m)^appendonly yes$`, `(?m)^appendfsync always$`, `(?m)^no-appendfsync-on-rewrite no$`, `(?m)^maxmemory-policy noeviction$`, `(?m)^dir /data$`},
		"deploy/nginx/nginx.conf": {
			`(?m)^\s*proxy_next_upstream error timeout;$`, // and not non_idempotent: a POST that was sent is never sent again
			`(?m)^\s*proxy_connect_timeout 1s;$`,
			`(?m)^\s*proxy_read_timeout 6s;$`, // above WeChat's 5 s
			`(?m)^\s*error_log /dev/stderr crit;$`,
			`(?m)^\s*keepalive 128;$`,
		},
	} {
		text := readShipped(t, file)
		for _, setting := range settings {
			if !regexp.MustCompile(setting).Match(text) {
				t.Errorf("%s lacks the setting %s", file, setting)
			}
		}
	}
	nginx := string(readShipped(t, "deploy/nginx/nginx.conf"))
	for _, leak := range []string{"$request ", "$request_uri", "$args", "$query_string"} {
		if strings.Contains(nginx, leak) {
			t.Errorf("nginx.conf uses %s: the query has the user's OpenID, which belongs in no log", leak)
		}
	}
	volumes := map[string]string{"nats": "nats:/data", "redis": "redis:/data"}
	services := readComposition(t).Services
	for _, name := range slices.Sorted(maps.Keys(volumes)) {
		if !slices.Contains(services[name].Volumes, volumes[name]) {
			t.Errorf("%s does not keep its data on the volume %s", name, volumes[name])
		}
	}
}
