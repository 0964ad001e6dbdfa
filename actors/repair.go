package actors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/asynkron/protoactor-go/actor"

	"hongyan/state"
)

// repairTries bounds how often a repair whose outcome is not known is sent again. It is the same write each time, so that it is
// in the store once.
const repairTries = 3

// commit writes w over base, which the store has acknowledged to this owner. A store that refuses because it is behind base lost
// writes; as it still accepts our epoch, it is repaired with what we hold instead of being obeyed (DESIGN §3 rule 9). The errors
// are those of state.Store.Commit.
func (s *shared) commit(ctx context.Context, key state.Key, base state.Record, w state.Write) (rec state.Record, repaired bool, err error) {
	rec, err = s.Store.Commit(ctx, key, base, w)
	if !errors.Is(err, state.ErrConflict) || base.Version == (state.Version{}) {
		return rec, false, err
	}
	for range repairTries {
		found, lerr := s.Store.Load(ctx, key)
		switch {
		case errors.Is(lerr, state.ErrNotFound):
			found = state.Record{}
		case lerr != nil && errors.Is(err, state.ErrConflict): // nothing of ours is in the store
			return state.Record{}, false, fmt.Errorf("look into a refused write: %w", lerr)
		case lerr != nil:
			return state.Record{}, false, err
		}
		switch {
		case found.Version.WriteID == w.WriteID: // by the try before
			return found, true, nil
		case !state.Behind(found.Version, base.Version):
			return state.Record{}, false, err
		}
		w.Incarnation, w.Number = base.Version.Incarnation, base.Version.Number+1
		s.metrics.repaired(key)
		s.Logger.LogAttrs(ctx, slog.LevelError, "the store has lost writes and is repaired from memory; look into its fail-over",
			slog.String("record", key.String()), slog.Uint64("found_version", found.Version.Number),
			slog.Uint64("held_version", base.Version.Number), slog.Uint64("epoch", s.tenure.Epoch))
		rec, err = s.Store.Commit(ctx, key, found, w)
		if err == nil {
			return rec, true, nil
		}
	}
	return state.Record{}, false, err
}

// compareRecord looks whether the store still has the record that this activation holds, and puts it back where it lost writes.
func (u *user) compareRecord(ctx actor.Context) {
	if u.rec.Version == (state.Version{}) {
		return // nothing was committed
	}
	within, cancel := context.WithTimeout(u.ctx, opTimeout)
	defer cancel()
	found, err := u.Store.Load(within, u.key())
	switch {
	case errors.Is(err, state.ErrNotFound):
	case err != nil:
		u.Logger.Warn("a record could not be compared with the store; its next commit does it", "user", u.name.Hash(), "error", err)
		return
	}
	if state.Behind(found.Version, u.rec.Version) {
		u.commit(ctx, u.st)
	}
}

// compareUsers asks all users who are in memory to compare their records: the store has lost a checkpoint, so it lost more.
func (p *partition) compareUsers(ctx actor.Context) {
	p.due.compare()
	for _, r := range p.users {
		if r.pid != nil {
			ctx.Send(r.pid, &compare{})
		}
	}
}
