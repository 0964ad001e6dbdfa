package cluster

import (
	"maps"
	"slices"
	"time"
)

// notice finds out whether this node stood still, and fences it then. Between two ticks lies a tick, unless the process was
// paused or starved; or its machine was, which only the wall clock tells.
func (m *membership) notice() {
	now := m.now()
	gap := max(now.Sub(m.lastTick), now.Round(0).Sub(m.lastTick.Round(0)))
	if gap > standstill {
		m.lastTick = now
		m.fence(fenceStandstill, gap)
	}
}

// judge runs at every tick: first about itself, then, if it may, about the others.
func (m *membership) judge() {
	m.notice()
	now := m.now()
	m.lastTick = now
	if !m.trustsConnection(now) {
		return
	}
	if m.fenced {
		// One whole tick for the views to be seen, then until everything is dropped.
		if now.Sub(m.fencedAt) < tick || m.node.holding.Load() > 0 {
			return
		}
		m.fenced, m.self.Fenced = false, false
		m.forgive(now)
		m.beat()
		m.log.Info("this node trusts itself again")
	}
	if now.Sub(m.lastBeat) >= beatEvery {
		m.beat()
	}
	for _, id := range slices.Sorted(maps.Keys(m.peers)) {
		m.judgePeer(m.peers[id], now)
	}
	m.publish()
}

// trustsConnection tells whether this node hears the others: it is connected, and its own heartbeats come back. While it does
// not, and at the first moment after, it judges nobody.
func (m *membership) trustsConnection(now time.Time) bool {
	connected := m.conn.IsConnected()
	if n := m.conn.Stats().Reconnects; n != m.reconnects {
		m.reconnects = n
		m.found(now)
	}
	if connected && now.Sub(m.echoed) <= silenceAfter {
		if !m.disconnected.IsZero() {
			m.disconnected = time.Time{}
			m.found(now)
		}
		return true
	}
	if m.disconnected.IsZero() {
		m.disconnected = now
		if connected {
			m.disconnected = m.echoed
		}
	}
	if away := now.Sub(m.disconnected); away > disconnectedIn && !m.fenced {
		m.fence(fenceDisconnected, away)
	}
	if connected && now.Sub(m.lastBeat) >= beatEvery {
		m.self.Fenced = m.fenced // the others may hear what we do not
		m.beat()                 // the first one that comes back ends this
	}
	return false
}

// found begins anew with a connection that is back.
func (m *membership) found(now time.Time) {
	m.reconnected, m.echoed = now, now
	m.forgive(now)
	m.beat()
}

// fence makes this node drop all it owns: others may have judged it gone and taken over.
func (m *membership) fence(reason string, gap time.Duration) {
	m.fencedAt = m.now()
	m.forgive(m.fencedAt)
	if m.fenced {
		return
	}
	m.fenced = true
	m.node.metrics.fences.WithLabelValues(reason).Inc()
	m.log.Warn("this node does not trust itself and drops its partitions", "reason", reason, "gap", gap)
	m.publish()
}

// forgive starts all judgements afresh.
func (m *membership) forgive(now time.Time) {
	for _, p := range m.peers {
		if p.signs == 0 {
			p.heard, p.misses = now, 0
		}
	}
}

func (m *membership) judgePeer(p *peer, now time.Time) {
	id := p.member.ID
	if p.signs != 0 && now.Sub(p.goneAt) > forgetAfter {
		m.forget(id)
		return
	}
	m.conclude(p, now)
	m.ping(id)
}

// conclude judges one peer by what is known of it, unless this node may judge nobody.
func (m *membership) conclude(p *peer, now time.Time) {
	if m.fenced || !m.disconnected.IsZero() {
		return
	}
	if fresh := p.note(now, m.echoed, m.node.links.state(p.member.Address)); fresh && p.known() {
		m.log.Warn("a member is gone", "member", p.member.ID, "node", p.member.Node, "silent", p.signs&signSilent != 0,
			"no_responders", p.signs&signNoResponders != 0, "cut", p.signs&signCut != 0)
	}
}

// note collects the signs that speak for the peer being gone, and tells whether these are the first. Its silence counts up to
// echoed, the moment up to which this node certainly heard: one that hears nothing at all finds nobody silent.
func (p *peer) note(now, echoed time.Time, transport linkState) bool {
	before := p.signs
	needed := missesNeeded
	switch transport { //nolint:exhaustive // linkUnknown keeps the default
	case linkAlive:
		needed = missesOfLinked
	case linkCut:
		needed = missesOfCut
	}
	if echoed.Sub(p.heard) > silenceAfter {
		p.signs |= signSilent
	}
	if p.misses >= needed {
		p.signs |= signNoResponders
	}
	if p.signs != 0 && transport == linkCut {
		p.signs |= signCut
	}
	fresh := before == 0 && p.signs != 0
	if fresh {
		p.goneAt = now
	}
	return fresh
}
