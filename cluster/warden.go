package cluster

import (
	"fmt"
	"runtime"

	"github.com/asynkron/protoactor-go/actor"
)

// watch asks the warden to close ended when the actor has stopped, its children included.
type watch struct {
	pid   *actor.PID
	ended chan<- struct{}
}

// warden watches the partitions' actors, because only an actor can watch one.
type warden struct {
	ended map[string]chan<- struct{} // by actor id
}

func spawnWarden(system *actor.ActorSystem) *actor.PID {
	return system.Root.Spawn(actor.PropsFromProducer(func() actor.Actor { return &warden{ended: map[string]chan<- struct{}{}} }))
}

// Receive implements actor.Actor.
func (w *warden) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case watch:
		w.ended[m.pid.Id] = m.ended
		ctx.Watch(m.pid) // one that is gone already is reported at once
	case *actor.Terminated:
		if ended, ok := w.ended[m.Who.Id]; ok {
			close(ended)
			delete(w.ended, m.Who.Id)
		}
	}
}

// guarded is a root whose actors are stopped, not restarted, when they panic: a restarted one would carry on with a mailbox
// and a log reader of the state that just proved wrong, under the same epoch. The keeper starts it anew under the next.
func guarded(system *actor.ActorSystem, panicked func(reason any)) *actor.RootContext {
	return system.Root.Copy().WithGuardian(actor.NewOneForOneStrategy(0, 0, func(reason any) actor.Directive {
		panicked(reason)
		return actor.StopDirective
	}))
}

// describePanic keeps what users wrote out of the log: the runtime's own errors in full, of all else the type.
func describePanic(reason any) string {
	if err, ok := reason.(runtime.Error); ok {
		return err.Error()
	}
	return fmt.Sprintf("%T", reason)
}
