package main

// dueMutants take out what keeps answers that wait: the grants, the clock and the due index of DESIGN §3 rule 18, and the re-drive of
// rule 19 in the user's actor.
var dueMutants = []mutant{
	{
		name: "row-before-settling", rule: "18", takes: "writing a row before the entry is settled that called for it",
		file: "actors/due.go", old: "		if !has || due.UnixMilli() < had {\n", new: "		if !has && had != 0 {\n",
		tests: []string{"actors.TestDueIndex"},
	},
	{
		name: "settlement-behind-the-row", rule: "18", takes: "that an entry is settled only once its own row is in the store",
		file: "actors/due.go", old: "		case w.err == nil && s.dirty: ", new: "		case w.err == nil && s.dirty && p.stopped: ",
		tests: []string{"actors.TestRowThatCameMeanwhile"},
	},
	{
		name: "later-settlement-waits-too", rule: "18", takes: "that a later settlement of a user waits for the row of an earlier one",
		file:  "actors/due.go",
		old:   "	if slices.ContainsFunc(p.due.held, func(h heldSettle) bool { return h.shard == shard }) {\n",
		new:   "	if p.stopped {\n",
		tests: []string{"actors.TestLaterSettlementWaitsForTheRow"},
	},
	{
		name: "shard-in-the-checkpoint", rule: "18", takes: "noting in the checkpoint which records of rows there are",
		file: "actors/due.go", old: "			p.due.bits |= 1 << w.shard\n", new: "",
		tests: []string{"actors.TestDueIndex"},
	},
	{
		name: "shards-written-with-the-checkpoint", rule: "18", takes: "writing them with each checkpoint",
		file: "actors/partition_checkpoint.go", old: "	next.Due = p.due.bits\n", new: "	next.Due = 0\n",
		tests: []string{"actors.TestDueIndex"},
	},
	{
		name: "shards-of-the-tenure-before", rule: "18", takes: "keeping those of the owner before",
		file: "actors/due.go", old: "	p.due.bits = p.cp.Due\n", new: "",
		tests: []string{"actors.TestDueOverTwoTakeovers"},
	},
	{
		name: "shards-of-a-replaced-log", rule: "18", takes: "keeping them over a log that was replaced",
		file: "actors/takeover.go", old: "FloorNS: c.FloorNS, Due: c.Due}", new: "FloorNS: c.FloorNS}",
		tests: []string{"actors.TestDueOverAReplacedLog"},
	},
	{
		name: "rows-loaded-at-takeover", rule: "18", takes: "loading the rows at takeover",
		file:  "actors/due.go",
		old:   "		if p.cp.Due&(1<<shard) == 0 {\n",
		new:   "		if p.cp.Due&(1<<shard) == 0 || shard >= 0 {\n",
		tests: []string{"actors.TestDueIndex"},
	},
	{
		name: "row-behind-a-lost-answer", rule: "18", takes: "writing the rows over what a write with an unknown outcome left",
		file:  "actors/due.go",
		old:   "		if now, err = p.Store.Load(ctx, p.dueKey(shard)); err == nil {\n",
		new:   "		if now, err = base, state.ErrUnavailable; err == nil {\n",
		tests: []string{"actors.TestRowsOfUnknownOutcome"},
	},
	{
		name: "woken-again", rule: "18", takes: "waking a user again whose row is still due",
		file: "actors/due.go", old: "now.Sub(p.due.woken[user]) < wakeAgain {", new: "!p.due.woken[user].IsZero() {",
		tests: []string{"actors.TestWokenAgain"},
	},
	{
		name: "wake-goes-on", rule: "18", takes: "that a wake-up goes on with what a former activation had begun",
		file:  "actors/push.go",
		old:   "	if key, ok := u.st.Unfinished(); ok { ",
		new:   "	if key, ok := u.st.Unfinished(); ok && u.stopped { ",
		tests: []string{"actors.TestWakeOverACrash"},
	},
	{
		name: "long-wait-is-a-row", rule: "18", takes: "making a row of a wait that is known to be long",
		file: "actors/push.go", old: "	if retry.Sub(now) > longWait || now.Sub(u.waiting)", new: "	if now.Sub(u.waiting)",
		tests: []string{"actors.TestDueIndex"},
	},
	{
		name: "endless-wait-is-a-row", rule: "18", takes: "making a row of a wait that has become long",
		file: "actors/push.go", old: "longWait || now.Sub(u.waiting) > longWait ||", new: "longWait ||",
		tests: []string{"actors.TestPushOutage"},
	},
	{
		name: "waiting-hinders-no-release", rule: "18", takes: "that what only waits for WeChat's API holds up no release",
		file: "actors/partition.go", old: "			n -= len(r.entries)\n", new: "			n -= 0 * len(r.entries)\n",
		tests: []string{"actors.TestPushRelease"},
	},
	{
		name: "tried-again-by-the-clock", rule: "18", takes: "the alarm for the next try of a push",
		file: "actors/clock.go", old: "			note(u.retry)\n", new: "			note(time.Time{})\n",
		tests: []string{"actors.TestPushFates"},
	},
	{
		name: "due-when-it-expires", rule: "18", takes: "that the end of a kept answer's time is due like everything else",
		file: "conversation/push.go", old: "		if limits.KeptFor > 0 {\n", new: "		if limits.KeptFor < 0 {\n",
		tests: []string{"actors.TestKeptAnswersExpire", "conversation.TestScripts"},
	},
	{
		name: "every-kept-answer-expires", rule: "18", takes: "looking behind the first kept answer for those that grew too old",
		file:  "conversation/compose.go",
		old:   "in time\", now)\n		} else {\n			i++\n",
		new:   "in time\", now)\n		} else {\n			break\n",
		tests: []string{"conversation.TestScripts"},
	},
	{
		name: "no-push-no-wait", rule: "18", takes: "the dead letter for what only a push could carry, where the account may not push any more",
		file: "conversation/compose.go", old: "	if !limits.Push {\n		s = s.buryAPIOnly(now)\n	}\n", new: "",
		tests: []string{"conversation.TestScripts"},
	},
	{
		name: "grant-is-used", rule: "18", takes: "counting what was sent under a grant",
		file: "conversation/grants.go", old: "	s.Grants[i].Left--\n", new: "",
		tests: []string{"conversation.TestScripts", "actors.TestPushGrant"},
	},
	{
		name: "grant-before-the-call", rule: "18", takes: "that no call is made without a grant",
		file:  "conversation/push.go",
		old:   "	if s, ok = s.useGrant(now); !ok {\n",
		new:   "	if s, ok = s.useGrant(now); !ok && !found {\n",
		tests: []string{"actors.TestPushGrant"},
	},
	{
		name: "grant-is-given-back", rule: "18", takes: "giving back the grant of what WeChat did not take",
		file: "conversation/push.go", old: "	return s.change(p).refund(now)\n", new: "	return s.change(p)\n",
		tests: []string{"conversation.TestScripts"},
	},
	{
		name: "no-grant-beyond-its-count", rule: "18", takes: "that no more is given back than was taken",
		file: "conversation/grants.go", old: "		if whole(g) || g.UntilMS", new: "		if g.UntilMS",
		tests: []string{"conversation.TestScripts"},
	},
	{
		name: "grant-ends", rule: "18", takes: "the end of a grant's time",
		file:  "conversation/grants.go",
		old:   "		if g.Left <= 0 || g.UntilMS <= now.UnixMilli() {\n",
		new:   "		if g.Left <= 0 {\n",
		tests: []string{"conversation.TestScripts"},
	},
	{
		name: "grant-from-when-it-was-written", rule: "18", takes: "that a grant begins when the user wrote, not when it was read",
		file:  "conversation/grants.go",
		old:   "	from := min(a.created()*1000, now.UnixMilli())\n",
		new:   "	from := now.UnixMilli()\n",
		tests: []string{"conversation.TestScripts"},
	},
	{
		name: "no-grant-by-a-re-drive", rule: "18", takes: "that a dead letter which is run again opens no grant",
		file: "conversation/grants.go", old: "	if !ok || a.Late {", new: "	if !ok {",
		tests: []string{"conversation.TestScripts"},
	},
	{
		name: "grants-by-kind", rule: "18", takes: "that a menu, a scan or a new follower opens a minute alone",
		file: "messages/grant.go", old: "		return 3, time.Minute, true\n", new: "		return 5, 48 * time.Hour, true\n",
		tests: []string{"messages.TestGrant"},
	},
	{
		name: "closed-window-is-believed", rule: "18", takes: "believing WeChat that the user cannot be sent anything",
		file:  "conversation/push.go",
		old:   "	return s.NotSent(key, now).noGrants().Retire(",
		new:   "	return s.NotSent(key, now).Retire(",
		tests: []string{"conversation.TestScripts"},
	},
	{
		name: "taken-up-before-it-runs", rule: "19", takes: "that only the entry runs which took the letter up",
		file: "actors/push.go", old: "	if !taken {\n", new: "	if !taken && u.stopped {\n",
		tests: []string{"actors.TestRedriveHasOneWinner"},
	},
	{
		name: "trouble-is-no-refusal", rule: "19", takes: "trying again to take up a letter where nobody knows whether it was",
		file:  "actors/push.go",
		old:   "	if err != nil {\n		u.fail(ctx, \"take a dead letter up\", err)\n		return\n	}\n",
		new:   "",
		tests: []string{"actors.TestRedriveOfALogInTrouble"},
	},
	{
		name: "each-letter-has-its-own-key", rule: "19", takes: "telling apart the letters of one message's answers",
		file: "messages/key.go", old: "sha256.Sum256(append(data, letter...))", new: "sha256.Sum256(data)",
		tests: []string{"actors.TestRedriveEachLetterOfAMessage"},
	},
	{
		name: "entry-known-by-its-id", rule: "19", takes: "that the entry which took a letter up is known in another log too",
		file: "messages/key.go", old: "	if r.GetEntry() != \"\" || other.GetEntry() != \"\" {\n", new: "	if r == other {\n",
		tests: []string{"messages.TestSameEntry"},
	},
	{
		name: "re-driven-is-never-passive", rule: "19", takes: "that the answer of a dead letter is no passive reply of its own",
		file: "conversation/push.go", old: "	a.Late = true\n", new: "",
		tests: []string{"conversation.TestScripts"},
	},
	{
		name: "re-drive-is-no-flood", rule: "19", takes: "that a re-driven letter is never dropped as a flood",
		file:  "actors/user.go",
		old:   " && source == messages.Source_SOURCE_CALLBACK {\n			u.drop(",
		new:   " {\n			u.drop(",
		tests: []string{"actors.TestRedriveIsNoFlood"},
	},
	{
		name: "letter-of-a-gone-account", rule: "19", takes: "that a re-drive for an account that is gone makes no second letter",
		file: "actors/partition.go", old: "	if !own && !in.ForUser() || own && !known { ", new: "	if !own && !in.ForUser() { ",
		tests: []string{"actors.TestRedriveOfAGoneAccount"},
	},
	{
		name: "pushed-keys-are-known", rule: "10", takes: "that a message is known for as long as its answer is being pushed",
		file:  "conversation/step.go",
		old:   "	if p, ok := s.Pushing(key); ok && p.Answered {\n",
		new:   "	if p, ok := s.Pushing(key); ok && p.Answered && !ok {\n",
		tests: []string{"conversation.TestKeysOfPushesAreKnown"},
	},
	{
		name: "fenced-before-a-late-offer", rule: "8", takes: "the compare-and-set before an answer is offered that was committed a while ago",
		file: "actors/turn.go", old: "	return u.fenced == u.mails || u.write(ctx, u.st)\n", new: "	return u.fenced <= u.mails\n",
		tests: []string{"actors.TestStaleOwnerOffersNothing"},
	},
	{
		name: "a-notice-is-about-its-user", rule: "10", takes: "telling apart the platform's notices of one second about different users",
		file: "wechat/detail.go", old: "		in.OpenId = about\n", new: "",
		tests: []string{"wechat.TestDecodeFields"},
	},
}
