package conversation

// HandOver is a user who is to be handed over to a support agent, and whose message then could not be: only a passive reply can do it
// (wechat-protocol §3), so that the user's next message is.
type HandOver struct {
	Account string `cbor:"1,keyasint,omitempty" json:"account,omitempty"` // name@account; empty: whoever is free
	AtMS    int64  `cbor:"2,keyasint" json:"at_ms"`                       // Unix milliseconds
}
