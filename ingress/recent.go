package ingress

import "time"

// recent is a map that forgets. Its entries live in generations, and the oldest is dropped whole: no sweeping, no goroutine.
// An entry is kept for at least (generations-1) × span after it was put, unless a generation is full. Not for concurrent use.
type recent[K comparable, V any] struct {
	span        time.Duration // how long the newest generation takes entries
	limit       int           // entries per generation
	turned      time.Time     // when the newest generation began
	generations []map[K]V     // newest first
}

func newRecent[K comparable, V any](generations int, span time.Duration, limit int) *recent[K, V] {
	r := &recent[K, V]{span: span, limit: limit, generations: make([]map[K]V, generations)}
	for i := range r.generations {
		r.generations[i] = make(map[K]V)
	}
	return r
}

// put keeps v under k, in place of what was there.
func (r *recent[K, V]) put(k K, v V, now time.Time) {
	r.turn(now)
	if len(r.generations[0]) >= r.limit {
		r.drop(1, now)
	}
	r.generations[0][k] = v
}

// get finds the newest entry of k.
func (r *recent[K, V]) get(k K, now time.Time) (V, bool) {
	r.turn(now)
	for _, g := range r.generations {
		if v, ok := g[k]; ok {
			return v, true
		}
	}
	var zero V
	return zero, false
}

// turn begins as many generations as have become due.
func (r *recent[K, V]) turn(now time.Time) {
	if r.turned.IsZero() {
		r.turned = now
	}
	if due := now.Sub(r.turned) / r.span; due > 0 {
		r.drop(int(min(due, time.Duration(len(r.generations)))), now)
	}
}

// drop forgets the n oldest generations and begins as many new ones.
func (r *recent[K, V]) drop(n int, now time.Time) {
	copy(r.generations[n:], r.generations)
	for i := range n {
		r.generations[i] = make(map[K]V)
	}
	r.turned = now
}
