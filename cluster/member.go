package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strconv"

	protoactor "github.com/asynkron/protoactor-go/cluster"
)

// Member is one process in the cluster, as it tells the others about itself.
type Member struct {
	ID      string `json:"id"`               // of its actor system: random, never used again
	Node    string `json:"node"`             // the configured node id
	Address string `json:"address"`          // host:port of its transport
	TLS     bool   `json:"tls,omitempty"`    // its transport is encrypted; a plain one and an encrypted one refuse each other
	Worker  bool   `json:"worker"`           // it owns partitions
	Fenced  bool   `json:"fenced,omitempty"` // it hears nobody: it has dropped what it owned, and takes nothing
	Leaving bool   `json:"leaving"`          // it is handing over: it wants no more partitions
	Bye     bool   `json:"bye"`              // last words
}

var memberID = regexp.MustCompile(`^[0-9A-Za-z]{8,64}$`) // also a single NATS subject token

func (m Member) encode() []byte {
	b, err := json.Marshal(m)
	if err != nil {
		panic(fmt.Sprintf("a struct of strings and booleans cannot be encoded: %v", err)) // unreachable
	}
	return b
}

func decodeMember(b []byte) (Member, error) {
	var m Member
	if err := json.Unmarshal(b, &m); err != nil {
		return Member{}, fmt.Errorf("not a member's record: %w", err)
	}
	if !memberID.MatchString(m.ID) {
		return Member{}, errors.New("a member's id has the wrong form")
	}
	if _, _, err := m.hostPort(); err != nil {
		return Member{}, err
	}
	return m, nil
}

func (m Member) hostPort() (string, int32, error) {
	host, port, err := net.SplitHostPort(m.Address)
	if err != nil {
		return "", 0, fmt.Errorf("a member's address: %w", err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("a member's address: %w", err)
	}
	return host, int32(n), nil
}

// proto is the member as proto.actor knows it. The address of an IPv6 host loses its brackets there and back again, so both
// sides use it as one string only.
func (m Member) proto() *protoactor.Member {
	host, port, err := m.hostPort()
	if err != nil {
		return nil
	}
	if ip := net.ParseIP(host); ip != nil && ip.To4() == nil {
		host = "[" + host + "]"
	}
	var kinds []string
	if m.Worker {
		kinds = []string{userKind, accountKind}
	}
	return &protoactor.Member{Id: m.ID, Host: host, Port: port, Kinds: kinds}
}
