package cluster

import (
	"context"

	"github.com/asynkron/protoactor-go/actor"

	"hongyan/actors"
	"hongyan/state"
)

// OwnerOf makes the partitions' actors of an engine, and the store that its checkpoints are in, the cluster's Partitions.
func OwnerOf(engine *actors.Engine, store state.Store) Partitions {
	return owner{engine: engine, store: store}
}

// Backlog is how much work a partition has.
type Backlog = actors.Backlog

type owner struct {
	engine *actors.Engine
	store  state.Store
}

func (o owner) CheckpointEpoch(ctx context.Context, partition int) (uint64, error) {
	return actors.CheckpointEpoch(ctx, o.store, partition)
}

func (o owner) Props(own Ownership, takenOver func()) *actor.Props {
	return o.engine.Partition(actors.Tenure{Partition: own.Partition, Epoch: own.Epoch, Mark: own.Mark, TakenOver: takenOver})
}

func (o owner) Backlog(partition int) (Backlog, bool) { return o.engine.Backlog(partition) }
