package upstream

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// onFile runs play in a bubble with a key on a file that holds "one".
func onFile(t *testing.T, play func(t *testing.T, k *Key, file string, said *lines)) {
	t.Helper()
	t.Parallel()
	file := filepath.Join(t.TempDir(), "key")
	write(t, file, "one\n")
	synctest.Test(t, func(t *testing.T) {
		k, err := OpenKey("", file)
		well(t, err)
		said := &lines{}
		k.LogTo(slog.New(slog.NewTextHandler(said, nil)))
		is(t, "one", k.Current())
		play(t, k, file, said)
	})
}

func write(t *testing.T, file, content string) {
	t.Helper()
	well(t, os.WriteFile(file, []byte(content), 0o600))
}

func TestAKeyRotatesWhileItIsUsed(t *testing.T) {
	onFile(t, func(t *testing.T, k *Key, file string, said *lines) {
		write(t, file, "second\r\n")
		is(t, "one", k.Current(), "it is looked at once a second")
		time.Sleep(time.Second)
		is(t, "second", k.Current())
		is(t, 1, strings.Count(said.String(), "\n"))
		is(t, 0, strings.Count(said.String(), "second"), "no secret in the log")
		for range 10 {
			time.Sleep(time.Second)
			is(t, "second", k.Current())
		}
		is(t, 1, strings.Count(said.String(), "\n"))
	})
}

// Kubernetes swaps a link to a folder; editors rename a file over the old one.
func TestAKeyThatIsReplacedAsAFile(t *testing.T) {
	onFile(t, func(t *testing.T, k *Key, file string, _ *lines) {
		before, err := os.Stat(file)
		well(t, err)
		write(t, file+".new", "two")
		well(t, os.Chtimes(file+".new", before.ModTime(), before.ModTime()))
		well(t, os.Rename(file+".new", file))
		time.Sleep(time.Second)
		is(t, "two", k.Current())
	})
}

func TestARefusedKeyIsLookedAtAtOnce(t *testing.T) {
	onFile(t, func(t *testing.T, k *Key, file string, _ *lines) {
		before, err := os.Stat(file)
		well(t, err)
		write(t, file, "two\n") // of the same size, and at the same time: only its content tells
		well(t, os.Chtimes(file, before.ModTime(), before.ModTime()))
		time.Sleep(2 * time.Second)
		is(t, "one", k.Current())
		k.Refused()
		is(t, "two", k.Current())
		is(t, "two", k.Current())
	})
}

func TestAKeyThatCannotBeReadStaysAsItWas(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(t *testing.T, file string)
		says  string
	}{
		"gone":          {func(t *testing.T, file string) { t.Helper(); well(t, os.Remove(file)) }, "no such file"},
		"empty":         {func(t *testing.T, file string) { t.Helper(); write(t, file, " \n") }, "is empty"},
		"several lines": {func(t *testing.T, file string) { t.Helper(); write(t, file, "one\ntwo\n") }, "several lines"},
		"too large":     {func(t *testing.T, file string) { t.Helper(); write(t, file, strings.Repeat("x", largestKey+1)) }, "larger than"},
		"a folder": {func(t *testing.T, file string) {
			t.Helper()
			well(t, os.Remove(file))
			well(t, os.Mkdir(file, 0o700))
		}, "is a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			onFile(t, func(t *testing.T, k *Key, file string, said *lines) {
				c.spoil(t, file)
				for range 5 {
					time.Sleep(time.Second)
					is(t, "one", k.Current())
					k.Refused()
					is(t, "one", k.Current())
				}
				is(t, 1, strings.Count(said.String(), "level=WARN"), "it is said once:", said)
				is(t, 1, strings.Count(said.String(), c.says), said)

				well(t, os.RemoveAll(file))
				write(t, file, "three")
				time.Sleep(time.Second)
				is(t, "three", k.Current())
				is(t, 1, strings.Count(said.String(), "level=INFO"), said)
				c.spoil(t, file)
				time.Sleep(time.Second)
				is(t, "three", k.Current())
				is(t, 2, strings.Count(said.String(), "level=WARN"), "and again when it happens again:", said)
			})
		})
	}
}

func TestOpenKey(t *testing.T) {
	t.Parallel()
	k, err := OpenKey("sk-123", "")
	well(t, err)
	k.Refused()
	is(t, "sk-123", k.Current())
	k, err = OpenKey("", "")
	well(t, err)
	is(t, "", k.Current(), "there are endpoints without a key")

	_, err = OpenKey("a", "b")
	says(t, err, "twice")
	_, err = OpenKey("", filepath.Join(t.TempDir(), "absent"))
	says(t, err, "the key's file", "absent")
	blank := filepath.Join(t.TempDir(), "blank")
	write(t, blank, "\n")
	_, err = OpenKey("", blank)
	says(t, err, blank, "is empty")
}

// says checks that err is about all of this.
func says(t *testing.T, err error, words ...string) {
	t.Helper()
	failed(t, err)
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q says nothing of %q", err, w)
		}
	}
}

func TestAKeyPrintsWithoutItsSecret(t *testing.T) {
	onFile(t, func(t *testing.T, k *Key, file string, said *lines) {
		slog.New(slog.NewTextHandler(said, nil)).Info("here", "key", k)
		printed := fmt.Sprintf("%v %+v %#v %s", k, k, k, k) + said.String()
		if strings.Contains(printed, "one") || !strings.Contains(printed, file) {
			t.Error(printed)
		}
	})
}

// A file that must not be read says so. Root may read everything, so the fault is made, not met.
func TestAFileThatMustNotBeReadSaysSo(t *testing.T) {
	t.Parallel()
	err := unreadable(&os.PathError{Op: "open", Path: "/etc/key", Err: os.ErrPermission})
	says(t, err, "/etc/key", "must not be read by this user")
}
