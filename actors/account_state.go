package actors

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/fxamacker/cbor/v2"

	"hongyan/messages"
	"hongyan/wechat/api"
)

// accountRecord is what an account's actor keeps in the store: under the account's own identity, beside the users of that partition,
// and like theirs changed only by compare-and-set under the partition's epoch.
type accountRecord struct {
	Schema uint8  `cbor:"1,keyasint"`
	AppID  string `cbor:"2,keyasint,omitempty"` // the token belongs to it
	Secret []byte `cbor:"3,keyasint,omitempty"` // fingerprint of the AppSecret that was in use; tells a changed configuration

	Token       string `cbor:"4,keyasint,omitempty"`
	Generation  uint64 `cbor:"5,keyasint,omitempty"` // counts the tokens
	ExpiresMS   int64  `cbor:"6,keyasint,omitempty"` // Unix milliseconds
	ObtainedMS  int64  `cbor:"7,keyasint,omitempty"`
	ForcedMS    int64  `cbor:"8,keyasint,omitempty"` // the last refresh that killed the token before, or was about to
	ForcedDay   int64  `cbor:"9,keyasint,omitempty"` // WeChat's day of it
	ForcedCount int    `cbor:"10,keyasint,omitempty"`
	// Intent is committed before a call that kills the token in use. Where it stands in a record that is loaded, nobody knows whether
	// that call was made.
	Intent bool `cbor:"11,keyasint,omitempty"`

	Alarm  accountAlarm `cbor:"12,keyasint,omitzero"`
	Blocks []block      `cbor:"13,keyasint,omitempty"`
	Minute meter        `cbor:"14,keyasint,omitzero"`
	Day    meter        `cbor:"15,keyasint,omitzero"`
	Sent   tally        `cbor:"16,keyasint,omitzero"`

	IPs   []string `cbor:"17,keyasint,omitempty"` // where WeChat's callbacks come from
	IPsMS int64    `cbor:"18,keyasint,omitempty"` // when they were read

	Spent    tally     `cbor:"19,keyasint,omitzero"`  // model tokens of the day
	Spenders []spender `cbor:"20,keyasint,omitempty"` // whose reports are in it, by node
}

const accountSchema = 1

// accountAlarm is what stops the refreshing of the token until somebody acts.
type accountAlarm struct {
	Reason  string `cbor:"1,keyasint,omitempty"` // Alarm…; empty: none
	Detail  string `cbor:"2,keyasint,omitempty"` // what happened and what to do
	SinceMS int64  `cbor:"3,keyasint,omitempty"`
	RetryMS int64  `cbor:"4,keyasint,omitempty"` // not before, unless the configuration changes
}

// tally counts something on one of WeChat's days: the messages that it took, the tokens that models took.
type tally struct {
	Day   int64 `cbor:"1,keyasint,omitempty"`
	Count int64 `cbor:"2,keyasint,omitempty"`
}

// accountState is the account actor's state machine: step takes an event and the time, changes the state, and says what is to be done
// once the record is committed. It does no I/O, has no clock and starts no goroutine.
type accountState struct {
	accountRecord
	conf AccountSettings

	token  refresher // of the token
	bucket bucket
	quota  bool // a look at the quota is under way
	nodes  map[string]nodeLease
	sent   tally // ahead of the record by up to a minute
	noted  time.Time
	ips    ipsRefresh

	spending spending // of model tokens
}

// nodeLease is a node's last lease.
type nodeLease struct {
	serial uint64
	at     time.Time
	reply  *messages.AccountLeased
}

// Events of the state machine, beside *messages.AccountLease, *messages.CallbackIPs, *messages.AccountSpend and spendDue.
type (
	// tokenFetched is the outcome of an actFetch.
	tokenFetched struct {
		number uint64
		began  time.Time
		token  api.Token
		err    error
	}
	// quotaRead is the outcome of an actQuota.
	quotaRead struct {
		generation uint64 // of the token that was used
		remain     int64
		err        error
	}
	// ipsFetched is the outcome of an actIPs.
	ipsFetched struct {
		generation uint64 // of the token that was used
		ranges     []netip.Prefix
		err        error
	}
)

// accountAction is something that step wants done, after the commit of what it changed.
type accountAction interface{ isAccountAction() }

type (
	// actFetch asks WeChat for a token; with force it ends the token in use.
	actFetch struct {
		number uint64
		force  bool
	}
	// actQuota asks WeChat what is left of the day's messages.
	actQuota struct {
		token      string
		generation uint64
	}
	// actIPs asks WeChat for the addresses of its callbacks.
	actIPs struct {
		token      string
		generation uint64
	}
	// actLog tells the operator.
	actLog struct {
		level slog.Level
		text  string
		attrs []slog.Attr
	}
)

func (actFetch) isAccountAction() {}
func (actQuota) isAccountAction() {}
func (actIPs) isAccountAction()   {}
func (actLog) isAccountAction()   {}

// newAccountState starts from a record, the zero one where there is none. chance is uniformly random.
func newAccountState(rec accountRecord, conf AccountSettings, now time.Time, chance uint64) *accountState {
	s := &accountState{accountRecord: rec, conf: conf, nodes: make(map[string]nodeLease), sent: rec.Sent, noted: now,
		spending: resumeSpending(rec)}
	s.Schema = accountSchema
	credentials := fingerprint(conf.AppID, conf.AppSecret)
	if rec.AppID != conf.AppID {
		s.dropToken()
		s.IPs, s.IPsMS, s.Blocks = nil, 0, nil
	}
	if !conf.calls() {
		s.dropToken()
	}
	if string(rec.Secret) != string(credentials) || rec.AppID != conf.AppID {
		s.Alarm = accountAlarm{} // somebody acted: try at once
	}
	s.AppID, s.Secret = conf.AppID, credentials
	s.Minute.resume()
	s.Day.resume()
	s.token.renewAt = s.nextAsk(now, chance)
	if rec.Intent { // the token may be dead: ask again, and serve it until there is another
		s.Intent, s.token.renewAt = false, now
	}
	return s
}

// dropToken forgets a token of another app; its generation stays, so that no node takes an old one for a new one.
func (s *accountState) dropToken() {
	s.Token, s.ExpiresMS, s.ObtainedMS, s.Intent = "", 0, 0, false
	s.ForcedMS, s.ForcedDay, s.ForcedCount = 0, 0, 0
}

// fingerprint tells one pair of credentials from another and tells nothing else: secrets are 128 random bits.
func fingerprint(appID, secret string) []byte {
	sum := sha256.Sum256([]byte("hongyan account\x00" + appID + "\x00" + secret))
	return sum[:8]
}

// step takes one event. reply is the answer to whoever asked, nil where nobody did. Nothing of it may leave the actor, and no action
// may run, before the record is committed.
func (s *accountState) step(event any, now time.Time, chance uint64) (reply any, do []accountAction) {
	s.turn(now)
	switch e := event.(type) {
	case *messages.AccountLease:
		reply, do = s.lease(e, now, chance)
	case *messages.CallbackIPs:
		s.token.needed(now)
		reply = s.ipList(e.GetDoubt(), now)
	case tokenFetched:
		do = s.fetched(e, now, chance)
	case quotaRead:
		do = s.quotaRead(e, now)
	case ipsFetched:
		do = s.ipsFetched(e, now)
	case *messages.AccountSpend:
		reply = s.spend(e, now)
	case spendDue:
		s.spending.waking = false
	}
	return reply, append(do, s.due(now)...)
}

// turn begins a new minute or day where one has begun.
func (s *accountState) turn(now time.Time) {
	day := wechatDay(now)
	s.Minute.turn(now.Unix()/60, int64(s.conf.PerMinute))
	s.Day.turn(day, int64(s.conf.PerDay))
	if s.sent.Day != day {
		s.sent = tally{Day: day}
	}
	if now.Sub(s.noted) >= time.Minute { // one write a minute at most for a number that only people read
		s.noted, s.Sent = now, s.sent
	}
	s.turnSpending(day)
	s.Blocks = liveBlocks(s.Blocks, now)
}

// due starts whatever has become due: each thing once at a time.
func (s *accountState) due(now time.Time) []accountAction {
	var do []accountAction
	if fetch, ok := s.dueFetch(now); ok {
		do = append(do, fetch)
	}
	if s.usable(now) {
		do = append(do, s.dueQuota(now)...)
		do = append(do, s.dueIPs(now)...)
	}
	return append(do, s.dueSpending(now)...)
}

func (s *accountState) encode() ([]byte, error) {
	b, err := cbor.Marshal(s.accountRecord)
	if err != nil {
		return nil, fmt.Errorf("encode an account's record: %w", err)
	}
	return b, nil
}

func decodeAccount(b []byte) (accountRecord, error) {
	var r accountRecord
	if err := cbor.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("decode an account's record of %d bytes: %w", len(b), err)
	}
	if r.Schema == 0 {
		return r, errors.New("decode an account's record: it has no schema")
	}
	if r.Schema > accountSchema {
		return r, fmt.Errorf("decode an account's record: it has schema %d, and this version of Hongyan reads %d; run the version that wrote it",
			r.Schema, accountSchema)
	}
	return r, nil
}

// wechatZone is where WeChat's days begin and end. China has had no summer time since 1991.
var wechatZone = time.FixedZone("UTC+8", 8*60*60)

// wechatDay numbers WeChat's days.
func wechatDay(now time.Time) int64 { return (now.Unix() + 8*60*60) / (24 * 60 * 60) }

// nextWeChatDay is when the quotas of a day are filled up again.
func nextWeChatDay(now time.Time) time.Time {
	t := now.In(wechatZone)
	return time.Date(t.Year(), t.Month(), t.Day()+1, 0, 0, 0, 0, wechatZone)
}

// spread is a part of d, between 0 and d, that chance picks.
func spread(d time.Duration, chance uint64) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(chance % uint64(d))
}
