package upstream

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"
)

// Key is a secret that an upstream wants: a value of the configuration, or a file that is read anew when it changes, so that a key
// is rotated without a restart. It is safe for concurrent use, and prints without its secret.
type Key struct {
	file string // empty: the value never changes

	mu      sync.Mutex
	value   string
	looked  time.Time   // at the file
	seen    os.FileInfo // the file whose content value is
	doubted bool        // the upstream refused it: look at once, at the content too
	failing bool        // the last look failed, and was logged
	log     *slog.Logger
}

// largestKey bounds what is read of a key's file, in bytes.
const largestKey = 16 << 10

// OpenKey returns the key of that value, or that is in the file; with neither, the key is empty: there are endpoints that want none.
func OpenKey(value, file string) (*Key, error) {
	if value != "" && file != "" {
		return nil, errors.New("a key is given twice, as a value and as a file; leave one of them out")
	}
	k := &Key{file: file, value: value, log: slog.Default()}
	if file == "" {
		return k, nil
	}
	k.looked = time.Now()
	var err error
	if k.value, k.seen, err = readKey(file); err != nil {
		return nil, err
	}
	return k, nil
}

// LogTo sets where the key says that its file cannot be read; before it is used.
func (k *Key) LogTo(log *slog.Logger) { k.log = log }

// Current returns the key. It looks at the file at most once a second; where that cannot be read, or holds no key, the last good one
// stays, and this is logged once.
func (k *Key) Current() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if now := time.Now(); k.file != "" && (k.doubted || now.Sub(k.looked) >= time.Second) {
		k.looked = now
		k.look()
	}
	return k.value
}

// Refused says that the upstream did not take the key: the next Current looks at the file at once.
func (k *Key) Refused() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.doubted = true
}

// look takes what is in the file now.
func (k *Key) look() {
	if info, err := os.Stat(k.file); err == nil && !k.doubted && !k.failing && same(info, k.seen) {
		return
	}
	k.doubted = false
	value, info, err := readKey(k.file)
	if err != nil {
		if !k.failing {
			k.log.Warn("the key stays as it was: its file cannot be used", "file", k.file, "error", err)
		}
		k.failing = true
		return
	}
	if k.failing || value != k.value {
		k.log.Info("the key was read anew", "file", k.file, "changed", value != k.value)
	}
	k.value, k.seen, k.failing = value, info, false
}

// same tells whether a file is still what it was, as far as can be told without reading it.
func same(a, b os.FileInfo) bool {
	return b != nil && os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

// readKey reads a key's file.
func readKey(file string) (string, os.FileInfo, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", nil, unreadable(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", nil, fmt.Errorf("the key's file: %w", err)
	}
	content, err := io.ReadAll(io.LimitReader(f, largestKey+1))
	if err != nil {
		return "", nil, fmt.Errorf("reading the key's file: %w", err)
	}
	value := strings.TrimSpace(string(content))
	switch {
	case value == "":
		return "", nil, fmt.Errorf("the key's file %s is empty; write the key into it", file)
	case len(content) > largestKey:
		return "", nil, fmt.Errorf("the key's file %s is larger than %d bytes; it holds one key and nothing else", file, largestKey)
	case strings.ContainsAny(value, "\r\n"):
		return "", nil, fmt.Errorf("the key's file %s has several lines; it holds one key and nothing else", file)
	}
	return value, info, nil
}

// unreadable says what to do about a file that cannot be opened.
func unreadable(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("the key's file must not be read by this user: %w; let this process's user or group read it", err)
	}
	return fmt.Errorf("the key's file: %w", err)
}

// String names the key without its secret.
func (k *Key) String() string {
	if k.file != "" {
		return "key of " + k.file
	}
	return "key"
}

// GoString is String, for %#v.
func (k *Key) GoString() string { return k.String() }

// LogValue implements slog.LogValuer.
func (k *Key) LogValue() slog.Value { return slog.StringValue(k.String()) }
