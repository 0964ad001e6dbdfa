package outside

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// MinVersion is the oldest server that everything here was written for and measured with.
const MinVersion = "2.12"

// Errors of Inspect.
var (
	// ErrTooOld: the server is older than MinVersion.
	ErrTooOld = errors.New("the NATS server is too old")
	// ErrNoJetStream: the server, or the account, has no JetStream.
	ErrNoJetStream = errors.New("the NATS server has no JetStream")
)

// Facts are what can be seen of the servers behind a connection.
type Facts struct { //nolint:recvcheck // a value that only its reader fills in
	Server  string // name of the one that is connected to
	Version string
	Cluster string // name; empty for a single server
	// Peers is how many servers of the cluster can host replicas. Without monitoring it is how many addresses the server
	// names to its clients, at least 1, and PeersSeen is false.
	Peers     int
	PeersSeen bool
	// MaxStore is what all streams of the account, or of one server, may take together in bytes; -1: no limit is known.
	MaxStore int64
	Used     int64 // bytes of it that are taken or promised to streams
	// Sync is what the monitored servers do after a write.
	Sync Sync
}

// Sync is when servers call fsync, as their monitoring endpoints say.
type Sync struct {
	Servers  int           // how many were asked; 0: nobody knows
	Always   bool          // all of them before every acknowledgement (sync_interval: always)
	Interval time.Duration // else every so often
}

// inspectTimeout bounds each question of Inspect.
const inspectTimeout = 3 * time.Second

// Inspect asks the connection's server what it is, and where monitor is given (http://host:8222, several separated by commas)
// those servers how they write. ErrTooOld and ErrNoJetStream are its errors that no retry heals; a monitoring endpoint that does
// not answer is an error, too, since the operator named it.
func Inspect(ctx context.Context, conn *nats.Conn, monitor string) (Facts, error) {
	f := Facts{
		Server: conn.ConnectedServerName(), Version: conn.ConnectedServerVersion(), Cluster: conn.ConnectedClusterName(),
		Peers: max(len(conn.Servers()), 1), MaxStore: -1,
	}
	if older(f.Version, MinVersion) {
		return f, fmt.Errorf("%w: %s is version %s, %s or later is needed; install a newer nats-server (distributions often have old ones)",
			ErrTooOld, f.Server, f.Version, MinVersion)
	}
	if err := f.account(ctx, conn); err != nil {
		return f, err
	}
	if monitor == "" {
		return f, nil
	}
	for one := range strings.SplitSeq(monitor, ",") {
		if err := f.monitored(ctx, strings.TrimSpace(one)); err != nil {
			return f, err
		}
	}
	return f, nil
}

// account asks JetStream for what this connection's account may use.
func (f *Facts) account(ctx context.Context, conn *nats.Conn) error {
	js, err := jetstream.New(conn)
	if err != nil {
		return fmt.Errorf("inspect NATS: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, inspectTimeout)
	defer cancel()
	info, err := js.AccountInfo(ctx)
	switch {
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return fmt.Errorf("%w: %s; start it with -js, or allow JetStream for this account", ErrNoJetStream, f.Server)
	case err != nil:
		return fmt.Errorf("inspect NATS: ask %s for its JetStream account: %w", f.Server, err)
	}
	if limit := info.Limits.MaxStore; limit > 0 {
		f.MaxStore, f.Used = limit, int64(max(info.Store, info.ReservedStore))
	}
	return nil
}

// monitored adds what one server's monitoring endpoint says.
func (f *Facts) monitored(ctx context.Context, base string) error {
	var jsz struct {
		Config struct {
			MaxStore     int64         `json:"max_storage"`
			SyncInterval time.Duration `json:"sync_interval"`
			SyncAlways   bool          `json:"sync_always"`
		} `json:"config"`
		Disabled bool  `json:"disabled"`
		Reserved int64 `json:"reserved_storage"`
		Used     int64 `json:"storage"`
		Meta     *struct {
			Size int `json:"cluster_size"`
		} `json:"meta_cluster"`
	}
	if err := fetch(ctx, base, "jsz", &jsz); err != nil {
		return err
	}
	if jsz.Disabled {
		return fmt.Errorf("%w, as %s says; check nats.monitor", ErrNoJetStream, base)
	}
	if jsz.Meta != nil {
		f.Peers = max(jsz.Meta.Size, 1)
	} else {
		f.Peers = 1
	}
	f.PeersSeen = true
	if f.MaxStore < 0 {
		f.MaxStore, f.Used = jsz.Config.MaxStore, max(jsz.Reserved, jsz.Used)
	}
	f.Sync.Always = jsz.Config.SyncAlways && (f.Sync.Servers == 0 || f.Sync.Always)
	if !jsz.Config.SyncAlways {
		f.Sync.Interval = max(f.Sync.Interval, jsz.Config.SyncInterval)
	}
	f.Sync.Servers++
	return nil
}

// fetch reads one page of a monitoring endpoint.
func fetch(ctx context.Context, base, page string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, inspectTimeout)
	defer cancel()
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return errors.New("inspect NATS: nats.monitor is not of the form http://host:8222")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.JoinPath(page).String(), nil)
	if err != nil {
		return fmt.Errorf("inspect NATS: %w", err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("inspect NATS: ask the monitoring endpoint: %w; check nats.monitor, or leave it empty", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("inspect NATS: %s/%s says %s; check nats.monitor", u.Host, page, resp.Status)
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("inspect NATS: %s/%s is no answer of a NATS server: %w; check nats.monitor", u.Host, page, err)
	}
	return nil
}

// Fits tells whether streams of these caps (bytes each, on every replica) have room in the servers' limits. Streams that exist
// already have taken theirs: Used counts them, so a later start asks for nothing new.
func (f Facts) Fits(replicas int, caps ...int64) error {
	if replicas > f.Peers && f.PeersSeen {
		return fmt.Errorf("%d replicas need as many servers with JetStream, and there are %d; add servers or lower nats.replicas", replicas, f.Peers)
	}
	var sum int64
	for _, c := range caps {
		sum += c
	}
	if f.MaxStore > 0 && sum > f.MaxStore {
		return fmt.Errorf("the streams may take %d bytes together and JetStream's limit is %d; raise max_file_store of the servers "+
			"(or the account's limit), or lower nats.max_bytes and state.max_bytes", sum, f.MaxStore)
	}
	return nil
}

// older compares versions by their first two numbers; one that is not a version, as of a development build, is not older.
func older(version, than string) bool {
	have, ok := numbers(version)
	want, _ := numbers(than)
	return ok && (have[0] < want[0] || have[0] == want[0] && have[1] < want[1])
}

func numbers(version string) (out [2]int, ok bool) {
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	if len(parts) < 2 {
		return out, false
	}
	for i := range out {
		n, err := strconv.Atoi(parts[i])
		if err != nil {
			return out, false
		}
		out[i] = n
	}
	return out, true
}
