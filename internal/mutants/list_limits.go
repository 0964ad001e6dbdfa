package main

// limitMutants take out what keeps users, accounts and remote bots within their bounds: rates, breakers, budgets, and the chain's word
// about links that could not answer.
var limitMutants = []mutant{
	{
		name: "rate-in-the-log's-order", rule: "B", takes: "counting a message once, whoever reads it again",
		file:  "conversation/rate.go",
		old:   "	if limits.UserEvery <= 0 || a.At.Generation == s.Rate.At.Generation && !a.At.After(s.Rate.At) {\n",
		new:   "	if limits.UserEvery <= 0 {\n",
		tests: []string{"conversation.TestAdmitIsATokenBucket", "actors.TestRateOverATakeover"},
	},
	{
		name: "rate-and-its-burst", rule: "B", takes: "the bound of a burst",
		file: "conversation/rate.go", old: "	size := int64(max(burst, 1)) * int64(every)\n", new: "	size := 2 * int64(max(burst, 1)) * int64(every)\n",
		tests: []string{"conversation.TestAdmitIsATokenBucket", "actors.TestUserRate"},
	},
	{
		name: "rate-that-refills", rule: "B", takes: "that a bucket which was full stays full, and saves nothing up",
		file: "conversation/rate.go", old: "min(max(full, at), at+size)\n", new: "min(max(full, 1), at+size)\n",
		tests: []string{"conversation.TestAdmitIsATokenBucket"},
	},
	{
		name: "limited-is-an-outcome", rule: "B", takes: "recording the keys of messages over the rate",
		file:  "conversation/step.go",
		old:   "		s = s.granted(l.Kind, l.Arrival, now).remember(l.Arrival, messages.Outcome_OUTCOME_LIMITED, limits, now)\n",
		new:   "		s = s.granted(l.Kind, l.Arrival, now)\n",
		tests: []string{"conversation.TestLimitedMessagesOpenTheirGrant", "actors.TestUserRate"},
	},
	{
		name: "limited-opens-its-grant", rule: "B", takes: "that a message over the rate opens its grant",
		file:  "conversation/step.go",
		old:   "		s = s.granted(l.Kind, l.Arrival, now).remember(l.Arrival,",
		new:   "		s = s.remember(l.Arrival,",
		tests: []string{"conversation.TestLimitedMessagesOpenTheirGrant"},
	},
	{
		name: "limited-beside-the-turn", rule: "B", takes: "that messages over the rate wait for no turn",
		file:  "actors/user.go",
		old:   "			if it.limited = u.overRate(it, m.again); it.limited != \"\" {\n",
		new:   "			if it.limited = u.overRate(it, m.again); it.limited != \"\" && len(u.queue) == 0 {\n",
		tests: []string{"actors.TestLimitedBesideASlowTurn"},
	},
	{
		name: "only-what-a-user-does", rule: "B", takes: "leaving events out of the rate",
		file: "actors/rates.go", old: "it.dead != \"\" || !limitable(it.in.GetKind()) {", new: "it.dead != \"\" {",
		tests: []string{"actors.TestEventsAreNotLimited"},
	},
	{
		name: "rate-shared-out", rule: "B", takes: "sharing an account's rate out by partitions",
		file: "actors/rates.go", old: "int64(a.perWindow*share)", new: "int64(a.perWindow)",
		tests: []string{"actors.TestAccountRate"},
	},
	{
		name: "backlog-by-when-it-came", rule: "B", takes: "judging what waited by when it came",
		file: "actors/rates.go", old: "u.Share(), it.arrival.LogTime)", new: "u.Share(), it.began)",
		tests: []string{"actors.TestAccountRateOfABacklog"},
	},
	{
		name: "counted-once-in-a-tenure", rule: "B", takes: "that an entry which an activation lost is not counted again",
		file: "actors/rates.go", old: "	case !again && !u.rates", new: "	case !u.rates",
		tests: []string{"actors.TestAccountRateOverLostActivations"},
	},
	{
		name: "clock-that-was-ahead", rule: "B", takes: "that a clock which was ahead locks nobody out",
		file: "conversation/rate.go", old: "	full = min(max(full, at), at+size)\n", new: "	full = max(full, at)\n",
		tests: []string{"conversation.TestAdmitAfterAClockThatWasAhead"},
	},
	{
		name: "bounded-answers", rule: "B", takes: "the bound of what a turn may say",
		file: "conversation/bound.go", old: "		case size <= left:\n", new: "		case size <= left || left > 0:\n",
		tests: []string{"conversation.TestBounded", "actors.TestHugeAnswer"},
	},
	{
		name: "bounded-kept-answers", rule: "B", takes: "the bound of what waits for a user",
		file: "conversation/compose.go", old: " || size > KeptBytes {", new: " {",
		tests: []string{"conversation.TestKeptAnswersAreBounded", "actors.TestManyLongAnswers"},
	},
	{
		name: "release-beside-a-slow-bot", rule: "B", takes: "that a release does not wait for a slow bot",
		file: "actors/depart.go", old: "	u.park(ctx, true)\n", new: "",
		tests: []string{"actors.TestReleaseBesideASlowBot"},
	},
	{
		name: "refused-answers-at-a-release", rule: "B", takes: "keeping a refused answer before a planned release",
		file: "actors/depart.go", old: "it.phase == phaseCommitted && it.reply", new: "it.phase == phaseQueued && it.reply",
		tests: []string{"actors.TestReleaseKeepsARefusedAnswer"},
	},
	{
		name: "stop-of-the-only-ingress", rule: "B", takes: "that the only ingress ends what waits when it stops",
		file: "ingress/exchange.go", old: "	case x.last || parting:\n", new: "	case x.last && !parting:\n",
		tests: []string{"ingress.TestDrainOfTheOnlyIngress"},
	},
	{
		name: "letters-are-not-handed-over", rule: "B", takes: "that a re-driven letter is answered, not handed over",
		file: "actors/turn.go", old: "	if ok = ok && it.source == messages.Source_SOURCE_CALLBACK; ok {\n", new: "	if ok {\n",
		tests: []string{"actors.TestRedriveOfAUserWhoIsOwedAnAgent"},
	},
	{
		name: "answers-of-broken-bytes", rule: "B", takes: "mending texts that are no UTF-8",
		file: "conversation/bound.go", old: "!utf8.ValidString(text.GetContent()) {", new: "!utf8.ValidString(text.GetContent()) && left < 0 {",
		tests: []string{"conversation.TestBrokenBytes", "actors.TestInvalidUTF8"},
	},
	{
		name: "share-given-up", rule: "B", takes: "giving a partition's part of the rate up with the partition",
		file: "actors/partition.go", old: "	p.owned.Add(-1)\n", new: "",
		tests: []string{"actors.TestAccountRate"},
	},
	{
		name: "breaker-of-failures-in-a-row", rule: "B", takes: "that a good turn closes the user's breaker",
		file: "conversation/upstream.go", old: "		s.Breaker = Breaker{}\n", new: "		s.Breaker.UntilMS = 0\n",
		tests: []string{"actors.TestUserBreaker"},
	},
	{
		name: "breaker-that-ends", rule: "B", takes: "the end of the user's breaker",
		file:  "conversation/upstream.go",
		old:   "	return left > 0 && left <= limits.RestFor.Milliseconds()\n",
		new:   "	return s.Breaker.UntilMS > 0 && left <= limits.RestFor.Milliseconds()\n",
		tests: []string{"actors.TestUserBreaker"},
	},
	{
		name: "breaker-in-the-record", rule: "B", takes: "the user's breaker from what the next owner reads",
		file: "conversation/state.go", old: "`cbor:\"18,keyasint,omitzero\" json:\"breaker,omitzero\"`", new: "`cbor:\"-\" json:\"breaker,omitzero\"`",
		tests: []string{"actors.TestUserBreaker"},
	},
	{
		name: "budget-of-the-day", rule: "B", takes: "beginning a new day with a whole budget",
		file: "conversation/spending.go", old: "	if s.Spent.Day == DayOf(now) {\n", new: "	if s.Spent.Day > 0 {\n",
		tests: []string{"conversation.TestTokensOfADay", "actors.TestBudgets"},
	},
	{
		name: "budget-counts-broken-calls", rule: "B", takes: "counting what a call cost that was broken off",
		file: "actors/turn.go", old: "	said.Tokens = it.tokens\n", new: "",
		tests: []string{"actors.TestTokensOfABrokenCall"},
	},
	{
		name: "budget-of-the-account", rule: "B", takes: "counting what a turn cost for the account",
		file: "actors/turn.go", old: "		u.Tokens.Spend(u.name.Account, tokens)\n", new: "",
		tests: []string{"actors.TestBudgets"},
	},
	{
		name: "forgotten-conversation", rule: "B", takes: "forgetting the conversation where a bot says so",
		file: "conversation/step.go", old: "	if said.Forget {\n", new: "	if said.Forget && said.Answers == nil {\n",
		tests: []string{"actors.TestForget"},
	},
	{
		name: "hand-over-by-push", rule: "B", takes: "that no push carries a hand-over",
		file: "conversation/handover.go", old: "	if limits.HandOver == \"\" {\n", new: "	if limits.HandOver != \"\" {\n",
		tests: []string{"actors.TestHandOverWithTheNextMessage"},
	},
	{
		name: "hand-over-owed", rule: "B", takes: "handing the next message over",
		file: "actors/turn.go", old: "	case u.handsOver(ctx, it):\n", new: "",
		tests: []string{"actors.TestHandOverWithTheNextMessage"},
	},
	{
		name: "hand-over-once", rule: "B", takes: "that a user who was handed over is owed nothing more",
		file:  "conversation/step.go",
		old:   "return a.GetTransfer() != nil }) || !next.owesHandOver(limits, now) {\n",
		new:   "return a.GetTransfer() == nil }) || !next.owesHandOver(limits, now) {\n",
		tests: []string{"actors.TestHandOverWithTheNextMessage"},
	},
	{
		name: "remote-in-a-hurry", rule: "B", takes: "passing remote bots over in a hurry and while the user's breaker is open",
		file: "bots/chain.go", old: "	if asks && (t.req.Hurry || t.req.Resting) {\n", new: "	if asks && t.req.Hurry && t.req.Resting {\n",
		tests: []string{"bots.TestRemoteLinks"},
	},
	{
		name: "unavailable-is-nobody's-fault", rule: "B", takes: "that an upstream which could not be asked is not the user's fault",
		file: "bots/chain.go", old: "	case errors.Is(err, ErrUnavailable):\n		t.wanting = true\n", new: "",
		tests: []string{"bots.TestRemoteLinks"},
	},
	{
		name: "apology", rule: "B", takes: "the apology where a remote bot failed",
		file: "bots/chain.go", old: "	if t.wanting {\n", new: "	if t.wanting && len(t.tried) == 0 {\n",
		tests: []string{"bots.TestRemoteLinks"},
	},
	{
		name: "answer-or-hand-over", rule: "B", takes: "refusing an answer beside a hand-over",
		file: "bots/chain.go", old: "	if resp.HandOver != nil && len(resp.Answers) > 0 {\n", new: "	if resp.HandOver != nil && len(resp.Answers) > 1 {\n",
		tests: []string{"bots.TestHandOver"},
	},
	{
		name: "filtered-answers", rule: "B", takes: "the account's filter",
		file: "bots/chain.go", old: "			resp.Answers[i] = t.filter.Clean(t.account, a)\n", new: "			resp.Answers[i] = a\n",
		tests: []string{"bots.TestFilter"},
	},
}
