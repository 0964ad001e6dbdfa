package main

// answerMutants take out what keeps the answers: DESIGN §3 rules 12 to 19, as far as they are built.
var answerMutants = []mutant{
	{
		name: "lateness-before-the-write", rule: "12", takes: "the ingress's look at the clock before it writes",
		file: "ingress/exchange.go", old: "	if x.r.Context().Err() != nil || time.Since(x.start) > writeCutOff {\n", new: "	if x.r.Context().Err() != nil {\n",
		tests: []string{"ingress.TestLateOfferIsRefused", "ingress.TestVerdictsTellTheTruth"},
	},
	{
		name: "lateness-after-the-write", rule: "12", takes: "the ingress's look at the clock after it wrote",
		file: "ingress/exchange.go", old: "err != nil || time.Since(x.start) > hangUpAfter {", new: "err != nil {",
		tests: []string{"ingress.TestWriteThatEndsLateIsUnknown"},
	},
	{
		name: "slots-verdict", rule: "12", takes: "telling a written slot from one that was refused",
		file: "ingress/exchange.go", old: "	return messages.Verdict_VERDICT_WRITTEN\n", new: "	return messages.Verdict_VERDICT_REFUSED\n",
		tests: []string{"ingress.TestOfferIsWrittenOnceAndItsVerdictKept"},
	},
	{
		name: "refused-is-not-written", rule: "12", takes: "the owner's heed of a refusal",
		file:  "actors/answer.go",
		old:   "		switch u.offer(it, d) {\n		case messages.Verdict_VERDICT_WRITTEN:\n",
		new:   "		switch u.offer(it, d) {\n		case messages.Verdict_VERDICT_WRITTEN, messages.Verdict_VERDICT_REFUSED:\n",
		tests: []string{"actors.TestLateAnswerIsKept"},
	},
	{
		name: "verdict-is-kept", rule: "12", takes: "keeping the verdict of a slot that has ended",
		file: "ingress/slots.go", old: "	t.kept.put(s.id, r, now)\n", new: "",
		tests: []string{"ingress.TestOfferIsWrittenOnceAndItsVerdictKept"},
	},
	{
		name: "verdict-is-kept-for-a-minute", rule: "12", takes: "keeping it for 60 s",
		file: "ingress/slots.go", old: "keptSpan        = 20 * time.Second", new: "keptSpan        = 10 * time.Second",
		tests: []string{"ingress.TestOfferIsWrittenOnceAndItsVerdictKept"},
	},
	{
		name: "verdict-is-about-one-answer", rule: "12", takes: "comparing the answer that a verdict is about",
		file: "ingress/slots.go", old: "	case r.answer != digest(o.GetAnswer()):\n", new: "	case r.answer != digest(o.GetAnswer()) && r.verdict == 0:\n",
		tests: []string{"ingress.TestOfferIsWrittenOnceAndItsVerdictKept", "ingress.TestOffersAtTheSameTime"},
	},
	{
		name: "slot-of-one-message", rule: "12", takes: "comparing the message that an open slot belongs to",
		file: "ingress/slots.go",
		old:  "	case string(s.key[:]) != string(o.GetKey()):\n", new: "	case string(s.key[:]) != string(o.GetKey()) && s.claimed:\n",
		tests: []string{"ingress.TestOffersThatFindNoSlot"},
	},
	{
		name: "refused-slot-is-never-written", rule: "12", takes: "ruling a slot refused before its exchange goes on without it",
		file:  "ingress/slots.go",
		old:   "	t.ruleLocked(s, ruling{verdict: messages.Verdict_VERDICT_REFUSED}, time.Now())\n	return nil, false",
		new:   "	return nil, false",
		tests: []string{"ingress.TestRefusedSlotIsNeverClaimed"},
	},
	{
		name: "gone-ingress-refuses-a-first-offer", rule: "12", takes: "that an owner's own first offer without a responder is refused",
		file:  "actors/answer.go",
		old:   "	case errors.Is(err, stream.ErrNoIngress):\n		return messages.Verdict_VERDICT_REFUSED\n",
		new:   "	case errors.Is(err, stream.ErrNoIngress):\n		return messages.Verdict_VERDICT_UNKNOWN\n",
		tests: []string{"actors.TestGoneIngressRefuses"},
	},
	{
		name: "gone-is-told-from-silent", rule: "12", takes: "telling an ingress that is gone from one that says nothing",
		file: "stream/offers.go", old: "	case errors.Is(err, nats.ErrNoResponders):\n", new: "	case errors.Is(err, nats.ErrNoResponders) && ctx == nil:\n",
		tests: []string{"stream.TestOffersTellGoneFromSilent"},
	},
	{
		name: "former-commit-is-unknown", rule: "12", takes: "that a former owner's answer without a verdict is unknown",
		file:  "actors/answer.go",
		old:   "	if it.former && v == messages.Verdict_VERDICT_REFUSED && d.slot != nil {\n",
		new:   "	if it.former && v == messages.Verdict_VERDICT_REFUSED && d.slot != nil && u.stopped {\n",
		tests: []string{"actors.TestFormerCommitIsUnknown", "actors.TestForgottenVerdict"},
	},
	{
		name: "unwritten-means-delivered-again", rule: "13", takes: "that an unknown answer counts as delivered when WeChat does not ask again",
		file: "actors/answer.go",
		old:  "	case it.unknown() && expected:\n", new: "	case it.unknown() && expected && u.stopped:\n",
		tests: []string{"actors.TestUnknownVerdict"},
	},
	{
		name: "redelivery-proves-it", rule: "13", takes: "that a redelivery proves the one before was not answered",
		file:  "actors/answer.go",
		old:   "		if d.unknown && !slices.ContainsFunc(it.deliveries[i+1:], gaveUp) {\n",
		new:   "		if d.unknown && !slices.ContainsFunc(it.deliveries[len(it.deliveries):], gaveUp) && i >= 0 {\n",
		tests: []string{"actors.TestRedeliverySettlesTheUnknown"},
	},
	{
		name: "window-of-this-message", rule: "13", takes: "that the word about one message's window is not taken for the next one's",
		file: "actors/answer.go", old: "		return // the word was about the message before; this one has asked for its own\n", new: "",
		tests: []string{"actors.TestWindowOfTheMessageBefore"},
	},
	{
		name: "window-reads-the-log", rule: "13", takes: "asking the log whether a redelivery stands in it unread",
		file: "actors/partition_time.go", old: "			at = time.Time{}\n", new: "			_ = time.Time{}\n",
		tests: []string{"actors.TestUnknownWaitsForTheLog"},
	},
	{
		name: "an-outage-proves-nothing", rule: "13", takes: "that a redelivery that may have met a dead node proves nothing by its absence",
		file: "actors/answer.go", old: "at.After(open) {\n", new: "at.After(open) || n > 0 {\n",
		tests: []string{"actors.TestAllRedeliveriesMissedInAnOutage", "actors.TestRedeliveryMissedInAnOutage"},
	},
	{
		name: "a-full-log-proves-nothing", rule: "13", takes: "that a redelivery which the log could not take proves nothing by its absence",
		file: "actors/answer.go", old: "expected = expected && !m.troubled.After(", new: "expected = expected && !m.readUpTo.Before(",
		tests: []string{"actors.TestFullLogProvesNothing"},
	},
	{
		name: "former-offers-are-read-first", rule: "13", takes: "reading up to a former owner's offers before its answer is given up",
		file: "actors/answer.go", old: "	return it.readFrom, false, it.readFrom.IsZero()\n", new: "	return it.readFrom, false, true\n",
		tests: []string{"actors.TestFormerOffersAreReadFirst"},
	},
	{
		name: "reply-unknown-decides", rule: "13", takes: "reply.unknown for the last delivery",
		file: "actors/answer.go",
		old:  "	if it.unknown() && (u.account.Unknown == UnknownNever || recorded.Repeat) {\n", new: "	if it.unknown() && recorded.Repeat {\n",
		tests: []string{"actors.TestUnknownAtTheLastDelivery"},
	},
	{
		name: "verdict-is-asked-again", rule: "13", takes: "asking for the verdict again before an answer counts as unknown",
		file: "actors/answer.go", old: "		if !d.unknown {\n			continue\n", new: "		if !d.unknown || !u.stopped {\n			continue\n",
		tests: []string{"actors.TestVerdictIsAskedAgain"},
	},
	{
		name: "a-slot-holds-without-a-word", rule: "14", takes: "holding a delivery that is not the last one",
		file: "ingress/exchange.go", old: "	default:\n		x.hold()\n", new: "	default:\n		x.think()\n",
		tests: []string{"ingress.TestExchangeIsCutWhereWeChatForgetsToHangUp"},
	},
	{
		name: "order-of-answers", rule: "15", takes: "that a user's next answer waits for the one before it",
		file: "actors/user.go", old: "phaseCommitted && !u.answer(ctx, it) {", new: "phaseCommitted && !u.answer(ctx, it) && u.stopped {",
		tests: []string{"actors.TestAnswersKeepTheirOrder"},
	},
	{
		name: "kept-answers-in-front", rule: "15", takes: "that kept answers go in front of the next one",
		file:  "conversation/compose.go",
		old:   "		queue = append(queue, part{key: key, answer: a, atMS: now.UnixMilli()})\n",
		new:   "		queue = append([]part{{key: key, answer: a, atMS: now.UnixMilli()}}, queue...)\n",
		tests: []string{"conversation.TestScripts", "actors.TestLateAnswerIsKept"},
	},
	{
		name: "rest-behind-its-reply", rule: "15", takes: "that a reply which is kept goes in front of its own rest",
		file: "conversation/step.go", old: "	s.Kept = append([]Kept{kept}, s.Kept...)\n", new: "	s.Kept = append(slices.Clip(s.Kept), kept)\n",
		tests: []string{"conversation.TestScripts"},
	},
	{
		name: "last-delivery-by-count", rule: "17", takes: "judging the last delivery by count",
		file: "ingress/deliveries.go", old: "return count >= deliveries || max(", new: "return max(",
		tests: []string{"ingress.TestIsLast", "ingress.TestLastDelivery"},
	},
	{
		name: "last-delivery-by-age", rule: "17", takes: "judging the last delivery by age",
		file: "ingress/deliveries.go", old: " || max(seenFor, age) >= threshold", new: " || max(seenFor, age) >= 1000*threshold",
		tests: []string{"ingress.TestIsLast", "ingress.TestLastDelivery"},
	},
	{
		name: "text-for-the-last-delivery", rule: "17", takes: "the ingress's own text for the last delivery",
		file: "ingress/exchange.go", old: "	case x.last || parting:\n		x.think()\n", new: "	case x.last || parting:\n		x.hold()\n",
		tests: []string{"ingress.TestLastDelivery"},
	},
	{
		name: "owner-judges-the-last-by-age", rule: "17", takes: "the owner's judgement of the last delivery by age",
		file: "actors/answer.go", old: "	return age >= time.Duration(u.account.Deliveries-1)*platformRetryEvery+platformRetryEvery/2", new: "	return age >= time.Hour",
		tests: []string{"actors.TestGoneIngressRefuses"},
	},
	{
		name: "owner-judges-the-last-by-count", rule: "17", takes: "the owner's judgement of the last delivery by count",
		file: "actors/answer.go", old: "	if len(it.deliveries) >= u.account.Deliveries {\n		return true\n	}\n", new: "",
		tests: []string{"actors.TestLastDeliveryByCount"},
	},
	{
		name: "answer-is-kept", rule: "18", takes: "keeping an answer that found no open exchange",
		file: "actors/answer.go",
		old:  "u.commit(ctx, u.st.Keep(it.key, it.unknown(), u.account.Limits, now))", new: "u.commit(ctx, u.st.Delivered(it.key))",
		tests: []string{"actors.TestLateAnswerIsKept"},
	},
	{
		name: "merged-within-the-byte-limit", rule: "18", takes: "WeChat's byte limit when kept answers are merged",
		file: "conversation/compose.go", old: "wechat.CutText(text, limits.TextBytes-len(hint))", new: "wechat.CutText(text, 1000*limits.TextBytes-len(hint))",
		tests: []string{"conversation.TestScripts"},
	},
	{
		name: "kept-answers-expire", rule: "18", takes: "the dead letter for a kept answer that grew too old",
		file: "conversation/compose.go", old: "if s.Kept[i].AtMS < oldest {", new: "if s.Kept[i].AtMS < 0*oldest {",
		tests: []string{"conversation.TestScripts"},
	},
	{
		name: "dead-letter-stored-before-settling", rule: "19", takes: "publishing a dead letter before its message is settled",
		file: "actors/turn.go", old: "u.publishBurials(ctx, nil)", new: "ctx != nil",
		tests: []string{"actors.TestBurialOrder"},
	},
	{
		name: "dead-letter-stored-once", rule: "19", takes: "the comparison that stores a dead letter once",
		file: "stream/dead.go", old: "[]string{\"0\"}}, // nothing", new: "nil}, // nothing",
		tests: []string{"stream.TestDeadLettersAreStoredOnce"},
	},
	{
		name: "published-letter-is-forgotten", rule: "19", takes: "forgetting a dead letter that is published",
		file: "actors/turn.go", old: "		u.st = u.st.Published(b.Number)\n", new: "",
		tests: []string{"actors.TestLateDeadLetterHasItsMessage"},
	},
	{
		name: "letter-of-a-former-activation", rule: "19", takes: "publishing what a former activation committed and could not publish",
		file: "actors/user.go", old: "if !u.durable(ctx) || !u.publishBurials(ctx, it) {", new: "if !u.durable(ctx) {",
		tests: []string{"actors.TestBurialOrder", "actors.TestLateDeadLetterHasItsMessage"},
	},
	{
		name: "partitions-letter-before-settling", rule: "19", takes: "that an entry without a user is settled behind its dead letter",
		file: "actors/partition.go", old: "		case m.err != nil && p.stopped:", new: "		case m.err != nil && !p.stopped:\n			p.settleOne(ctx, m.rec.Sequence)\n		case m.err != nil && p.stopped:",
		tests: []string{"actors.TestUndecodableEntryWaitsForItsLetter"},
	},
}
