package main

// clusterMutants take out what keeps the ownership: DESIGN §3 rule 20.
var clusterMutants = []mutant{
	{
		name: "lease-compare-and-set", rule: "20", takes: "the comparison under which a lease is changed",
		file: "cluster/lease.go",
		old:  "written, err = l.bucket.Update(writing, leaseKey(partition), value, revision)", new: "written, err = l.bucket.Put(writing, leaseKey(partition), value)",
		tests: []string{"cluster.TestStolenLeaseEndsTheTenure"},
	},
	{
		name: "epoch-above-the-lease", rule: "20", takes: "that an epoch lies above the lease's",
		file: "cluster/keeper.go", old: "1 + max(old.Epoch, checkpoint)", new: "1 + checkpoint",
		tests: []string{"cluster.TestStolenLeaseEndsTheTenure"},
	},
	{
		name: "epoch-above-the-checkpoint", rule: "20", takes: "that an epoch lies above the checkpoint's",
		file: "cluster/keeper.go", old: "1 + max(old.Epoch, checkpoint)", new: "1 + max(old.Epoch, 0*checkpoint)",
		tests: []string{"cluster.TestEpochsRiseOverRestarts"},
	},
	{
		name: "two-signs", rule: "20", takes: "the second sign before a second takeover within 2 s",
		file: "cluster/keeper.go", old: "recent := !seen.moved.IsZero() && ", new: "recent := seen.moved.Year() > 9999 && ",
		tests: []string{"cluster.TestPassOver"},
	},
	{
		name: "a-live-owner-is-waited-for", rule: "20", takes: "waiting for an owner that is alive",
		file: "cluster/keeper.go", old: "waited > 2*k.node.opts.HandOver+stopPatience {", new: "waited > 0 {",
		tests: []string{"cluster.TestPassOver"},
	},
	{
		name: "two-misses", rule: "20", takes: "the second ping without a responder",
		file: "cluster/membership.go", old: "missesNeeded   = 2 ", new: "missesNeeded   = 1 ",
		tests: []string{"cluster.TestSignsOfAPeersEnd"},
	},
	{
		name: "self-fence-at-a-standstill", rule: "20", takes: "the fence of a node whose loop stood still",
		file: "cluster/judge.go", old: "	if gap > standstill {\n", new: "	if gap > 1000*standstill {\n",
		tests: []string{"cluster.TestWokenProcessFencesItselfFirst", "cluster.TestStandstillFencesItself"},
	},
	{
		name: "fenced-before-it-listens", rule: "20", takes: "that a woken process looks at the clock before it handles what waited",
		file: "cluster/membership.go", old: "	m.notice()\n	m.receive(msg)\n", new: "	m.receive(msg)\n",
		tests: []string{"cluster.TestWokenProcessFencesItselfFirst"},
	},
	{
		name: "own-heartbeats-come-back", rule: "20", takes: "the fence of a node that is connected and hears nothing",
		file: "cluster/judge.go", old: "	if connected && now.Sub(m.echoed) <= silenceAfter {\n", new: "	if connected {\n",
		tests: []string{"cluster.TestDeafNodeJudgesNobody"},
	},
	{
		name: "no-judgement-while-all-reconnect", rule: "20", takes: "counting no misses just after the node's own reconnect",
		file: "cluster/membership.go", old: " && m.now().Sub(m.reconnected) > settleAfter {", new: " {",
		tests: []string{"cluster.TestNoRespondersInContext"},
	},
	{
		name: "self-fence-when-disconnected", rule: "20", takes: "the fence of a node that is cut off",
		file: "cluster/judge.go", old: "away > disconnectedIn && !m.fenced {", new: "away > 1000*disconnectedIn && !m.fenced {",
		tests: []string{"cluster.TestDeafNodeJudgesNobody"},
	},
	{
		name: "fenced-drops-first", rule: "20", takes: "that a fenced node drops what it owned",
		file: "cluster/keeper.go", old: "		case v.fenced:\n			return endFenced\n", new: "",
		tests: []string{"cluster.TestStandstillFencesItself"},
	},
	{
		name: "a-lost-lease-ends-the-tenure", rule: "20", takes: "that an owner whose lease was taken stops",
		file: "cluster/keeper.go", old: "		case seen.lease.Mark != own.Mark:\n", new: "		case seen.lease.Mark != own.Mark && own.Epoch == 0:\n",
		tests: []string{"cluster.TestStolenLeaseEndsTheTenure"},
	},
	{
		name: "layout-is-compared", rule: "20", takes: "comparing the recorded number of partitions",
		file: "cluster/layout.go", old: "	case have.Partitions != want.Partitions:\n", new: "	case have.Partitions < 0:\n",
		tests: []string{"cluster.TestLayoutMismatchIsAStartError"}, hangs: true,
	},
	{
		name: "layout-is-recorded-once", rule: "20", takes: "recording the layout by compare-and-set",
		file: "cluster/layout.go", old: "bucket.Create(ctx, layoutKey, value)", new: "bucket.Put(ctx, layoutKey, value)",
		tests: []string{"cluster.TestLayoutMismatchIsAStartError"}, hangs: true,
	},
	{
		name: "released-only-in-order", rule: "20", takes: "that only an orderly end releases the lease",
		file: "cluster/keeper.go", old: "	if !inTime || k.panicked.Load() {\n", new: "	if !inTime && k.partition < 0 {\n",
		tests: []string{"cluster.TestStubbornActorIsStopped"},
	},
	{
		name: "released-after-the-last-checkpoint", rule: "20", takes: "the last checkpoint of a planned release",
		file: "actors/partition.go",
		old:  "	if !p.releasing.IsZero() && p.led != nil && !p.committing {\n", new: "	if !p.releasing.IsZero() && p.led == nil && !p.committing {\n",
		tests: []string{"actors.TestPlannedRelease"},
	},
	{
		name: "released-when-the-actor-has-ended", rule: "20", takes: "waiting for the actor's end before the lease is released",
		file: "cluster/keeper.go", old: "	inTime := k.awaitEnd(ended, k.node.opts.HandOver)\n", new: "	inTime := true\n",
		tests: []string{"cluster.TestStubbornActorIsStopped"},
	},
	{
		name: "placement-is-even", rule: "20", takes: "the bound of what one worker may own",
		file: "cluster/placement.go", old: "load[x.worker] < room {", new: "load[x.worker] < 1000*room {",
		tests: []string{"cluster.TestPlacementSpreads"},
	},
}
