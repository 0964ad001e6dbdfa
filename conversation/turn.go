package conversation

// Role says who spoke.
type Role uint8

// The roles. Numbers are stored.
const (
	RoleUser  Role = 1
	RoleBot   Role = 2
	RoleAgent Role = 3
)

// Turn is one utterance in a user's conversation.
type Turn struct {
	Role Role   `cbor:"1,keyasint"`
	Kind int32  `cbor:"2,keyasint,omitempty"` // messages.Kind of what the user sent
	Text string `cbor:"3,keyasint,omitempty"` // what was said, or a short description of what is not text
	AtMS int64  `cbor:"4,keyasint"`           // Unix milliseconds
}
