package config_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hongyan/config"
)

func TestEnvironmentGoesBeforeTheFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "hongyan.yaml")
	text := small + `    mode: plain
  - {id: second-one, app_id: wx0123456789abcdef, token: abcdef, encoding_aes_key: abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ}
bots:
  my-rules: {type: rules, file: nowhere.yaml}
nats: {durability: disk}
`
	for name, content := range map[string]string{path: text, filepath.Join(dir, "r.yaml"): "", filepath.Join(dir, "t"): "fromfile\r\n"} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg := mustLoad(t, path,
		"HONGYAN_NATS_DURABILITY=os", "HONGYAN_NATS_MAX_BYTES=1GiB", "HONGYAN_NODE_DATA_DIR=elsewhere",
		"HONGYAN_NODE_ROLES=worker, ingress", "HONGYAN_WORKER_PASSIVATE_AFTER=2m", "HONGYAN_LOG_LEVEL=",
		"HONGYAN_ACCOUNTS_DEMO_MODE=safe", "HONGYAN_ACCOUNTS_DEMO_TOKEN_FILE=t", "HONGYAN_ACCOUNTS_DEMO_REPLY_DEADLINE=4s",
		"HONGYAN_ACCOUNTS_DEMO_BOT=my-rules", "HONGYAN_ACCOUNTS_SECOND_ONE_CUSTOMER_SERVICE=false",
		"HONGYAN_ACCOUNTS_SECOND_ONE_CONVERSATION_MAX_TURNS=7", "HONGYAN_BOTS_MY_RULES_FILE=r.yaml", "PATH=/bin",
		"HONGYAN_SERVICE_HOST=10.0.0.1", "HONGYAN_PORT_8080_TCP_ADDR=10.0.0.1")
	demo, _ := cfg.Account("demo")
	second, _ := cfg.Account("second-one")
	for what, ok := range map[string]bool{
		"durability":      cfg.NATS.Durability == config.DurabilityOS,
		"max_bytes":       cfg.NATS.MaxBytes == 1<<30,
		"data_dir":        string(cfg.Node.DataDir) == filepath.Join(dir, "elsewhere"),
		"roles":           slices.Equal(cfg.Node.Roles, []config.Role{config.RoleWorker, config.RoleIngress}),
		"passivate_after": cfg.Worker.PassivateAfter == 2*time.Minute,
		"empty variable":  cfg.Log.Level == config.LevelInfo,
		"mode":            demo.Mode == config.ModeSafe,
		"token from file": demo.Token.Reveal() == "fromfile",
		"deadline":        demo.Reply.Deadline == 4*time.Second,
		"bot":             slices.Equal(demo.Bot, []string{"my-rules"}),
		"max_turns":       second.Conversation.MaxTurns == 7,
		"bot's file":      string(cfg.Bots["my-rules"].File) == filepath.Join(dir, "r.yaml"),
	} {
		if !ok {
			t.Errorf("%s did not arrive: %+v", what, cfg)
		}
	}
	if _, report := config.Load(path, []string{"HONGYAN_SERVICE_HOST=x", "HONGYAN_PORT=tcp://x", "HONGYAN_BOTS_MY_RULES_FILE=r.yaml"}); len(report.Faults) != 0 ||
		strings.Contains(reportText(t, report), "HONGYAN_") {
		t.Errorf("variables of a Kubernetes service are talked about: %s", reportText(t, report))
	}
}

func reportText(t *testing.T, r *config.Report) string {
	t.Helper()
	var b strings.Builder
	if err := r.Print(&b, false); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestEnvironmentFaultsNameTheVariable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, []byte("\n\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ variable, want string }{
		{"HONGYAN_CLUSTER_PARTITIONS=many", `environment HONGYAN_CLUSTER_PARTITIONS: error: cluster.partitions: "many" is not a whole number`},
		{"HONGYAN_CLUSTER_PARTITIONS=0", "environment HONGYAN_CLUSTER_PARTITIONS: error: cluster.partitions: 0 partitions are not possible"},
		{"HONGYAN_NODE_ROLES=ingress,wroker", `environment HONGYAN_NODE_ROLES: error: node.roles: "wroker" is not a role`},
		{"HONGYAN_WORKER_PASSIVATE_AFTER=10", `add the unit: 10ms, 10s, 10m`},
		{"HONGYAN_ACCOUNTS_DEMO_CUSTOMER_SERVICE=yes", `"yes" is neither true nor false`},
		{"HONGYAN_ACCOUNTS_DEMO_MODE=save", `accounts[0].mode: "save" is not a mode`},
		{"HONGYAN_ACCOUNTS_DEMO_TOKEN_FILE=nowhere", "environment HONGYAN_ACCOUNTS_DEMO_TOKEN_FILE: error: accounts[0].token: cannot read the secret's file"},
		{"HONGYAN_ACCOUNTS_DEMO_TOKEN_FILE=" + empty, "is empty"},
		{"HONGYAN_NATS_DURABILTY=os", "environment HONGYAN_NATS_DURABILTY: warning: no key has this variable; it has no effect\n  fix: did you mean HONGYAN_NATS_DURABILITY?"},
		{"HONGYAN_ACCOUNTS_OTHER_TOKEN=x", "no key has this variable"},
		{"HONGYAN_LOG_LEVEL_FILE=x", "no key has this variable"},
	} {
		_, report := config.Load(write(t, "hongyan.yaml", small), []string{c.variable})
		if got := reportText(t, report); !strings.Contains(got, c.want) {
			t.Errorf("%s: got\n%s", c.variable, got)
		}
	}
	_, report := config.Load(write(t, "hongyan.yaml", small), []string{"HONGYAN_ADMIN_TOKEN=do-not-show-me", "HONGYAN_ADMIN_TOKEN_FILE=x"})
	if got := reportText(t, report); !strings.Contains(got, "given twice") || strings.Contains(got, "do-not-show-me") {
		t.Error(got)
	}
}

func TestSecretFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"hongyan.yaml":  "admin: {token_file: secrets/admin}\naccounts: [{id: demo, mode: plain, token_file: " + filepath.Join(dir, "secrets/token") + "}]\n",
		"secrets/admin": "a-token-of-some-length\n", "secrets/token": "abc\n\r\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg := mustLoad(t, filepath.Join(dir, "hongyan.yaml"))
	if got := cfg.Admin.Token.Reveal(); got != "a-token-of-some-length" {
		t.Errorf("admin token %q", got)
	}
	if got := cfg.Accounts[0].Token.Reveal(); got != "abc" {
		t.Errorf("token %q", got)
	}
}
