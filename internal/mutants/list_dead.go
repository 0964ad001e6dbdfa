package main

// deadMutants take out what makes re-driving safe: DESIGN §3 rule 19, from the operator's side.
var deadMutants = []mutant{
	{
		name: "taken-up-once", rule: "19", takes: "the comparison that gives a letter to one entry",
		file:  "stream/dead_letter.go",
		old:   "nats.Header{nats.ExpectedLastSubjSeqHdr: []string{strconv.FormatUint(revision, 10)}}",
		new:   "nats.Header{nats.MsgIdHdr: []string{strconv.FormatUint(revision, 10) + l.conn.NewInbox()}}",
		tests: []string{"stream.TestTakeUpHasOneWinner"},
	},
	{
		name: "taken-up-by-another", rule: "19", takes: "the look at which entry has taken a letter up",
		file:  "stream/dead_letter.go",
		old:   "if !by.SameEntry(r) {",
		new:   "if by.GetSequence() == 0 && r.GetSequence() == 0 {",
		tests: []string{"stream.TestTakeUpHasOneWinner"},
	},
	{
		name: "taken-up-behind-the-fsync", rule: "19", takes: "the fsync behind what a call with an unknown outcome wrote",
		file: "stream/dead_letter.go", old: "			return true, l.deadDurable(ctx, id)\n", new: "			return true, nil\n",
		tests: []string{"stream.TestTakeUpWithUnknownOutcome"},
	},
	{
		name: "room-to-take-up", rule: "19", takes: "the room that burials leave for re-drives",
		file: "stream/dead.go", old: "> limit-limit/deadReserve", new: "> limit",
		tests: []string{"stream.TestFullOfLetters"},
	},
	{
		name: "dropped-as-seen", rule: "19", takes: "the comparison that drops only the version which was looked at",
		file: "stream/dead_letter.go", old: "	case now != revision:\n", new: "	case now == 0:\n",
		tests: []string{"stream.TestDrop"},
	},
	{
		name: "redriven-in-order", rule: "19", takes: "the order of one user's letters",
		file: "console/dead_change.go", old: "		cmp.Compare(a.Sequence, b.Sequence), cmp.Compare(a.AtMS", new: "		cmp.Compare(a.AtMS",
		tests: []string{"console.TestRedriveByFilter", "console.TestRedriveByID"},
	},
	{
		name: "order-over-a-broken-log", rule: "19", takes: "that nothing goes behind a letter which the log did not take",
		file: "console/dead_deal.go", old: "				failed = ref.ID\n", new: "				failed = \"\"\n",
		tests: []string{"console.TestRedriveOverABrokenLog"},
	},
	{
		name: "redrive-comes-to-an-end", rule: "19", takes: "leaving out what died since the command began",
		file: "console/dead_change.go", old: "ref.revision <= at.End && ref.compare(at.After) > 0", new: "ref.compare(at.After) > 0",
		tests: []string{"console.TestRedriveByFilter"},
	},
	{
		name: "redriven-already", rule: "19", takes: "the refusal of a letter that was taken up",
		file: "console/dead_deal.go", old: "	case by != nil:\n", new: "	case by != nil && by.GetSequence() == 0:\n",
		tests: []string{"console.TestRedriveRefusals"},
	},
}
