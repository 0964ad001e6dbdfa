package config_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"hongyan/config"
)

func TestSizes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{
		"0": 0, "1": 1, "1048576": 1 << 20, "8GiB": 8 << 30, "512 MiB": 512 << 20, "500MB": 500e6, "16KiB": 16384, "7B": 7, "2TiB": 2 << 40,
	} {
		var s config.Size
		if err := s.UnmarshalText([]byte(text)); err != nil || int64(s) != want {
			t.Errorf("%q is %d, %v; want %d", text, s, err, want)
		}
	}
	for _, text := range []string{"", "-1", "8G", "8 gib", "1.5GiB", "GiB", "99999999999999999999", "9000000TiB", "0x10"} {
		var s config.Size
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was accepted as %d", text, s)
		}
	}
}

func TestSizesReadBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := config.Size(rapid.Int64Range(0, math.MaxInt64).Draw(t, "size"))
		var back config.Size
		if err := back.UnmarshalText([]byte(s.String())); err != nil || back != s {
			t.Fatalf("%d is written %s and read %d, %v", s, s, back, err)
		}
	})
}

func TestRates(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]config.Rate{
		"0": {}, "0/s": {}, "1/s": {1, time.Second}, "30/m": {30, time.Minute}, "500 / h": {500, time.Hour}, " 2000/s ": {2000, time.Second},
	} {
		var r config.Rate
		if err := r.UnmarshalText([]byte(text)); err != nil || r != want {
			t.Errorf("%q is %+v, %v; want %+v", text, r, err, want)
			continue
		}
		var back config.Rate
		if err := back.UnmarshalText([]byte(r.String())); err != nil || back != r {
			t.Errorf("%q is written %q and read %+v, %v", text, r, back, err)
		}
	}
	for _, text := range []string{"", "1", "/s", "1/", "1/d", "-1/s", "1.5/s", "1/s/s", "99999999999/s"} {
		var r config.Rate
		if err := r.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was accepted as %+v", text, r)
		}
	}
	if got := (config.Rate{Count: 30, Per: time.Minute}).PerSecond(); got != 0.5 {
		t.Errorf("30/m is %v per second", got)
	}
	if got := (config.Rate{}).PerSecond(); got != 0 {
		t.Errorf("off is %v per second", got)
	}
}

func TestSecretsHideThemselves(t *testing.T) {
	t.Parallel()
	account := config.DefaultAccount()
	account.Token, account.EncodingAESKey = "do-not-show-me", "do-not-show-me"
	var logged strings.Builder
	slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "token", account.Token, "account", account)
	encoded, err := json.Marshal(account)
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{
		logged.String(), string(encoded), fmt.Sprint(account), fmt.Sprintf("%+v", account), fmt.Sprintf("%#v", account),
		fmt.Sprintf("%s %q %v", account.Token, account.Token, account.Token),
	} {
		if strings.Contains(shown, "do-not-show-me") || !strings.Contains(shown, "[secret]") {
			t.Errorf("shown: %s", shown)
		}
	}
}

func TestAutomaticCaps(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		configured config.Size
		free       uint64
		want       int64
	}{
		{0, 100 << 30, 8 << 30}, {0, 32 << 30, 8 << 30}, {0, 4 << 30, 1 << 30}, {0, 0, 0}, {0, math.MaxUint64, 8 << 30}, {5 << 30, 1, 5 << 30},
	} {
		if got := (config.NATS{MaxBytes: c.configured}).LogCap(c.free); got != c.want {
			t.Errorf("log: %d of %d free: %d, want %d", c.configured, c.free, got, c.want)
		}
		if got := (config.State{MaxBytes: c.configured}).StoreCap(c.free); got != c.want {
			t.Errorf("store: %d of %d free: %d, want %d", c.configured, c.free, got, c.want)
		}
	}
}

func TestLoopback(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]bool{
		"localhost": true, "127.0.0.1": true, "127.9.9.9": true, "::1": true, "::ffff:127.0.0.1": true,
		"": false, "0.0.0.0": false, "::": false, "10.0.0.1": false, "localhost.evil.example": false,
	} {
		if got := config.IsLoopback(host); got != want {
			t.Errorf("%q: %v", host, got)
		}
	}
}
