package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"go.uber.org/goleak"
)

// TestMain turns this test binary into the bare handler when it is started as `… bench bare --listen ADDRESS`, so that
// tests run real processes.
func TestMain(m *testing.M) {
	if len(os.Args) == 5 && os.Args[1] == "bench" && os.Args[2] == "bare" {
		if err := ServeBare(context.Background(), os.Args[4], os.Stdin); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) == 5 && os.Args[1] == "bench" && os.Args[2] == "mortal" {
		serveMortal(os.Args[4])
	}
	if len(os.Args) == 4 && os.Args[1] == "serve" && os.Args[2] == "-c" {
		serveEngine(os.Args[3])
	}
	goleak.VerifyTestMain(m)
}

// serveMortal is a bare handler that dies in the middle of its work.
func serveMortal(address string) {
	var spec BareSpec
	if err := json.NewDecoder(os.Stdin).Decode(&spec); err != nil {
		panic(err)
	}
	handler, err := NewBare(spec)
	if err != nil {
		panic(err)
	}
	var served atomic.Int64
	panic(http.ListenAndServe(address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if served.Add(1) == 500 {
			fmt.Fprintln(os.Stderr, "mortal: enough")
			os.Exit(3)
		}
		handler.ServeHTTP(w, r)
	})))
}

// serveEngine understands the configuration that the engine is started with, as far as a bare handler can follow it. It is
// not ready at first.
func serveEngine(path string) {
	var configuration struct {
		Listen   struct{ Callback, Admin string }
		Accounts []struct {
			ID             string
			AppID          string `yaml:"app_id"`
			OriginalID     string `yaml:"original_id"`
			Mode           string
			Token          string
			EncodingAESKey string        `yaml:"encoding_aes_key"`
			MaxClockSkew   time.Duration `yaml:"max_clock_skew"`
		}
		Bots struct{ Rules struct{ File string } }
	}
	var table struct {
		Rules []struct {
			Value []string
			Reply string
		}
	}
	decode(path, &configuration)
	decode(filepath.Join(filepath.Dir(path), configuration.Bots.Rules.File), &table)
	a := configuration.Accounts[0]
	spec := BareSpec{
		Account:      Account{ID: a.ID, AppID: a.AppID, OriginalID: a.OriginalID, Mode: a.Mode, Token: a.Token, AESKey: a.EncodingAESKey},
		MaxClockSkew: a.MaxClockSkew,
	}
	for _, rule := range table.Rules {
		spec.Rules = append(spec.Rules, Rule{Text: rule.Value[0], Reply: rule.Reply})
	}
	for _, variable := range os.Environ() {
		if strings.HasPrefix(variable, "HONGYAN_") {
			panic("the engine would take its configuration from the environment: " + variable)
		}
	}
	handler, err := NewBare(spec)
	if err != nil {
		panic(err)
	}
	var asked atomic.Int64
	go func() { // ends with the process
		panic(http.ListenAndServe(configuration.Listen.Admin, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/readyz" || asked.Add(1) < 3 {
				http.Error(w, "not yet", http.StatusServiceUnavailable)
			}
		})))
	}()
	panic(http.ListenAndServe(configuration.Listen.Callback, handler))
}

func decode(path string, into any) {
	text, err := os.ReadFile(path)
	if err == nil {
		err = yaml.Unmarshal(text, into)
	}
	if err != nil {
		panic(err)
	}
}
