package main

// doorMutants take out what keeps promises P1, P6 and P7 at the callback endpoint.
var doorMutants = []mutant{
	{
		name: "accepted-though-the-client-left", rule: "P1", takes: "that an acceptance outlives the client",
		file: "ingress/handler.go", old: "context.WithoutCancel(x.r.Context())", new: "x.r.Context()",
		tests: []string{"ingress.TestAcceptOutlivesTheClient"},
	},
	{
		name: "never-success-without-puback", rule: "P6", takes: "the refusal of what the log did not accept",
		file: "ingress/exchange.go", old: "	if err != nil {\n		x.notAccepted(err)\n", new: "	if err != nil && x.slot == nil {\n		x.notAccepted(err)\n",
		tests: []string{"ingress.TestLogThatDoesNotAccept"},
	},
	{
		name: "puback-is-waited-for", rule: "P6", takes: "that a publish without an acknowledgement is no acceptance",
		file: "stream/publish.go",
		old:  "		return nil, fmt.Errorf(\"%w: publish to %s: %w\", ErrUnknown, msg.Subject, ctx.Err())", new: "		return new(jetstream.PubAck), nil",
		tests: []string{"stream.TestLitterIsCleared"},
	},
	{
		name: "a-full-log-accepts-nothing", rule: "P6", takes: "that a full log refuses and keeps what it has",
		file: "stream/segment.go", old: "jetstream.DiscardNew", new: "jetstream.DiscardOld",
		tests: []string{"stream.TestFullLog"},
	},
	{
		name: "refused-within-four-seconds", rule: "P6", takes: "the time limit of the log's word",
		file: "ingress/exchange.go", old: "acceptLimit = 3800 * time.Millisecond", new: "acceptLimit = 4500 * time.Millisecond",
		tests: []string{"ingress.TestLogThatDoesNotAccept"},
	},
	{
		name: "not-received-on-the-last-delivery", rule: "P6", takes: "the text for a last delivery that the log could not accept",
		file: "ingress/exchange.go", old: "	if x.last && x.account.NotReceived != \"\" {\n", new: "	if x.last && x.account.NotReceived == \"\" {\n",
		tests: []string{"ingress.TestLogThatDoesNotAccept"},
	},
	{
		name: "no-send-again-for-what-is-accepted", rule: "P6", takes: "that nobody is asked to send again what an earlier delivery brought",
		file: "ingress/exchange.go", old: "	if x.last && x.slot != nil && x.g.deliveries.accepted(", new: "	if x.last && x.slot == nil && x.g.deliveries.accepted(",
		tests: []string{"ingress.TestLastDeliveryOfAnAcceptedMessage"},
	},
	{
		name: "signature-of-the-url", rule: "P7", takes: "the signature over the URL",
		file: "ingress/verify.go", old: "	if !current && !previous {\n", new: "	if !current && previous {\n",
		tests: []string{"ingress.TestHandshake", "ingress.TestRefusalsAreAlike"},
	},
	{
		name: "signature-of-the-message", rule: "P7", takes: "the signature over the ciphertext",
		file: "ingress/verify.go", old: "	default:\n		return push{}, reasonSignature\n", new: "	default:\n",
		tests: []string{"ingress.TestRefusalsAreAlike"},
	},
	{
		name: "clock-window", rule: "P7", takes: "the time window, and with it the refusal of old replays",
		file: "ingress/verify.go", old: "d.skew > 0 && max(age, -age) > ", new: "d.skew < 0 && max(age, -age) > ",
		tests: []string{"ingress.TestRefusalsAreAlike"},
	},
	{
		name: "clock-window-ahead", rule: "P7", takes: "the time window towards the future",
		file: "ingress/verify.go", old: "d.skew > 0 && max(age, -age) > ", new: "d.skew > 0 && age > ",
		tests: []string{"ingress.TestRefusalsAreAlike"},
	},
	{
		name: "age-of-a-sealed-push", rule: "P7", takes: "the time window of encrypted pushes",
		file: "ingress/verify.go", old: "	if why := d.verifyAge(q, now); why != genuine {\n		return push{}, why\n	}\n", new: "",
		tests: []string{"ingress.TestRefusalsAreAlike"},
	},
	{
		name: "no-downgrade", rule: "P7", takes: "the refusal of plain pushes to a safe account",
		file: "ingress/verify.go", old: "	case envelope.Encrypt == \"\":\n		return push{}, reasonMode\n", new: "	case envelope.Encrypt == \"\":\n		return push{}, genuine\n",
		tests: []string{"ingress.TestRefusalsAreAlike"},
	},
	{
		name: "receiver-id", rule: "P7", takes: "comparing the receiver's id inside the ciphertext",
		file: "wechat/crypt/crypt.go", old: "	good &= subtle.ConstantTimeCompare(buf[min(tail, end):end], c.receiver)\n", new: "",
		tests: []string{"wechat/crypt.TestDecryptRefuses"},
	},
	{
		name: "padding", rule: "P7", takes: "the padding's check",
		file: "wechat/crypt/crypt.go", old: "		good &= subtle.ConstantTimeSelect(inPad, subtle.ConstantTimeByteEq(b, byte(pad)), 1)\n", new: "		good &= subtle.ConstantTimeSelect(inPad, 1, subtle.ConstantTimeByteEq(b, b))\n",
		tests: []string{"wechat/crypt.TestDecryptRefuses", "wechat/crypt.TestDecryptFlippedBits"},
	},
	{
		name: "one-refusal-for-strangers", rule: "P7", takes: "that nothing is genuine for an account that is not configured",
		file: "ingress/handler.go", old: "	case !x.account.configured:\n		return reasonAccount\n", new: "",
		tests: []string{"ingress.TestRefusalsAreAlike", "ingress.TestHandshake"},
	},
	{
		name: "oversize-is-refused", rule: "P7", takes: "the bound of a body that comes without its length",
		file: "ingress/handler.go", old: "		case int64(len(buf)) > limit:\n			return reasonTooLarge\n", new: "",
		tests: []string{"ingress.TestStreamedOversize"}, hangs: true,
	},
	{
		name: "a-crowd-leaves-room", rule: "6", takes: "that events without a user go into the log a few at a time",
		file: "ingress/exchange.go", old: "	if !in.ForUser() {\n		defer x.queueUp()()\n", new: "	if !in.ForUser() && x.last {\n		defer x.queueUp()()\n",
		tests: []string{"ingress.TestCrowdOfEvents"},
	},
	{
		name: "repeated-fields-are-refused", rule: "P7", takes: "the refusal of repeated fields",
		file: "wechat/fields.go", old: "			return fmt.Errorf(\"%w: repeated %s\", ErrMalformed, fieldNames[f])\n", new: "			continue\n",
		tests: []string{"wechat.TestDecodeRefuses"},
	},
}
