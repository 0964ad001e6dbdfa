package cluster

import "slices"

// LeaseView is one partition as this node sees it.
type LeaseView struct {
	Partition int
	Lease
	Mine    bool // this process holds it
	Running bool // and its actor was started here
}

// Leases lists all partitions, for people; empty before Run opened the bucket. What it says of others may be a moment old.
func (n *Node) Leases() []LeaseView {
	table := n.leaseTable.Load()
	if table == nil {
		return nil
	}
	views := make([]LeaseView, n.opts.Partitions)
	for p := range views {
		seen, _ := table.seen(p)
		views[p] = LeaseView{Partition: p, Lease: seen.lease, Mine: !seen.lease.free() && seen.lease.Member == n.transport.system.ID}
		if n.keepers != nil {
			views[p].Running = n.keepers[p].running.Load()
		}
	}
	return views
}

// Members lists the live members by id, this process included; empty before Run has joined.
func (n *Node) Members() []Member {
	v, _ := n.board.load()
	return slices.Clone(v.members)
}
