package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"hongyan/internal/checker"
	"hongyan/messages"
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
	err = walk(request, "HY_IN", "hy.in.>", func(sequence uint64, data []byte) error {
		e := new(messages.Entry)
		if err := proto.Unmarshal(data, e); err != nil {
			return err
		}
		in := e.GetInbound()
		j.Entries = append(j.Entries, checker.Entry{
			Sequence: sequence, OpenID: in.GetOpenId(), MsgID: in.GetMsgId(), Key: messages.KeyOf(in).String(), Text: in.GetText().GetContent(),
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	err = walk(request, "HY_DEAD", "hy.dead.>", func(_ uint64, data []byte) error {
		d := new(messages.DeadLetter)
		if err := proto.Unmarshal(data, d); err != nil {
			return err
		}
		j.Dead = append(j.Dead, checker.DeadLetter{
			OpenID: d.GetInbound().GetOpenId(), Key: messages.KeyOf(d.GetInbound()).String(), Reason: d.GetReason(),
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// walk reads a stream message by message: JetStream's own API, as NATS documents it.
func walk(request func(string, []byte) ([]byte, error), stream, subjects string, take func(uint64, []byte) error) error {
	const notFound = 10037
	for next := uint64(1); ; {
		ask, err := json.Marshal(map[string]any{"seq": next, "next_by_subj": subjects})
		if err != nil {
			return err
		}
		data, err := request("$JS.API.STREAM.MSG.GET."+stream, ask)
		if err != nil {
			return fmt.Errorf("read %s from %d: %w", stream, next, err)
		}
		var reply struct {
			Message struct {
				Sequence uint64 `json:"seq"`
				Data     []byte `json:"data"`
			} `json:"message"`
			Error struct {
				Code int    `json:"err_code"`
				Text string `json:"description"`
			} `json:"error"`
		}
		if err := json.Unmarshal(data, &reply); err != nil {
			return fmt.Errorf("read %s from %d: %w", stream, next, err)
		}
		switch reply.Error.Code {
		case 0:
		case notFound:
			return nil
		default:
			return fmt.Errorf("read %s from %d: %s", stream, next, reply.Error.Text)
		}
		if err := take(reply.Message.Sequence, reply.Message.Data); err != nil {
			return fmt.Errorf("%s at %d: %w", stream, reply.Message.Sequence, err)
		}
		next = reply.Message.Sequence + 1
	}
}
