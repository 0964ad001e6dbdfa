package embedded

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"hongyan/stream"
)

// natsLog is NATS's log as slog: warnings and above. The server reports a failed start as a fatal line and nothing else, so
// the first one is kept.
type natsLog struct {
	to *slog.Logger

	mu    sync.Mutex
	fatal error
}

// Fatal is the first fatal line, or nil.
func (l *natsLog) Fatal() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal
}

func (l *natsLog) Fatalf(format string, args ...any) {
	line := stream.Redact(fmt.Sprintf(format, args...))
	l.mu.Lock()
	if l.fatal == nil {
		l.fatal = errors.New(line)
	}
	l.mu.Unlock()
	l.to.Error(line)
}

func (l *natsLog) Errorf(format string, args ...any) {
	l.to.Error(stream.Redact(fmt.Sprintf(format, args...)))
}

func (l *natsLog) Warnf(format string, args ...any) {
	l.to.Warn(stream.Redact(fmt.Sprintf(format, args...)))
}

// Noticef, Debugf and Tracef are NATS talking about itself; nobody asked.
func (l *natsLog) Noticef(string, ...any) {}
func (l *natsLog) Debugf(string, ...any)  {}
func (l *natsLog) Tracef(string, ...any)  {}
