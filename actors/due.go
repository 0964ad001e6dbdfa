package actors

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/cespare/xxhash/v2"
	"github.com/fxamacker/cbor/v2"
	"golang.org/x/sync/errgroup"

	"hongyan/messages"
	"hongyan/state"
)

// The due index tells a partition which of its users must be looked at when, whatever they do: a row (user, due) each (DESIGN §3 rule
// 18). What is due stands in the user's own record; the row only wakes him, by an entry of the log, so that it keeps its place in the
// order of everything else. A row that is too many wakes a user for nothing; one that is missing would forget him. So it is in the store
// before the entry that called for it is settled.
//
// The rows lie in dueShards records beside the users', by a hash of the user, so that a change rewrites few. The checkpoint says which
// of them exist: it is written with the settlement, after the row.
const (
	dueShards   = 16
	wakeEvery   = time.Second      // how often the rows are looked at
	wakeAtMost  = 256              // users woken in one look
	wakeAgain   = 60 * time.Second // a user whose row is due still
	maxWakeFail = 3 * time.Second
)

// dueIndex is the partition's rows. Its fields belong to the partition's turn.
type dueIndex struct {
	rows   map[messages.User]int64 // due, Unix milliseconds
	woken  map[messages.User]time.Time
	shards [dueShards]dueShard
	held   []heldSettle
	busy   bool // a write is under way
	next   time.Time
	bits   uint32 // the shards that exist
}

// dueShard is one record of rows.
type dueShard struct {
	rec   state.Record
	ours  []uint64 // write ids of commits whose outcome is open
	dirty bool
}

// heldSettle is a settlement that waits for its user's row.
type heldSettle struct {
	shard int
	seqs  []uint64
}

// dueRow is one row as it is stored.
type dueRow struct {
	_       struct{} `cbor:",toarray"`
	Account string
	OpenID  string
	DueMS   int64
}

type dueRecord struct {
	Schema uint8    `cbor:"1,keyasint"`
	Rows   []dueRow `cbor:"2,keyasint,omitempty"`
}

const dueSchema = 1

// dueWritten is the outcome of a round of writes, shard by shard.
type dueWritten struct{ shards []shardWritten }

type shardWritten struct {
	shard int
	rec   state.Record
	ours  []uint64
	found []dueRow // rows that a former owner wrote behind our back
	err   error
}

func newDueIndex() *dueIndex {
	return &dueIndex{rows: make(map[messages.User]int64), woken: make(map[messages.User]time.Time)}
}

func shardOf(u messages.User) int { return int(xxhash.Sum64String(u.Identity()) >> 60) }

func (p *partition) dueKey(shard int) state.Key {
	return state.Key{Partition: p.tenure.Partition, User: messages.DueShard(shard)}
}

// loadDue reads the rows at takeover.
func (p *partition) loadDue(ctx context.Context) error {
	p.due = newDueIndex()
	p.due.bits = p.cp.Due
	var records [dueShards]state.Record
	g, ctx := errgroup.WithContext(ctx)
	for shard := range dueShards {
		if p.cp.Due&(1<<shard) == 0 {
			continue
		}
		g.Go(func() error {
			rec, err := p.Store.Load(ctx, p.dueKey(shard))
			records[shard] = rec
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("read the due index: %w", err)
	}
	for shard, rec := range records {
		rows, err := decodeDue(rec.Value)
		if err != nil {
			return err
		}
		for _, r := range rows {
			p.due.rows[messages.User{Account: r.Account, OpenID: r.OpenID}] = r.DueMS
		}
		rec.Value = nil
		p.due.shards[shard].rec = rec
	}
	return nil
}

func decodeDue(b []byte) ([]dueRow, error) {
	if len(b) == 0 {
		return nil, nil
	}
	var d dueRecord
	if err := cbor.Unmarshal(b, &d); err != nil {
		return nil, fmt.Errorf("decode a due index of %d bytes: %w", len(b), err)
	}
	return d.Rows, nil
}

// settleDue notes when a user must be looked at, zero for never, and settles the entries once that is in the store. A row that is to go,
// or to come later, keeps nobody waiting: it wakes the user for nothing at the worst.
func (p *partition) settleDue(ctx actor.Context, user messages.User, seqs []uint64, due time.Time) {
	delete(p.due.woken, user)
	had, has := p.due.rows[user]
	shard := shardOf(user)
	switch {
	case due.IsZero() && !has, has && !due.IsZero() && had == due.UnixMilli():
	case due.IsZero():
		delete(p.due.rows, user)
		p.due.shards[shard].dirty = true
	default:
		p.due.rows[user] = due.UnixMilli()
		p.due.shards[shard].dirty = true
		if !has || due.UnixMilli() < had {
			p.due.held = append(p.due.held, heldSettle{shard: shard, seqs: seqs})
			p.flushDue()
			return
		}
	}
	// A row that another settlement of this user waits for covers this one too, and must be there first.
	if slices.ContainsFunc(p.due.held, func(h heldSettle) bool { return h.shard == shard }) {
		p.due.held = append(p.due.held, heldSettle{shard: shard, seqs: seqs})
		return
	}
	for _, seq := range seqs {
		p.settleOne(ctx, seq)
	}
}

// compare has all rows written anew: the store has lost writes, and theirs may be among them (DESIGN §3 rule 9).
func (d *dueIndex) compare() {
	for shard := range d.shards {
		if s := &d.shards[shard]; s.rec.Version != (state.Version{}) {
			s.dirty = true
		}
	}
}

// flushDue writes the shards that changed, beside the mailbox; dueWritten brings the outcome.
func (p *partition) flushDue() {
	if p.due.busy || p.stopped {
		return
	}
	type job struct {
		shard int
		rows  []dueRow
		base  state.Record
		ours  []uint64
		id    uint64
	}
	var jobs []job
	for shard := range p.due.shards {
		if s := &p.due.shards[shard]; s.dirty {
			s.dirty = false
			jobs = append(jobs, job{shard: shard, base: s.rec, ours: slices.Clone(s.ours), id: p.Random() | 1})
		}
	}
	if len(jobs) == 0 {
		return
	}
	for user, due := range p.due.rows {
		shard := shardOf(user)
		for i := range jobs {
			if jobs[i].shard == shard {
				jobs[i].rows = append(jobs[i].rows, dueRow{Account: user.Account, OpenID: user.OpenID, DueMS: due})
			}
		}
	}
	p.due.busy = true
	go func() { // ended by the store's answers or opTimeout
		out := &dueWritten{}
		for _, j := range jobs {
			out.shards = append(out.shards, p.writeDue(j.shard, j.rows, j.base, j.ours, j.id))
		}
		p.root.Send(p.pid, out)
	}()
}

// writeDue commits one shard over base. An unknown outcome is resolved by the next compare-and-set, as the checkpoint's is; rows that a
// former owner wrote meanwhile are reported instead of being written over.
func (p *partition) writeDue(shard int, rows []dueRow, base state.Record, ours []uint64, id uint64) shardWritten {
	ctx, cancel := context.WithTimeout(p.ctx, opTimeout)
	defer cancel()
	out := shardWritten{shard: shard, rec: base, ours: ours}
	slices.SortFunc(rows, func(a, b dueRow) int {
		return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.OpenID, b.OpenID))
	})
	value, err := cbor.Marshal(dueRecord{Schema: dueSchema, Rows: rows})
	if err != nil {
		out.err = err
		return out
	}
	write := state.Write{Epoch: p.tenure.Epoch, WriteID: id, Incarnation: id, Value: value}
	rec, _, err := p.commit(ctx, p.dueKey(shard), base, write)
	if errors.Is(err, state.ErrConflict) {
		var now state.Record
		if now, err = p.Store.Load(ctx, p.dueKey(shard)); err == nil {
			if !slices.Contains(ours, now.Version.WriteID) {
				if out.found, err = decodeDue(now.Value); err == nil {
					err = state.ErrConflict
				}
			}
			out.rec, out.ours = now, nil
			out.rec.Value = nil
			if err == nil {
				rec, _, err = p.commit(ctx, p.dueKey(shard), out.rec, write)
			}
		}
	}
	switch {
	case err == nil:
		out.rec, out.ours = rec, nil
		out.rec.Value = nil
	case errors.Is(err, state.ErrUnknown):
		out.ours = append(out.ours, id)
	}
	out.err = err
	return out
}

// dueWritten takes up the outcome of a round of writes: what waited for it is settled.
func (p *partition) dueWritten(ctx actor.Context, m *dueWritten) {
	p.due.busy = false
	failed := false
	for _, w := range m.shards {
		s := &p.due.shards[w.shard]
		s.rec, s.ours = w.rec, w.ours
		switch {
		case w.err == nil && s.dirty: // changed meanwhile: the next round has all of it
		case w.err == nil:
			p.due.bits |= 1 << w.shard
			p.releaseHeld(ctx, w.shard)
		case errors.Is(w.err, state.ErrStaleEpoch):
			p.stepDown(ctx, "its due index belongs to a later owner", w.err)
			return
		default:
			s.dirty, failed = true, true // the next tick tries again
			for _, r := range w.found {
				user := messages.User{Account: r.Account, OpenID: r.OpenID}
				if had, has := p.due.rows[user]; !has || r.DueMS < had {
					p.due.rows[user] = r.DueMS
				}
			}
			p.log.Warn("the due index was not written and is tried again", "shard", w.shard, "error", w.err)
		}
	}
	p.metrics.dueRows.WithLabelValues(p.stats.label).Set(float64(len(p.due.rows)))
	if !failed {
		p.flushDue()
	}
}

// releaseHeld settles what waited for the rows of a shard.
func (p *partition) releaseHeld(ctx actor.Context, shard int) {
	var ready []uint64
	p.due.held = slices.DeleteFunc(p.due.held, func(h heldSettle) bool {
		if h.shard == shard {
			ready = append(ready, h.seqs...)
		}
		return h.shard == shard
	})
	for _, seq := range ready {
		p.settleOne(ctx, seq)
	}
}

// wakeDue writes an entry into the log for users whose time has come. It stands in the order of the log like everything else of theirs.
func (p *partition) wakeDue(now time.Time) {
	p.flushDue()
	if now.Before(p.due.next) || p.Wakes == nil || !p.releasing.IsZero() || p.logFull() || p.busy() {
		return
	}
	p.due.next = now.Add(wakeEvery)
	woken := 0
	for user, due := range p.due.rows {
		if due > now.UnixMilli() || now.Sub(p.due.woken[user]) < wakeAgain {
			continue
		}
		if _, known := p.Accounts[user.Account]; !known {
			continue // it may be configured again
		}
		if woken++; woken > wakeAtMost {
			p.due.next = now.Add(tickEvery)
			return
		}
		p.due.woken[user] = now
		p.wake(user)
	}
}

// wake publishes one entry. Where it fails, the row stays and is looked at again.
func (p *partition) wake(user messages.User) {
	in := &messages.Inbound{Account: user.Account, OpenId: user.OpenID, CreateTime: p.Now().Unix()}
	key := messages.DedupeKey(in)
	in.Key = key[:]
	entry := &messages.Entry{Source: messages.Source_SOURCE_WAKE, Inbound: in}
	go func() { // ended by the log's answer or maxWakeFail
		ctx, cancel := context.WithTimeout(p.ctx, maxWakeFail)
		defer cancel()
		if _, err := p.Wakes.Accept(ctx, entry); err != nil && p.ctx.Err() == nil {
			p.log.Warn("a user could not be woken; it is tried again", "user", user.Hash(), "account", user.Account, "error", err)
		}
	}()
}
