package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// NodeStatus is one process of the installation, a worker or not, as it tells about itself.
type NodeStatus struct {
	Node       string    `json:"node"`               // the configured id
	Process    string    `json:"process,omitempty"`  // the cluster member's id, empty where it is none; never used again
	Roles      []string  `json:"roles"`              // ingress, worker, console
	Version    string    `json:"version"`            // of the program
	Started    time.Time `json:"started"`            // its own clock
	Address    string    `json:"address,omitempty"`  // of the transport between workers
	Callback   string    `json:"callback,omitempty"` // listeners
	Admin      string    `json:"admin,omitempty"`
	Partitions int       `json:"partitions"`        // served here
	Fenced     bool      `json:"fenced,omitempty"`  // it trusts neither its leases nor its judgement at the moment
	Leaving    bool      `json:"leaving,omitempty"` // it hands over and goes
}

// NodeReport is what a node answers to ServeStatus's question. Node.Report fills in all of it that the cluster knows.
type NodeReport struct {
	NodeStatus

	Serves  []ServedPartition `json:"serves,omitempty"`
	Workers []Member          `json:"workers,omitempty"` // the live workers that it knows, itself included
}

// ServedPartition is a partition whose actor runs on the node that reports it.
type ServedPartition struct {
	Partition int    `json:"partition"`
	Epoch     uint64 `json:"epoch"`
	Ready     bool   `json:"ready"` // its epoch stands in the checkpoint
	Backlog   `json:"backlog"`
}

// PartitionStatus is one partition, put together from its lease and from its owner's report.
type PartitionStatus struct {
	Partition int           `json:"partition"`
	Owner     string        `json:"owner"` // node id; the last one where the lease is free
	Epoch     uint64        `json:"epoch"`
	Mark      string        `json:"mark"`
	Since     time.Time     `json:"since"`   // of the lease's last change, the owner's clock
	Planned   bool          `json:"planned"` // the former owner had handed over in order
	Lag       time.Duration `json:"lag_ns"`  // age of the oldest unsettled log entry
	Unsettled int           `json:"unsettled"`
	Residents int           `json:"residents"` // users in memory
	Floor     uint64        `json:"floor"`     // log sequence up to which all is settled
	Newest    uint64        `json:"newest"`    // newest log sequence read
	Moving    bool          `json:"moving"`    // nobody serves it, or it belongs elsewhere
	Reported  bool          `json:"reported"`  // its owner answered: the figures above are known
}

// Report is the whole installation at one moment.
type Report struct {
	Nodes      []NodeStatus      `json:"nodes"`             // by node id
	Partitions []PartitionStatus `json:"partitions"`        // by number; empty where no worker has ever started
	Missing    []string          `json:"missing,omitempty"` // node ids of live workers that did not answer
}

// Moving counts the partitions that move.
func (r Report) Moving() int {
	n := 0
	for _, p := range r.Partitions {
		if p.Moving {
			n++
		}
	}
	return n
}

// Report fills base with what this node knows of the cluster.
func (n *Node) Report(base NodeStatus) NodeReport {
	v, _ := n.board.load()
	r := NodeReport{NodeStatus: base}
	r.Node, r.Process, r.Fenced, r.Leaving = n.opts.NodeID, n.transport.system.ID, v.fenced, v.leaving
	if v.settled {
		r.Address = n.transport.system.Address()
	}
	for _, m := range v.members {
		if m.Worker && !m.Leaving && !m.Fenced {
			r.Workers = append(r.Workers, m)
		}
	}
	for _, k := range n.keepers {
		if !k.running.Load() {
			continue
		}
		s := ServedPartition{Partition: k.partition, Epoch: k.epoch.Load(), Ready: k.serves()}
		s.Backlog, _ = n.opts.Owner.Backlog(k.partition)
		r.Serves = append(r.Serves, s)
	}
	r.Partitions = len(r.Serves)
	return r
}

func nodeSubject(name, what string) string { return "hy.node." + name + "." + what }

// ServeStatus answers Gather for this process until ctx ends; every node does, worker or not. name is the cluster's.
func ServeStatus(ctx context.Context, conn *nats.Conn, name string, report func() NodeReport) error {
	subject := nodeSubject(name, "status")
	sub, err := conn.Subscribe(subject, func(msg *nats.Msg) {
		answer, err := json.Marshal(report())
		if err == nil {
			err = msg.Respond(answer)
		}
		_ = err // who asked sees that this node is missing
	})
	if err != nil {
		return fmt.Errorf("answer questions about this node on %s: %w", subject, err)
	}
	<-ctx.Done()
	_ = sub.Unsubscribe() // fails only with the connection
	return nil
}
