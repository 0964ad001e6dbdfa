package main

import (
	"io"
	"log/slog"

	"go.uber.org/zap/exp/zapslog"
	"go.uber.org/zap/zapcore"

	"hongyan/config"
)

// newLogger is the engine's logger: slog on zap, to w, one line per entry and nothing buffered. With format auto a terminal
// gets the console form and everything else JSON.
func newLogger(w io.Writer, cfg config.Log) *slog.Logger {
	encoding := zapcore.EncoderConfig{
		TimeKey:        "time",
		LevelKey:       "level",
		NameKey:        "logger",
		MessageKey:     "msg",
		LineEnding:     zapcore.DefaultLineEnding,
		EncodeLevel:    zapcore.LowercaseLevelEncoder,
		EncodeTime:     zapcore.RFC3339NanoTimeEncoder,
		EncodeDuration: zapcore.StringDurationEncoder,
	}
	encoder := zapcore.NewJSONEncoder(encoding)
	if cfg.Format == config.FormatConsole || cfg.Format != config.FormatJSON && isTerminal(w) {
		encoding.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
		encoding.EncodeLevel = zapcore.CapitalLevelEncoder
		encoding.ConsoleSeparator = "  "
		if wantsColour(w) {
			encoding.EncodeLevel = zapcore.CapitalColorLevelEncoder
		}
		encoder = zapcore.NewConsoleEncoder(encoding)
	}
	core := zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(w)), zapLevel(cfg.Level))
	return slog.New(zapslog.NewHandler(core, zapslog.AddStacktraceAt(slog.LevelError+64))) // no stack traces
}

func zapLevel(l config.LogLevel) zapcore.Level {
	switch l {
	case config.LevelDebug:
		return zapcore.DebugLevel
	case config.LevelWarn:
		return zapcore.WarnLevel
	case config.LevelError:
		return zapcore.ErrorLevel
	case config.LevelInfo:
		return zapcore.InfoLevel
	default:
		return zapcore.InfoLevel
	}
}
