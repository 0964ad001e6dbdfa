package config_test

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"hongyan/config"
)

// write puts a file into a fresh folder and returns its path.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// plain is a small configuration without faults.
const small = `accounts:
  - id: demo
    app_id: wx0123456789abcdef
    token: abcdef
    encoding_aes_key: abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ
`

func mustLoad(t *testing.T, path string, environ ...string) *config.Config {
	t.Helper()
	cfg, report := config.Load(path, environ)
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// values is cfg without the places its values came from, which differ between two files of the same content.
func values(t *testing.T, cfg *config.Config) string {
	t.Helper()
	b, err := config.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestReferenceIsTheDefault(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "hongyan.yaml")
	for name, text := range map[string]string{path: string(config.Reference()), filepath.Join(dir, "rules.yaml"): "rules: []\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got := mustLoad(t, path)
	if faults := config.NotBuilt(got); len(faults) > 0 {
		t.Errorf("the reference chooses what is not built: %+v", faults)
	}

	want := config.Default()
	want.Node.DataDir = config.Path(filepath.Join(dir, "data"))
	account := config.DefaultAccount()
	account.ID, account.AppID, account.OriginalID = "demo", "wx0123456789abcdef", "gh_0123456789ab"
	account.Token, account.EncodingAESKey = "ReplaceThisToken", "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ"
	account.Bot, account.APIHosts = []string{"rules"}, []string{"https://api2.weixin.qq.com"}
	want.Accounts = []config.Account{account}
	want.Bots = map[string]config.Bot{"rules": {Type: config.BotRules, File: config.Path(filepath.Join(dir, "rules.yaml"))}}
	want.APIKeys = []config.APIKey{}
	if g, w := values(t, got), values(t, want); g != w {
		t.Errorf("reference.yaml differs from the defaults:\n--- file\n%s\n--- defaults\n%s", g, w)
	}
}

// TestReferenceHasEveryKey: a key that the struct has and the reference has not would be undocumented.
func TestReferenceHasEveryKey(t *testing.T) {
	t.Parallel()
	text := string(config.Reference())
	var walk func(typ reflect.Type)
	walk = func(typ reflect.Type) {
		for i := range typ.NumField() {
			f := typ.Field(i)
			if !f.IsExported() {
				continue
			}
			key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
			if key == "" {
				t.Errorf("%s.%s has no yaml key", typ, f.Name)
			}
			if !strings.Contains(text, key+":") && !strings.Contains(text, key+",") && !strings.Contains(text, "{"+key) {
				t.Errorf("reference.yaml lacks %s of %s", key, typ)
			}
			if tag := f.Tag.Get("env"); tag != "" && tag != "-" && tag != strings.ToUpper(key) {
				t.Errorf("%s.%s: variable %s does not fit key %s", typ, f.Name, tag, key)
			}
			if nested := f.Tag.Get("envPrefix"); nested != "" && nested != strings.ToUpper(key)+"_" {
				t.Errorf("%s.%s: variable prefix %s does not fit key %s", typ, f.Name, nested, key)
			}
			inner := f.Type
			for inner.Kind() == reflect.Slice || inner.Kind() == reflect.Map {
				inner = inner.Elem()
			}
			if inner.Kind() == reflect.Struct && inner != reflect.TypeFor[config.Rate]() {
				walk(inner)
			}
		}
	}
	walk(reflect.TypeFor[config.Config]())
}

func TestMarshalLoadsBack(t *testing.T) {
	t.Parallel()
	cfg := mustLoad(t, write(t, "hongyan.yaml", small+"listen: {callback: 127.0.0.1:18080}\nadmin: {token: 0123456789abcdef}\n"))
	cfg.Accounts[0].Reply.Thinking = "冒号: 引号\" 井号# 换行\n好"
	first := values(t, cfg)
	again := mustLoad(t, write(t, "dev.yaml", first))
	if second := values(t, again); first != second {
		t.Errorf("what Marshal wrote loads differently:\n--- first\n%s\n--- second\n%s", first, second)
	}
	if !bytes.Contains([]byte(first), []byte("0123456789abcdef")) {
		t.Error("the written file lacks the admin token")
	}
}
