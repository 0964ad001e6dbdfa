package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/asynkron/protoactor-go/actor"
)

// libraryLogger is what proto.actor logs through. It drops everything below Info, and of what the library attaches it keeps
// only what cannot hold a user: messages and panics become their type, actors their partition. The library's Info, a dozen
// lines at every start, is Debug here, and its Error a Warn: nearly all of them say that a peer's connection ended, which the
// membership judges.
func libraryLogger(l *slog.Logger) *slog.Logger {
	return slog.New(discreet{l.Handler()}).With("part", "proto.actor")
}

type discreet struct{ slog.Handler }

func (d discreet) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo && d.Handler.Enabled(ctx, demoted(level))
}

func demoted(level slog.Level) slog.Level {
	if level < slog.LevelWarn {
		return slog.LevelDebug
	}
	return slog.LevelWarn
}

func (d discreet) Handle(ctx context.Context, r slog.Record) error {
	clean := slog.NewRecord(r.Time, demoted(r.Level), r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		clean.AddAttrs(discreetAttr(a))
		return true
	})
	return d.Handler.Handle(ctx, clean)
}

func (d discreet) WithAttrs(attrs []slog.Attr) slog.Handler {
	clean := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		clean[i] = discreetAttr(a)
	}
	return discreet{d.Handler.WithAttrs(clean)}
}

func (d discreet) WithGroup(name string) slog.Handler { return discreet{d.Handler.WithGroup(name)} }

func discreetAttr(a slog.Attr) slog.Attr {
	if a.Key == "identity" {
		return slog.String(a.Key, "hidden")
	}
	if a.Value.Kind() != slog.KindAny {
		return a
	}
	switch v := a.Value.Any().(type) {
	case *actor.PID:
		id, child, _ := strings.Cut(v.GetId(), "/")
		if child != "" {
			id += "/…"
		}
		return slog.String(a.Key, v.GetAddress()+"/"+id)
	case error:
		return slog.String(a.Key, v.Error())
	default:
		return slog.String(a.Key, fmt.Sprintf("%T", v))
	}
}
