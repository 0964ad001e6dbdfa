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

// TestEnvironmentOfBots: every shape of a bot's and an account's keys, and secrets of which the configuration keeps both forms.
func TestEnvironmentOfBots(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "hongyan.yaml")
	text := withBots("my-model, keyed, web", `
  my-model: {type: openai, base_url: "https://a.example.com/v1", model: m, api_key: from-the-file}
  keyed: {type: openai, base_url: "https://a.example.com/v1", model: m, api_key_file: key}
  web: {type: http, url: "https://b.example.com", secret: from-the-file}
`)
	for name, content := range map[string]string{path: text, filepath.Join(dir, "key"): "k\n", filepath.Join(dir, "words"): ""} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg := mustLoad(t, path,
		"HONGYAN_BOTS_MY_MODEL_BASE_URL=https://c.example.com/v1", "HONGYAN_BOTS_MY_MODEL_API_KEY_FILE=key", "HONGYAN_BOTS_MY_MODEL_TEMPERATURE=0.25",
		"HONGYAN_BOTS_MY_MODEL_MAX_TOKENS=99", "HONGYAN_BOTS_MY_MODEL_NEW_WORDS=again, anew", "HONGYAN_BOTS_MY_MODEL_BREAKER_SILENCE=0s",
		"HONGYAN_BOTS_MY_MODEL_BREAKER_FAILURES=7", "HONGYAN_BOTS_MY_MODEL_RATE=30/m", "HONGYAN_BOTS_MY_MODEL_IMAGES=url",
		"HONGYAN_BOTS_KEYED_API_KEY=from-the-environment", "HONGYAN_BOTS_WEB_SECRET_FILE=key", "HONGYAN_BOTS_WEB_URL=https://d.example.com",
		"HONGYAN_ACCOUNTS_DEMO_BUDGET_USER_TOKENS=5000000000", "HONGYAN_ACCOUNTS_DEMO_BREAKER_OPEN=5s", "HONGYAN_ACCOUNTS_DEMO_SAFETY_BLOCK_FILE=words",
		"HONGYAN_LIMITS_USER_RATE=0", "HONGYAN_NATS_BOTS_LISTEN=127.0.0.1:0", "HONGYAN_NATS_BOTS_TOKEN=0123456789abcdef")
	key := config.Path(filepath.Join(dir, "key"))
	model, keyed, web, account := cfg.Bots["my-model"], cfg.Bots["keyed"], cfg.Bots["web"], cfg.Accounts[0]
	for what, ok := range map[string]bool{
		"base_url":      model.Endpoints[0].BaseURL == "https://c.example.com/v1",
		"api_key_file":  model.Endpoints[0].APIKeyFile == key && model.Endpoints[0].APIKey == "",
		"temperature":   model.Temperature != nil && *model.Temperature == 0.25,
		"max_tokens":    model.MaxTokens == 99,
		"new_words":     slices.Equal(model.NewWords, []string{"again", "anew"}),
		"silence":       model.Breaker.Silence != nil && *model.Breaker.Silence == 0,
		"failures":      model.Breaker.Failures == 7 && model.Breaker.Probes == 1,
		"rate":          model.Rate.PerSecond() == 0.5,
		"images":        model.Images == config.ImagesURL,
		"api_key":       keyed.Endpoints[0].APIKey == "from-the-environment" && keyed.Endpoints[0].APIKeyFile == "",
		"secret_file":   web.SecretFile == key && web.Secret == "",
		"url":           web.Endpoints[0].URL == "https://d.example.com",
		"user_tokens":   account.Budget.UserTokens == 5_000_000_000,
		"user breaker":  account.Breaker.Open == 5*time.Second && account.Breaker.Failures == 3,
		"block_file":    string(account.Safety.BlockFile) == filepath.Join(dir, "words"),
		"user_rate":     cfg.Limits.UserRate.PerSecond() == 0 && cfg.Limits.AccountRate.PerSecond() == 2000,
		"door for bots": cfg.NATS.Bots.Listen == "127.0.0.1:0" && cfg.NATS.Bots.Token == "0123456789abcdef",
	} {
		if !ok {
			t.Errorf("%s did not arrive: %+v", what, cfg)
		}
	}
	for _, c := range []struct{ variables, want string }{
		{"HONGYAN_BOTS_KEYED_API_KEY=do-not-show-me HONGYAN_BOTS_KEYED_API_KEY_FILE=key",
			"environment HONGYAN_BOTS_KEYED_API_KEY_FILE: error: bots.keyed.api_key_file: the secret is given twice, here and as HONGYAN_BOTS_KEYED_API_KEY"},
		{"HONGYAN_BOTS_KEYED_API_KEY_FILE=nowhere", "environment HONGYAN_BOTS_KEYED_API_KEY_FILE: error: bots.keyed.api_key_file: cannot read the secret's file"},
		{"HONGYAN_BOTS_KEYED_TEMPERATURE=warm", `environment HONGYAN_BOTS_KEYED_TEMPERATURE: error: bots.keyed.temperature: "warm" is not a number`},
		{"HONGYAN_BOTS_KEYED_TEMPERATURE=nan", `environment HONGYAN_BOTS_KEYED_TEMPERATURE: error: bots.keyed.temperature: "nan" is not a number`},
		{"HONGYAN_BOTS_KEYED_TEMPERATURE=3", "environment HONGYAN_BOTS_KEYED_TEMPERATURE: error: bots.keyed.temperature: 3 is out of range"},
		{"HONGYAN_BOTS_KEYED_TIMEOUT=0", "environment HONGYAN_BOTS_KEYED_TIMEOUT: error: bots.keyed.timeout: 0s is out of range"},
		{"HONGYAN_BOTS_KEYED_BREAKER_SILENCE=4", "add the unit: 4ms, 4s, 4m"},
		{"HONGYAN_BOTS_WEB_API_KEY=do-not-show-me", "environment HONGYAN_BOTS_WEB_API_KEY: error: bots.web.api_key: api_key does not belong to a bot of type http"},
		{"HONGYAN_ACCOUNTS_DEMO_BUDGET_USER_TOKENS=lots", `"lots" is not a whole number`},
	} {
		_, report := config.Load(path, strings.Fields(c.variables))
		if got := reportText(t, report); !strings.Contains(got, c.want) || strings.Contains(got, "do-not-show-me") {
			t.Errorf("%s: got\n%s", c.variables, got)
		}
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
