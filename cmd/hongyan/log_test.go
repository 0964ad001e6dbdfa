package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"hongyan/config"
)

func TestLogLines(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := newLogger(&out, config.Log{Level: config.LevelInfo, Format: config.FormatAuto}) // no terminal: JSON
	log.Debug("not shown")
	log.With("node", "n1").Error("went wrong", "error", errors.New("why"), "elapsed", 1500*time.Millisecond, "token", config.Secret("do-not-show-me"),
		slog.Group("at", "partition", 7))
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatalf("not one JSON line: %v\n%s", err, &out)
	}
	at, _ := line["at"].(map[string]any)
	if line["level"] != "error" || line["msg"] != "went wrong" || line["node"] != "n1" || line["error"] != "why" || line["elapsed"] != "1.5s" ||
		at["partition"] != 7.0 || line["token"] != "[secret]" {
		t.Errorf("%s", &out)
	}
	if _, err := time.Parse(time.RFC3339Nano, line["time"].(string)); err != nil {
		t.Error(err)
	}
	for _, absent := range []string{"do-not-show-me", "stacktrace", "goroutine"} {
		if strings.Contains(out.String(), absent) {
			t.Errorf("the line has %s: %s", absent, &out)
		}
	}

	out.Reset()
	newLogger(&out, config.Log{Level: config.LevelDebug, Format: config.FormatConsole}).Debug("shown", "n", 1)
	if got := out.String(); !strings.Contains(got, "DEBUG  shown  {\"n\": 1}\n") || strings.Contains(got, "\x1b") {
		t.Errorf("console form: %q", got)
	}
}

func TestLogLevels(t *testing.T) {
	t.Parallel()
	for level, want := range map[config.LogLevel]int{config.LevelDebug: 4, config.LevelInfo: 3, config.LevelWarn: 2, config.LevelError: 1} {
		var out bytes.Buffer
		log := newLogger(&out, config.Log{Level: level, Format: config.FormatJSON})
		log.Debug("a")
		log.Info("b")
		log.Warn("c")
		log.Error("d")
		if got := strings.Count(out.String(), "\n"); got != want {
			t.Errorf("level %s shows %d lines, want %d", level, got, want)
		}
	}
}
