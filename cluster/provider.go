package cluster

import (
	"context"
	"errors"

	protoactor "github.com/asynkron/protoactor-go/cluster"
)

// provider is proto.actor's ClusterProvider over our membership. proto.actor calls StartMember when its transport listens;
// from then on publishMembers tells it the whole member list whenever that changes.
type provider struct {
	listening chan struct{} // closed by StartMember
}

var _ protoactor.ClusterProvider = (*provider)(nil)

// StartMember is called by proto.actor, once, when its transport listens.
func (p *provider) StartMember(*protoactor.Cluster) error {
	close(p.listening)
	return nil
}

// StartClient is refused: proto.actor's client mode panics at its end. A node without partitions is a member that owns none.
func (p *provider) StartClient(*protoactor.Cluster) error {
	return errors.New("a client of the cluster is a member without partitions")
}

// Shutdown has nothing to do: Node.Run ends the membership.
func (p *provider) Shutdown(bool) error { return nil }

// publishMembers keeps proto.actor's member list: complete, always with this process, frozen while this node is fenced. It
// has its own goroutine, because proto.actor calls its subscribers in turn and one that hangs must not look like our own
// standstill.
func (t *transport) publishMembers(ctx context.Context) error {
	for {
		v, changed := t.board.load()
		if v.settled && !v.fenced {
			members := make(protoactor.Members, 0, len(v.roster))
			for _, m := range v.roster {
				members = append(members, m.proto())
			}
			t.cluster.MemberList.UpdateClusterTopology(members)
			t.router.cache.keep(addresses(v.members))
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

func addresses(members []Member) map[string]bool {
	set := make(map[string]bool, len(members))
	for _, m := range members {
		set[m.Address] = true
	}
	return set
}
