package main

// readingMutants take out what keeps the reading of the log: DESIGN §3 rules 1 to 7.
func readingMutants() []mutant {
	return []mutant{
		{
			name: "feed-new-activation", rule: "1", takes: "feeding a new activation everything that is unsettled",
			file:  "actors/residents.go",
			old:   "	for _, rec := range r.entries {\n		ctx.Send(r.pid, p.delivery(rec))",
			new:   "	for _, rec := range r.entries[max(len(r.entries)-1, 0):] {\n		ctx.Send(r.pid, p.delivery(rec))",
			tests: []string{"actors.TestCommitFaults"},
		},
		{
			name: "start-lost-activation-again", rule: "1", takes: "starting another actor for a user whose entries wait",
			file:  "actors/residents.go",
			old:   "if r.pid == nil && len(r.entries) > 0 && !now.Before(r.respawn) {",
			new:   "if r.pid == nil && len(r.entries) > 0 && now.IsZero() {",
			tests: []string{"actors.TestCommitFaults"},
		},
		{
			name: "only-turns-move-the-position", rule: "2", takes: "that a burial out of order is recorded by key alone",
			file: "conversation/step.go",
			old:  "	if inOrder {\n", new: "	if inOrder || !inOrder {\n",
			tests: []string{"conversation.TestScripts"},
		},
		{
			name: "drops-move-no-position", rule: "2", takes: "that a dropped message is recorded by key alone",
			file:  "conversation/step.go",
			old:   "		s = s.remember(a, messages.Outcome_OUTCOME_DROPPED_FLOOD",
			new:   "		s = s.apply(a).remember(a, messages.Outcome_OUTCOME_DROPPED_FLOOD",
			tests: []string{"conversation.TestScripts"},
		},
		{
			name: "last-applied-position", rule: "2", takes: "the comparison with the last applied position",
			file: "conversation/step.go",
			old:  "	if !s.hasPassed(a) {\n", new: "	if !s.hasPassed(a) || a.At.Sequence > 0 {\n",
			tests: []string{"conversation.TestScripts", "actors.TestOldEntriesInANewGeneration"},
		},
		{
			name: "never-a-silent-skip", rule: "2", takes: "the dead letter for an entry whose key ought to be known",
			file: "conversation/step.go",
			old:  "if now.Sub(a.LogTime) > limits.KeyRetention {", new: "if now.Sub(a.LogTime) > 0 {",
			tests: []string{"conversation.TestScripts"},
		},
		{
			name: "epoch-in-the-checkpoint", rule: "3", takes: "the new epoch's compare-and-set into the checkpoint",
			file:  "actors/takeover.go",
			old:   "		Epoch: t.Epoch, WriteID: o.Random(), Incarnation: o.Random(), Value: value,\n	})\n	if err != nil {\n		return s, fmt.Errorf(\"put epoch",
			new:   "		Epoch: s.rec.Version.Epoch, WriteID: o.Random(), Incarnation: o.Random(), Value: value,\n	})\n	if err != nil {\n		return s, fmt.Errorf(\"put epoch",
			tests: []string{"actors.TestFormerOwnersCheckpointIsRefused"},
		},
		{
			name: "step-down-when-refused", rule: "3", takes: "that an owner whose checkpoint is refused steps down",
			file: "actors/partition_checkpoint.go",
			old:  "		p.stepDown(ctx, \"its checkpoint belongs to a later owner\", r.err)\n", new: "",
			tests: []string{"actors.TestFormerOwnersCheckpointIsRefused"}, hangs: true,
		},
		{
			name: "read-from-the-floor", rule: "3", takes: "reading from the floor and not from the newest entry",
			file: "actors/takeover.go",
			old:  "stream.Start{Sequence: c.Floor + 1}", new: "stream.Start{Sequence: c.Newest + 1}",
			tests: []string{"actors.TestSettledAboveTheFloorIsLeftOut", "actors.TestDeadlyEntry"},
		},
		{
			name: "leave-out-what-is-settled", rule: "3", takes: "leaving out what was settled above the floor",
			file: "actors/ledger.go",
			old:  "settledBefore = len(l.done) > 0 && l.done[0] == m.Sequence", new: "settledBefore = false",
			tests: []string{"actors.TestSettledAboveTheFloorIsLeftOut"},
		},
		{
			name: "checkpoint-after-commit", rule: "3", takes: "that an entry is settled only by the commit that covers it",
			file:  "actors/partition.go",
			old:   "	p.readUpTo, p.readTime = rec.Sequence, rec.LogTime\n",
			new:   "	p.readUpTo, p.readTime = rec.Sequence, rec.LogTime\n	p.led.settle(rec.Sequence)\n	p.soil()\n",
			tests: []string{"actors.TestSettledAboveTheFloorIsLeftOut"},
		},
		{
			name: "settle-after-commit", rule: "3", takes: "that a turn is settled only behind its commit",
			file:  "actors/turn.go",
			old:   "	if !u.commit(ctx, next) {\n		return\n	}\n	// COMMIT POINT",
			new:   "	u.finish(ctx, it, \"\")\n	if !u.commit(ctx, next) {\n		return\n	}\n	// COMMIT POINT",
			tests: []string{"actors.TestCommitFaults"},
		},
		{
			name: "missing-checkpoint-is-an-error", rule: "3", takes: "the start error for a log without its checkpoint",
			file: "actors/takeover.go",
			old:  "		if full {\n", new: "		if full && o == nil {\n",
			tests: []string{"actors.TestMissingCheckpoint"},
		},
		{
			name: "same-log-at-takeover", rule: "4", takes: "reading the newest entry back at takeover",
			file: "actors/takeover.go",
			old:  "s.replaced = !holds", new: "s.replaced = !holds && o == nil",
			tests: []string{"actors.TestLostTail"},
		},
		{
			name: "same-log-every-second", rule: "4", takes: "reading the newest entry back every second",
			file:  "actors/partition_time.go",
			old:   "holds, err := p.Log.Holds(ctx, p.tenure.Partition, newest); err == nil && !holds {",
			new:   "holds, err := p.Log.Holds(ctx, p.tenure.Partition, newest); err == nil && !holds && ctx == nil {",
			tests: []string{"actors.TestLostTail"}, hangs: true,
		},
		{
			name: "same-log-after-a-reconnect", rule: "4", takes: "reading the last entry back after a broken reader",
			file: "actors/pump.go",
			old:  "			if herr == nil && !holds {", new: "			if herr == nil && !holds && ctx == nil {",
			tests: []string{"actors.TestLogReplacedBehindABrokenReader"},
		},
		{
			name: "new-generation", rule: "4", takes: "counting a replaced log as a new generation",
			file: "actors/takeover.go",
			old:  "Generation: c.Generation + 1,", new: "Generation: c.Generation,",
			tests: []string{"actors.TestLostTail"},
		},
		{
			name: "read-a-replaced-log-by-time", rule: "4", takes: "reading a replaced log again from before the floor's time",
			file: "actors/takeover.go",
			old:  "Add(-replayBefore)", new: "Add(replayBefore)",
			tests: []string{"actors.TestLostTail"},
		},
		{
			name: "newest-entry-by-its-time", rule: "4", takes: "comparing the log time of the entry that is read back",
			file: "stream/mark.go",
			old:  "	return msg.Time.Equal(m.LogTime), nil", new: "	return !msg.Time.IsZero(), nil",
			tests: []string{"stream.TestLogSurvivesRestart"},
		},
		{
			name: "crash-counter", rule: "5", takes: "counting unplanned takeovers",
			file: "actors/careful.go", old: "	c.Crashes++\n", new: "",
			tests: []string{"actors.TestDeadlyEntry"},
		},
		{
			name: "careful-batches", rule: "5", takes: "handing over in ever smaller batches after crashes",
			file: "actors/careful.go", old: "case crashes < 3:", new: "case crashes < 1000:",
			tests: []string{"actors.TestDeadlyEntry"},
		},
		{
			name: "named-before-handed-over", rule: "5", takes: "naming a batch in the checkpoint before it is handed over",
			file:  "actors/careful.go",
			old:   "if named := p.cp; named.name(first, last, p.tenure.Mark) {",
			new:   "if named := p.cp; named.name(first, last, p.tenure.Mark) && first == 0 {",
			tests: []string{"actors.TestDeadlyEntry"},
		},
		{
			name: "deadly-after-two-deaths", rule: "5", takes: "the dead letter for an entry named alone at two deaths",
			file: "actors/careful.go",
			old:  "if first == last && p.cp.NamedCount >= deadlyAfter {", new: "if first == last && first == 0 {",
			tests: []string{"actors.TestDeadlyEntry"},
		},
		{
			name: "crash-counter-is-cleared", rule: "5", takes: "clearing the counter once the floor has passed",
			file: "actors/partition_checkpoint.go",
			old:  "if next.Crashes > 0 && p.led.passed(", new: "if next.Crashes > 1000 && p.led.passed(",
			tests: []string{"actors.TestDeadlyEntry"},
		},
		{
			name: "planned-takeover-is-no-crash", rule: "5", takes: "telling an orderly release from a crash",
			file: "actors/takeover.go", old: "s.crashed = !s.cp.Clean", new: "s.crashed = true",
			tests: []string{"actors.TestPlannedRelease"},
		},
		{
			name: "only-its-own-deaths", rule: "5", takes: "counting a death only for an owner that had named the entry",
			file: "actors/careful.go", old: " && c.NamedBy == c.Mark {", new: " {",
			tests: []string{"actors.TestFailedTakeoverKillsNoEntry"},
		},
		{
			name: "pump-stops-at-unsettled", rule: "6", takes: "the bound of entries under way",
			file: "actors/partition.go", old: "p.led.unsettled-p.idle >= maxUnsettled ||", new: "p.led.unsettled-p.idle >= 1<<30 ||",
			tests: []string{"actors.TestFullPartitionStopsReading"},
		},
		{
			name: "pump-stops-above-the-floor", rule: "6", takes: "the bound of entries above the floor",
			file: "actors/partition.go", old: "len(p.led.entries)-p.idle >= maxAboveFloor", new: "len(p.led.entries)-p.idle >= 1<<30",
			tests: []string{"actors.TestGateAboveTheFloor"},
		},
		{
			name: "pump-stops-at-a-full-mailbox", rule: "6", takes: "the bound of entries that lie unread in the mailbox",
			file: "actors/pump.go", old: "for g.shut.Load() || g.ahead.Load() >= maxAhead {", new: "for g.shut.Load() {",
			tests: []string{"actors.TestGate"},
		},
		{
			name: "waiting-entries-do-not-stop-the-pump", rule: "6", takes: "leaving out of the bound who only waits for a redelivery",
			file: "actors/partition.go", old: "p.led.unsettled-p.idle >= maxUnsettled ||", new: "p.led.unsettled >= maxUnsettled ||",
			tests: []string{"actors.TestFullPartitionStopsReading"},
		},
		{
			name: "fallback-above-half", rule: "6", takes: "the fallback for new slow turns above half of the bound",
			file: "actors/partition.go", old: "return p.led.unsettled > maxUnsettled/2", new: "return p.led.unsettled > maxUnsettled*2",
			tests: []string{"actors.TestBusyPartitionHurries"},
		},
		{
			name: "the-floor-first", rule: "6", takes: "cutting short the slow turn that holds the floor",
			file: "actors/partition_time.go", old: "		p.hurryFloor(ctx)\n	}\n	p.letGo", new: "	}\n	p.letGo",
			tests: []string{"actors.TestBusyPartitionHurries"},
		},
		{
			name: "bound-of-one-user", rule: "6", takes: "the bound of one user's queue",
			file: "actors/user.go", old: "if len(u.queue) >= maxQueued && m.dead == \"\" {", new: "if len(u.queue) >= 1<<30 && m.dead == \"\" {",
			tests: []string{"actors.TestFlood", "actors.TestFloodBehindAWaitingMessage"},
		},
		{
			name: "unreadable-record-ends", rule: "6", takes: "the end of messages whose user's record cannot be read",
			file: "actors/residents.go", old: "if r == nil || r.failures < unreadableAfter || p.stopped {", new: "if r == nil || r.failures < 1<<30 || p.stopped {",
			tests: []string{"actors.TestUnreadableRecord"},
		},
		{
			name: "purge-strictly-below-the-floor", rule: "7", takes: "leaving the floor's own entry when purging",
			file: "actors/partition_time.go", old: "below := p.cp.Floor\n", new: "below := p.cp.Floor + 1\n",
			tests: []string{"actors.TestPurge"},
		},
		{
			name: "purge-by-the-stored-checkpoint", rule: "7", takes: "purging only below the floor that is in the store",
			file: "actors/partition_time.go", old: "below := p.cp.Floor\n", new: "below := p.led.floor.Sequence\n",
			tests: []string{"actors.TestPurgeFollowsTheStoredCheckpoint"},
		},
		{
			name: "purge-one-partition", rule: "7", takes: "purging by the partition's own subject",
			file: "stream/mark.go", old: "jetstream.WithPurgeSubject(partitionFilter(partition))", new: "jetstream.WithPurgeSubject(inPrefix+\">\")",
			tests: []string{"stream.TestPurgeLeavesOtherPartitions"},
		},
	}
}
