package main

// stateMutants take out what keeps the state: DESIGN §3 rules 8 to 11.
var stateMutants = []mutant{
	{
		name: "version-check-memory", rule: "8", takes: "the comparison of version and revision, in memory",
		file:  "state/memory/store.go",
		old:   "if !state.SameWrite(have.Version, base.Version) || have.Revision != base.Revision {",
		new:   "if !state.SameWrite(have.Version, base.Version) && have.Revision == 1<<63 {",
		tests: []string{"state/memory.TestConformance"},
	},
	{
		name: "epoch-check-memory", rule: "8", takes: "refusing a writer whose epoch is over, in memory",
		file: "state/memory/store.go",
		old:  "if exists && have.Version.Epoch > epoch {", new: "if exists && have.Version.Epoch > epoch && epoch == 1<<63 {",
		tests: []string{"state/memory.TestConformance"},
	},
	{
		name: "own-write-is-a-success-memory", rule: "8", takes: "recognising a write that is there already, in memory",
		file: "state/memory/store.go",
		old:  "if exists && !current.deleted && current.record.Version.WriteID == w.WriteID {", new: "if exists && w.WriteID == 0 {",
		tests: []string{"state/memory.TestConformance"},
	},
	{
		name: "version-check-jetstream", rule: "8", takes: "the server's comparison of the last sequence",
		file: "state/jetstream/publish.go", old: "	if expected != anySequence {\n", new: "	if expected != anySequence && expected == 1<<63 {\n",
		tests: []string{"state/jetstream.TestConformance"},
	},
	{
		name: "version-behind-the-sequence-jetstream", rule: "8", takes: "proving that a known sequence still is the known version",
		file: "state/jetstream/commit.go",
		old:  "return sequence, sequence != 0 && base.Revision == revision(sequence, session, base.Version)", new: "return sequence, sequence != 0",
		tests: []string{"state/jetstream.TestConformance"},
	},
	{
		name: "epoch-check-jetstream", rule: "8", takes: "refusing a writer whose epoch is over, in JetStream",
		file: "state/jetstream/commit.go", old: "	case have.Epoch > c.epoch:\n", new: "	case have.Epoch > c.epoch && c.epoch == 1<<63:\n",
		tests: []string{"state/jetstream.TestConformance"},
	},
	{
		name: "own-write-is-a-success-jetstream", rule: "8", takes: "recognising a write that is there already, in JetStream",
		file: "state/jetstream/commit.go", old: "	if c.done(f) {\n", new: "	if c.done(f) && c.epoch == 1<<63 {\n",
		tests: []string{"state/jetstream.TestConformance"},
	},
	{
		name: "unknown-is-not-failed-jetstream", rule: "8", takes: "calling a write without an answer unknown, in JetStream",
		file:  "state/jetstream/publish.go",
		old:   "	if !errors.As(err, &refusal) {\n		return fmt.Errorf(\"%w: %w\", state.ErrUnknown, err)",
		new:   "	if !errors.As(err, &refusal) {\n		return fmt.Errorf(\"%w: %w\", state.ErrUnavailable, err)",
		tests: []string{"state/jetstream.TestConformanceFaults"},
	},
	{
		name: "giving-up-is-unknown-jetstream", rule: "8", takes: "calling a write unknown whose caller gave up under way",
		file: "state/jetstream/publish.go",
		old:  "		return 0, fmt.Errorf(\"%w: %w\", state.ErrUnknown, ctx.Err())", new: "		return 0, fmt.Errorf(\"%w: %w\", state.ErrUnavailable, ctx.Err())",
		tests: []string{"state/jetstream.TestGivingUpIsUnknown"},
	},
	{
		name: "version-check-redis", rule: "8", takes: "the script's comparison of incarnation, number and write id",
		file: "state/redis/change.lua", old: "elseif not alive or id ~= base then", new: "elseif not alive then",
		tests: []string{"state/redis.TestConformance"},
	},
	{
		name: "epoch-check-redis", rule: "8", takes: "refusing a writer whose epoch is over, in the script",
		file: "state/redis/change.lua", old: "if higher(string.sub(head, 19, 26), writer) or higher(fence, writer) then", new: "if higher(fence, writer) then",
		tests: []string{"state/redis.TestConformance"},
	},
	{
		name: "checkpoints-epoch-redis", rule: "8", takes: "the comparison with the checkpoint's epoch for each user's write",
		file: "state/redis/change.lua", old: "if higher(string.sub(head, 19, 26), writer) or higher(fence, writer) then", new: "if higher(string.sub(head, 19, 26), writer) then",
		tests: []string{"state/redis.TestConformance"},
	},
	{
		name: "own-write-is-a-success-redis", rule: "8", takes: "recognising a write that is there already, in the script",
		file: "state/redis/change.lua", old: "  found = alive and string.sub(head, 27, 34) == string.sub(new, 27, 34)", new: "  found = false",
		tests: []string{"state/redis.TestConformance"},
	},
	{
		name: "unknown-is-not-failed-redis", rule: "8", takes: "calling a write that was sent and not answered unknown",
		file: "state/redis/errors.go", old: "		if sent {\n			return fmt.Errorf(\"%w: %w\", state.ErrUnknown, err)", new: "		if sent {\n			return fmt.Errorf(\"%w: %w\", state.ErrUnavailable, err)",
		tests: []string{"state/redis.TestConformanceFaults"},
	},
	{
		name: "unknown-outcome-drops-the-activation", rule: "8", takes: "that a commit of unknown outcome ends the activation",
		file: "actors/turn.go",
		old:  "	if err != nil {\n		u.metrics.commitErrors", new: "	if err != nil && !errors.Is(err, state.ErrUnknown) {\n		u.metrics.commitErrors",
		tests: []string{"actors.TestCommitFaults"},
	},
	{
		name: "not-committed-by-a-won-comparison", rule: "8", takes: "the commit that proves, before an offer, that its answer was not given up",
		file: "actors/turn.go", old: "	return u.fenced == u.mails || u.write(ctx, u.st)\n", new: "	return u.stopped || ctx != nil\n",
		tests: []string{"actors.TestCommitLandsAfterItsActivation", "actors.TestStaleOwnerOffersNothing"},
	},
	{
		name: "stale-owner-steps-down", rule: "8", takes: "that an owner whose write was refused as stale steps down",
		file: "actors/partition.go", old: "		p.stepDown(ctx, \"a later owner has written\", m.err)\n", new: "",
		tests: []string{"actors.TestStaleOwnerStepsDown"}, hangs: true,
	},
	{
		name: "own-checkpoint-is-a-success", rule: "8", takes: "recognising a checkpoint whose acknowledgement got lost",
		file: "actors/partition_checkpoint.go",
		old:  "if errors.Is(err, state.ErrConflict) && len(ours) > 0 {", new: "if errors.Is(err, state.ErrConflict) && len(ours) > 1000 {",
		tests: []string{"actors.TestCheckpointWithoutAnswer"},
	},
	{
		name: "repair-from-memory", rule: "9", takes: "repairing a store that lost writes",
		file: "actors/repair.go",
		old:  "if !errors.Is(err, state.ErrConflict) || base.Version == (state.Version{}) {", new: "if err == nil || base.Version.Number < 1<<63 {",
		tests: []string{"actors.TestStoreThatLostAUserIsRepaired"},
	},
	{
		name: "repair-is-counted", rule: "9", takes: "the counter, and with it the alarm, of a repair",
		file: "actors/repair.go", old: "		s.metrics.repaired(key)\n", new: "",
		tests: []string{"actors.TestStoreThatLostAUserIsRepaired"},
	},
	{
		name: "only-what-is-behind-is-repaired", rule: "9", takes: "telling a store that is behind from one that went on",
		file: "state/check.go",
		old:  "(found.Incarnation == held.Incarnation && found.Number < held.Number)", new: "found.Number > 0",
		tests: []string{"actors.TestOtherWriterIsNotRepairedAway"},
	},
	{
		name: "lost-checkpoint-compares-users", rule: "9", takes: "comparing everybody's record when a checkpoint was lost",
		file: "actors/partition_checkpoint.go", old: "		if r.repaired {\n", new: "		if r.repaired && p.stopped {\n",
		tests: []string{"actors.TestStoreThatLostTheCheckpointIsRepaired"},
	},
	{
		name: "dedupe-key", rule: "10", takes: "recording the key of what was committed",
		file: "conversation/step.go",
		old:  "	keys := s.Keys.with(KnownKey{Key: a.Key, Outcome: o, LogTime: a.LogTime})", new: "	keys := s.Keys",
		tests: []string{"actors.TestLateAnswerIsKept", "conversation.TestScripts"},
	},
	{
		name: "duplicates-are-looked-up", rule: "10", takes: "looking a message up among the known keys",
		file: "conversation/step.go", old: "	if k, ok := s.Keys.Find(a.Key); ok {\n", new: "	if k, ok := s.Keys.Find(a.Key); ok && now.IsZero() {\n",
		tests: []string{"actors.TestLateAnswerIsKept", "conversation.TestScripts"},
	},
	{
		name: "key-has-the-sender", rule: "10", takes: "the sender in the dedupe key",
		file: "messages/key.go", old: "	put(in.GetOpenId())\n", new: "",
		tests: []string{"messages.TestDedupeKeyTellsApart"},
	},
	{
		name: "keys-are-retained", rule: "10", takes: "the time for which keys are kept",
		file: "conversation/step.go", old: "a.LogTime.Add(-limits.KeyRetention)", new: "a.LogTime",
		tests: []string{"conversation.TestScripts"},
	},
	{
		name: "retention-covers-the-window", rule: "10", takes: "that keys outlive the clock-skew window",
		file: "conversation/limits.go", old: "return max(2*maxClockSkew, MinKeyRetention)", new: "return MinKeyRetention + 0*maxClockSkew",
		tests: []string{"conversation.TestRetentionFor"},
	},
	{
		name: "keys-are-bounded", rule: "10", takes: "the bound of a user's keys",
		file: "conversation/keyring.go", old: "	for r.Len()-drop > MaxKeys {\n", new: "	for r.Len()-drop > 1<<20 {\n",
		tests: []string{"conversation.TestScripts"},
	},
	{
		name: "early-eviction-sets-a-horizon", rule: "10", takes: "the horizon below which unknown keys are dead letters",
		file: "conversation/step.go", old: "ms := horizon.UnixMilli(); !horizon.IsZero() && ms > s.HorizonMS {", new: "ms := horizon.UnixMilli(); false {",
		tests: []string{"conversation.TestScripts"},
	},
	{
		name: "replay-of-a-forgotten-key", rule: "10", takes: "the dead letter for a replay whose key may have been forgotten early",
		file: "conversation/step.go", old: "if s.HorizonMS > 0 && a.created()*1000", new: "if s.HorizonMS > 1<<62 && a.created()*1000",
		tests: []string{"conversation.TestScripts"},
	},
	{
		name: "unsettled-keys-are-known", rule: "10", takes: "knowing a message under way whatever its ring of keys forgot",
		file: "conversation/step.go", old: "	if o, ok := s.underWay(a.Key); ok {\n", new: "	if o, ok := s.underWay(a.Key); ok && now.IsZero() {\n",
		tests: []string{"conversation.TestUnsettledKeysAreKnown"},
	},
	{
		name: "recorded-answers-stay", rule: "10", takes: "keeping a recorded answer for a minute after it was settled",
		file: "conversation/step.go", old: "		drop := settled > settledAnswers || r.AtMS < cutoff\n", new: "		drop := settled > 0 || r.AtMS < cutoff\n",
		tests: []string{"conversation.TestScripts"},
	},
	{
		name: "later-repeats-get-success", rule: "10", takes: "that an answer is not given again a minute after it was settled",
		file: "actors/user.go", old: "	if settled && it.began.UnixMilli()-recorded.AtMS > ", new: "	if settled && it.began.UnixMilli()-recorded.AtMS > 1000*",
		tests: []string{"actors.TestDeliveriesJoinTheTurn"},
	},
	{
		name: "deliveries-join", rule: "10", takes: "that a delivery joins the turn of its message",
		file: "actors/user.go", old: "	if it := u.find(a.Key); it != nil {\n", new: "	if it := u.find(a.Key); it != nil && u.stopped {\n",
		tests: []string{"actors.TestDeliveriesJoinTheTurn"},
	},
	{
		name: "barrier-behind-the-log-write", rule: "11", takes: "the fsync between the log's word and the acceptance",
		file: "stream/publish.go", old: "	if l.opts.Barrier == nil {\n", new: "	if l.opts.Barrier == nil || !began.IsZero() {\n",
		tests: []string{"stream.TestBarrierStandsBehindThePublish"},
	},
	{
		name: "barrier-before-the-offer", rule: "11", takes: "the fsync between a commit and its answer",
		file: "actors/turn.go", old: "	if u.Barrier != nil {\n", new: "	if u.Barrier != nil && u.stopped {\n",
		tests: []string{"actors.TestBarrierComesBeforeTheOffer"},
	},
	{
		name: "barrier-behind-a-former-commit", rule: "11", takes: "the fsync behind what a former activation committed",
		file: "actors/turn.go", old: "	if u.synced {\n", new: "	if u.synced || !u.stopped {\n",
		tests: []string{"actors.TestBarrierBehindAFormerCommit"},
	},
	{
		name: "released-only-by-an-fsync", rule: "11", takes: "that callers wait for an fsync that began after they asked",
		file:  "stream/groupsync/barrier.go",
		old:   "		if err == nil {\n			took, err = b.fsync(r.waiters)\n		}\n		r.err = err\n		close(r.done)\n",
		new:   "		close(r.done)\n		if err == nil {\n			took, err = b.fsync(r.waiters)\n		}\n",
		tests: []string{"stream/groupsync.TestNobodyIsReleasedTooEarly"},
	},
	{
		name: "replicas-are-waited-for-redis", rule: "11", takes: "that a write which too few replicas have is unknown",
		file: "state/redis/batch.go", old: "	if err == nil && n >= int64(b.replicas) {", new: "	if err == nil && n >= 0*int64(b.replicas) {",
		tests: []string{"state/redis.TestReplicasAreWaitedFor"},
	},
	{
		name: "failed-fsync-is-final", rule: "11", takes: "that a failed fsync is never followed by a success",
		file: "stream/groupsync/barrier.go", old: "	if b.refused == nil {\n		b.refused = err\n	}\n	return took, err", new: "	return took, err",
		tests: []string{"stream/groupsync.TestFailureIsFinal"},
	},
	{
		name: "settled-by-a-proven-owner", rule: "8", takes: "that an activation wins a compare-and-set before it settles anything",
		file: "actors/user.go", old: "	if !u.proven && u.rec.Version", new: "	if u.stopped && u.rec.Version",
		tests: []string{"actors.TestRepeatsKeepFormerOwnersOut"},
	},
}
