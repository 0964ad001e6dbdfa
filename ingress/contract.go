package ingress

import (
	"context"
	"net/netip"
	"time"

	"hongyan/messages"
)

// Log is what the ingress needs of the durable log. stream.Log implements it.
type Log interface {
	// Accept writes the entry and returns once the log has it (PubAck, and with durability disk the fsync barrier behind it).
	// Any error means that the entry must not count as accepted; it may be in the log all the same, and the key deduplicates.
	Accept(ctx context.Context, entry *messages.Entry) (messages.Position, error)
}

// Account is what the ingress needs of one Official Account.
type Account struct {
	ID                     string
	AppID                  string // receiver id inside encrypted payloads
	Mode                   Mode
	Token, PreviousToken   string
	AESKey, PreviousAESKey string        // 43 characters each; empty in plain mode; previous ones may be empty
	MaxClockSkew           time.Duration // 0 turns the freshness check off
	Deadline               time.Duration // when the ingress ends a last delivery by itself; 4.6 s by default
	Deliveries             int           // how often WeChat delivers one message altogether; 3 by default
	Thinking               string        // text for the last delivery of an accepted message without an answer
	NotReceived            string        // text for a last delivery that the log could not accept
	CallbackIPs            AddressPolicy // what becomes of callbacks from addresses that WeChat does not publish
}

// AddressPolicy says what becomes of a genuine callback that came from an address which is not in WeChat's list.
type AddressPolicy uint8

// The values of callback_ips.
const (
	AddressOff     AddressPolicy = iota // addresses are not looked at
	AddressReport                       // it is counted, and told in the log once a minute
	AddressEnforce                      // it is refused like everything that is not genuine
)

// Callers knows where WeChat's callbacks come from. CallerLists implements it.
type Callers interface {
	// Listed tells whether an address is in the account's list; known is false while there is none.
	Listed(account string, from netip.Addr) (listed, known bool)
	// Doubt says that a genuine callback came from elsewhere, so that the list may be out of date. It does not wait.
	Doubt(account string)
}

// Mode is the account's encryption mode. It comes from configuration alone; nothing in a request weakens it.
type Mode uint8

// The modes of wechat-protocol §1.1.
const (
	ModePlain Mode = iota
	ModeCompat
	ModeSafe
)
