package redis

import (
	"errors"
	"fmt"
	"strings"

	goredis "github.com/redis/go-redis/v9"

	"hongyan/state"
)

var (
	errSilent   = errors.New("the server did not answer the commands before this one")
	errClosed   = errors.New("the store was closed")
	errNoReply  = errors.New("the connection ended before the reply")
	errReplicas = errors.New("too few replicas have the write")
	errShape    = errors.New("the server replied something that the script does not return; is it a proxy?")
)

// codes are the first words of the errors that a server replies, and what they mean for a write. All of them are refusals: the
// script's only write is its last command, so an error comes before it. What is not listed may come from something between us
// and the server that does not know either, and is unknown.
var codes = map[string]error{
	"OOM":         state.ErrFull,        // maxmemory is reached, and nothing may be evicted
	"MISCONF":     state.ErrUnavailable, // the append-only file or a snapshot cannot be written: the disk is full or broken
	"READONLY":    state.ErrUnavailable, // a replica, or a master that became one
	"LOADING":     state.ErrUnavailable, // reading its files at the start
	"CLUSTERDOWN": state.ErrUnavailable,
	"TRYAGAIN":    state.ErrUnavailable, // the partition's slot is moving, and its keys are on both sides
	"MOVED":       state.ErrUnavailable, // more often than we follow
	"ASK":         state.ErrUnavailable,
	"MASTERDOWN":  state.ErrUnavailable,
	"NOREPLICAS":  state.ErrUnavailable, // min-replicas-to-write
	"BUSY":        state.ErrUnavailable, // another script blocks the server
	"NOSCRIPT":    state.ErrUnavailable, // flushed again and again between sending it and calling it
	"NOAUTH":      state.ErrUnavailable,
	"WRONGPASS":   state.ErrUnavailable,
	"NOPERM":      state.ErrUnavailable,
	"WRONGTYPE":   state.ErrCorrupt,
	"CORRUPT":     state.ErrCorrupt, // change.lua's own
}

// refusals without a code of their own.
var texts = map[string]error{
	"ERR max number of clients reached":     state.ErrUnavailable,
	"ERR string exceeds maximum allowed":    state.ErrInvalid,
	"ERR DB index is out of range":          state.ErrUnavailable,
	"ERR AUTH <password> called without":    state.ErrUnavailable,
	"ERR Client sent AUTH, but no password": state.ErrUnavailable,
}

// code is the first word of an error that a server replied; "" where it is none.
func code(err error) string {
	var reply goredis.Error
	if !errors.As(err, &reply) {
		return ""
	}
	word, _, _ := strings.Cut(reply.Error(), " ")
	return word
}

// meaning of an error for a command: one of the errors of state.Store. sent: it may have reached the server.
func meaning(err error, sent bool) error {
	var reply goredis.Error
	if !errors.As(err, &reply) {
		if sent {
			return fmt.Errorf("%w: %w", state.ErrUnknown, err)
		}
		return fmt.Errorf("%w: %w", state.ErrUnavailable, err)
	}
	class, ok := codes[code(err)]
	if !ok {
		class = state.ErrUnknown
		if !sent { // a refusal of the connection itself
			class = state.ErrUnavailable
		}
		for text, c := range texts {
			if strings.HasPrefix(reply.Error(), text) {
				class = c
			}
		}
	}
	// A server's error may quote a command's arguments, which can be an OpenID or a value: only its first line's start is shown.
	return fmt.Errorf("%w: Redis says %q", class, brief(reply.Error()))
}

// brief keeps what names the error, and leaves out what may quote the command.
func brief(text string) string {
	for _, quote := range []string{", with args", ". script:", "'"} {
		text, _, _ = strings.Cut(text, quote)
	}
	const most = 120
	return text[:min(len(text), most)]
}
