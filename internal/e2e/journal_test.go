package e2e

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"hongyan/internal/checker"
	"hongyan/stream/embedded"
)

// readJournal copies the folder of a node that does not run, as it lies there, and reads the copy by plain requests to a server on
// it: neither the engine's own reader nor its checkpoints have a part in that.
func readJournal(t *testing.T, n *node) checker.Journal {
	t.Helper()
	if n.proc.running() {
		t.Fatal("the journal is read while the node runs")
	}
	return readFolder(t, filepath.Join(n.dir, "data", "nats"))
}

func readFolder(t *testing.T, folder string) checker.Journal {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "journal")
	defer os.RemoveAll(dir)
	if err := os.CopyFS(dir, os.DirFS(folder)); err != nil {
		t.Fatalf("copy the log: %v", err)
	}
	server, err := embedded.Start(embedded.Options{StoreDir: dir, MaxStore: 1 << 40})
	if err != nil {
		t.Fatalf("open the copy of the log: %v", err)
	}
	defer func() {
		if err := server.Close(); err != nil {
			t.Errorf("close the copy of the log: %v", err)
		}
	}()
	conn, err := server.Connect("e2e")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	request := func(subject string, data []byte) ([]byte, error) {
		m, err := conn.Request(subject, data, 10*time.Second)
		if err != nil {
			return nil, err
		}
		return m.Data, nil
	}

	var j checker.Journal
	_, err = checker.Walk(request, "HY_IN", "hy.in.>", 1, func(sequence uint64, data []byte) error {
		e, err := checker.EntryOf(sequence, data)
		j.Entries = append(j.Entries, e)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = checker.Walk(request, "HY_DEAD", "hy.dead.>", 1, func(sequence uint64, data []byte) error {
		d, err := checker.DeadLetterOf(sequence, data)
		j.Dead = append(j.Dead, d)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return j
}
