package cluster

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

const (
	gatherStall  = 150 * time.Millisecond // without another answer, once all known workers have spoken
	gatherMost   = time.Second            // for those who are known and silent
	leaseReaders = 8                      // leases read at a time
)

// Gather asks all processes of the installation how they are and puts their answers together with the leases. It waits up to
// a second for workers that others call alive; those that stay silent are named in Missing. That nobody answers is no error:
// the report then has no nodes. name is the cluster's.
func Gather(ctx context.Context, conn *nats.Conn, name string) (Report, error) {
	var (
		reports []NodeReport
		leases  []Lease
	)
	g, within := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		reports, err = gatherReports(within, conn, name)
		return err
	})
	g.Go(func() (err error) {
		leases, err = gatherLeases(within, conn)
		return err
	})
	if err := g.Wait(); err != nil {
		return Report{}, fmt.Errorf("gather the state of cluster %s: %w", name, err)
	}
	return merge(reports, leases), nil
}

// gatherReports collects answers until all known workers have answered and a moment was quiet.
func gatherReports(ctx context.Context, conn *nats.Conn, name string) ([]NodeReport, error) {
	inbox := conn.NewInbox()
	sub, err := conn.SubscribeSync(inbox)
	if err != nil {
		return nil, fmt.Errorf("ask the nodes: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := conn.PublishRequest(nodeSubject(name, "status"), inbox, nil); err != nil {
		return nil, fmt.Errorf("ask the nodes: %w", err)
	}
	all, cancel := context.WithTimeout(ctx, gatherMost)
	defer cancel()
	var reports []NodeReport
	for {
		stall := gatherMost
		if len(reports) > 0 && len(silent(reports)) == 0 {
			stall = gatherStall
		}
		next, done := context.WithTimeout(all, stall)
		msg, err := sub.NextMsgWithContext(next)
		done()
		switch {
		case ctx.Err() != nil:
			return nil, fmt.Errorf("ask the nodes: %w", context.Cause(ctx))
		case errors.Is(err, nats.ErrNoResponders), errors.Is(err, context.DeadlineExceeded):
			return reports, nil
		case err != nil:
			return nil, fmt.Errorf("ask the nodes: %w", err)
		}
		var r NodeReport
		if json.Unmarshal(msg.Data, &r) == nil && r.Node != "" { // whatever else answers there is no node of ours
			reports = append(reports, r)
		}
	}
}

// silent is the workers that the others call alive and that have not answered.
func silent(reports []NodeReport) []Member {
	var missing []Member
	for _, r := range reports {
		for _, m := range r.Workers {
			answered := slices.ContainsFunc(reports, func(r NodeReport) bool { return r.Process == m.ID })
			known := slices.ContainsFunc(missing, func(have Member) bool { return have.ID == m.ID })
			if !answered && !known {
				missing = append(missing, m)
			}
		}
	}
	return missing
}

// gatherLeases reads all leases; none where no worker has recorded the layout yet.
func gatherLeases(ctx context.Context, conn *nats.Conn) ([]Lease, error) {
	layout, recorded, err := RecordedLayout(ctx, conn)
	if err != nil || !recorded {
		return nil, err
	}
	js, err := jetstream.New(conn)
	if err != nil {
		return nil, fmt.Errorf("open the bucket %s: %w", bucketName, err)
	}
	bucket, err := js.KeyValue(ctx, bucketName)
	if err != nil {
		return nil, fmt.Errorf("open the bucket %s: %w", bucketName, err)
	}
	table := newLeases(bucket, layout.Partitions, conn, nil)
	leases := make([]Lease, layout.Partitions)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(leaseReaders)
	for p := range leases {
		g.Go(func() (err error) {
			leases[p], _, err = table.read(ctx, p)
			return err
		})
	}
	return leases, g.Wait()
}

// merge puts the report together. Where a partition should be is computed from the fullest list of workers that anybody
// reported, as the workers do it themselves.
func merge(reports []NodeReport, leases []Lease) Report {
	var (
		out     Report
		workers []Member
	)
	for _, r := range reports {
		out.Nodes = append(out.Nodes, r.NodeStatus)
		if !r.Fenced && len(r.Workers) > len(workers) {
			workers = r.Workers
		}
	}
	slices.SortFunc(out.Nodes, func(a, b NodeStatus) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Process, b.Process))
	})
	for _, m := range silent(reports) {
		out.Missing = append(out.Missing, m.Node)
	}
	slices.Sort(out.Missing)
	desired := place(len(leases), workerIDsOf(workers))
	for p, lease := range leases {
		s := PartitionStatus{
			Partition: p, Owner: lease.Node, Epoch: lease.Epoch, Mark: lease.Mark, Since: lease.At, Planned: lease.Planned,
			Moving: lease.free() || desired[p] != lease.Member,
		}
		if served, ok := servedBy(reports, lease, p); ok {
			s.Reported = true
			s.Lag, s.Unsettled, s.Residents, s.Floor, s.Newest = served.Lag, served.Unsettled, served.Residents, served.Floor, served.Newest
			s.Moving = s.Moving || !served.Ready
		} else {
			s.Moving = s.Moving || !slices.ContainsFunc(silent(reports), func(m Member) bool { return m.ID == lease.Member })
		}
		out.Partitions = append(out.Partitions, s)
	}
	return out
}

func workerIDsOf(members []Member) []string {
	ids := make([]string, len(members))
	for i, m := range members {
		ids[i] = m.ID
	}
	return ids
}

// servedBy is the report of the lease's own tenure.
func servedBy(reports []NodeReport, lease Lease, partition int) (ServedPartition, bool) {
	for _, r := range reports {
		if r.Process == "" || r.Process != lease.Member {
			continue
		}
		for _, s := range r.Serves {
			if s.Partition == partition && s.Epoch == lease.Epoch {
				return s, true
			}
		}
	}
	return ServedPartition{}, false
}
