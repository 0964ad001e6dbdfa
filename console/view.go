package console

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"hongyan/conversation"
	"hongyan/messages"
)

// User is one user as the admin API shows it. It is an interface to other programs: fields are only ever added.
type User struct {
	Account   string `json:"account"`
	OpenID    string `json:"openid"`
	Partition int32  `json:"partition"`
	Node      string `json:"node"`  // the owner
	Epoch     uint64 `json:"epoch"` // of its tenure

	Incarnation string   `json:"incarnation"` // of the record, hex
	Version     uint64   `json:"version"`     // committed writes of the record
	Applied     Position `json:"applied"`     // last turn committed in queue order

	Queued  int32  `json:"queued"`            // messages that wait
	Running string `json:"running,omitempty"` // key of the turn in flight

	Follows  string              `json:"follows"` // unknown, yes or no
	LastTurn *time.Time          `json:"last_turn,omitempty"`
	Counts   conversation.Counts `json:"counts"`
	Turns    []Turn              `json:"turns"`    // the conversation, oldest first
	Messages []Message           `json:"messages"` // recent messages with their outcome, oldest first
	Answers  []Answer            `json:"answers"`  // recorded for repeated deliveries
	Kept     []Answer            `json:"kept"`     // waiting for the user's next message
	Pushes   []Push              `json:"pushes"`   // answers that leave through WeChat's API
	Grants   []Grant             `json:"grants"`   // leave to send customer-service messages
	Dead     []DeadLetter        `json:"dead"`     // dead letters that are not known to be published yet
	Session  map[string]string   `json:"session"`  // the bots' own values

	Breaker     Breaker    `json:"breaker"`                // the user's own, of remote bots
	TokensToday int64      `json:"tokens_today"`           // model tokens spent on this day of China's time
	RateFull    *time.Time `json:"rate_full_at,omitempty"` // when as many messages as limits.user_burst may come at once again; unset: now
	HandOver    *HandOver  `json:"hand_over,omitempty"`    // the user's next message goes to an agent, if it comes before the talk is over
}

// Breaker is the user's breaker: after failed turns in a row remote bots are not asked for a while.
type Breaker struct {
	Failures  int        `json:"failures"`             // in a row
	OpenUntil *time.Time `json:"open_until,omitempty"` // unset: it is closed
}

// HandOver is a hand-over to a support agent for which no reply was open.
type HandOver struct {
	Account string    `json:"account,omitempty"` // name@account; empty: whoever is free
	At      time.Time `json:"at"`
}

// Position is a place in the log.
type Position struct {
	Generation uint64 `json:"generation"`
	Sequence   uint64 `json:"sequence"`
}

// Turn is one utterance.
type Turn struct {
	Role string    `json:"role"` // user, bot or agent
	Kind string    `json:"kind,omitempty"`
	Text string    `json:"text"`
	At   time.Time `json:"at"`
}

// Message is a recent message and its end.
type Message struct {
	Key     string    `json:"key"`
	Outcome string    `json:"outcome"`
	LogTime time.Time `json:"log_time"`
}

// Answer is an answer to the message with this key.
type Answer struct {
	Key     string          `json:"key"`
	At      time.Time       `json:"at"`
	Settled bool            `json:"settled,omitempty"`
	Answer  json.RawMessage `json:"answer"`
}

// Push is a message whose answer leaves through WeChat's API.
type Push struct {
	Key     string    `json:"key"`
	At      time.Time `json:"at"`
	Part    uint32    `json:"part,omitempty"` // that is next, from 1; 0: the turn is still to come
	Sending bool      `json:"sending"`        // its call was begun, and what became of it is not written down
	Parts   []Answer  `json:"parts"`          // not sent yet
}

// Grant is leave to send so many messages until a time.
type Grant struct {
	Class string    `json:"class"` // message, menu, subscribe or scan
	Left  int       `json:"left"`
	Until time.Time `json:"until"`
}

// DeadLetter is a message that ended without its due effect.
type DeadLetter struct {
	Key    string    `json:"key"`
	Reason string    `json:"reason"`
	Detail string    `json:"detail,omitempty"`
	At     time.Time `json:"at"`
}

// newUserView is the API's form of what the owner said, as it is now.
func newUserView(v *messages.UserView, now time.Time) (*User, error) {
	s, err := conversation.Decode(v.GetState())
	if err != nil {
		return nil, fmt.Errorf("the user's record cannot be read: %w", err)
	}
	follows, err := s.Follows.MarshalText()
	if err != nil {
		return nil, err
	}
	u := &User{
		Account: v.GetAccount(), OpenID: v.GetOpenId(), Partition: v.GetPartition(), Node: v.GetNode(), Epoch: v.GetEpoch(),
		Incarnation: fmt.Sprintf("%016x", v.GetIncarnation()), Version: v.GetVersion(),
		Applied: Position{s.Applied.Generation, s.Applied.Sequence},
		Queued:  v.GetQueued(), Running: v.GetRunning(),
		Follows: string(follows), Counts: s.Counts,
		Turns: []Turn{}, Messages: []Message{}, Answers: []Answer{}, Kept: []Answer{}, Pushes: []Push{}, Grants: []Grant{}, Dead: []DeadLetter{},
		Session: map[string]string{},
	}
	if s.LastMS > 0 {
		last := instant(s.LastMS)
		u.LastTurn = &last
	}
	for _, t := range s.Turns {
		u.Turns = append(u.Turns, Turn{Role: roleWord(t.Role), Kind: kindWord(t), Text: t.Text, At: instant(t.AtMS)})
	}
	for i := range s.Keys.Len() {
		k := s.Keys.At(i)
		u.Messages = append(u.Messages, Message{Key: k.Key.String(), Outcome: conversation.OutcomeWord(k.Outcome), LogTime: k.LogTime})
	}
	for _, a := range s.Answers {
		u.Answers = append(u.Answers, answer(a.Key, a.AtMS, a.Settled, a.Answer))
	}
	for _, k := range s.Kept {
		u.Kept = append(u.Kept, answer(k.Key, k.AtMS, false, k.Answer))
	}
	for _, p := range s.Pushes {
		push := Push{Key: p.Key.String(), At: instant(p.AtMS), Part: p.Number, Sending: p.Sending, Parts: []Answer{}}
		for _, part := range p.Parts {
			push.Parts = append(push.Parts, answer(part.Key, part.AtMS, false, part.Answer))
		}
		u.Pushes = append(u.Pushes, push)
	}
	for _, g := range s.Grants {
		class, err := g.Class.MarshalText()
		if err != nil {
			return nil, err
		}
		u.Grants = append(u.Grants, Grant{Class: string(class), Left: g.Left, Until: instant(g.UntilMS)})
	}
	for _, b := range s.Burials {
		u.Dead = append(u.Dead, DeadLetter{Key: b.Key.String(), Reason: b.Reason, Detail: b.Detail, At: instant(b.AtMS)})
	}
	for k, v := range s.Session {
		u.Session[k] = v
	}
	u.bounds(s, now)
	return u, nil
}

// bounds fills in what keeps the user's messages from the bots, or will.
func (u *User) bounds(s conversation.State, now time.Time) {
	u.Breaker.Failures = s.Breaker.Failures
	if s.Breaker.UntilMS > now.UnixMilli() {
		until := instant(s.Breaker.UntilMS)
		u.Breaker.OpenUntil = &until
	}
	if s.Spent.Day == conversation.DayOf(now) {
		u.TokensToday = s.Spent.Tokens
	}
	if full := time.Unix(0, s.Rate.FullNS).UTC(); full.After(now) {
		u.RateFull = &full
	}
	if s.HandOver != nil {
		u.HandOver = &HandOver{Account: s.HandOver.Account, At: instant(s.HandOver.AtMS)}
	}
}

func answer(key messages.Key, atMS int64, settled bool, blob conversation.Blob) Answer {
	raw, err := blob.MarshalJSON()
	if err != nil { // shown instead of the answer: the rest of the record is as good
		raw = fmt.Appendf(nil, `{"error":%q}`, err.Error())
	}
	return Answer{Key: key.String(), At: instant(atMS), Settled: settled, Answer: raw}
}

// Text is the answer in one line for people: a text as it is, anything else by its kind.
func (a Answer) Text() string {
	var m messages.Answer
	if err := protojson.Unmarshal(a.Answer, &m); err != nil {
		return string(a.Answer)
	}
	switch c := m.GetContent().(type) {
	case *messages.Answer_Text:
		return c.Text.GetContent()
	case *messages.Answer_Image:
		return "[image " + c.Image.GetMediaId() + "]"
	case *messages.Answer_Voice:
		return "[voice " + c.Voice.GetMediaId() + "]"
	case *messages.Answer_Video:
		return "[video " + c.Video.GetTitle() + "]"
	case *messages.Answer_Music:
		return "[music " + c.Music.GetTitle() + "]"
	case *messages.Answer_News:
		titles := make([]string, 0, len(c.News.GetArticles()))
		for _, article := range c.News.GetArticles() {
			titles = append(titles, article.GetTitle())
		}
		return "[news " + strings.Join(titles, " / ") + "]"
	case *messages.Answer_Transfer:
		return "[transfer to customer service]"
	case *messages.Answer_Menu:
		return "[menu " + c.Menu.GetHead() + "]"
	case *messages.Answer_MpNews:
		return "[article " + c.MpNews.GetMediaId() + "]"
	case *messages.Answer_MpNewsArticle:
		return "[article " + c.MpNewsArticle.GetArticleId() + "]"
	case *messages.Answer_Card:
		return "[card " + c.Card.GetCardId() + "]"
	case *messages.Answer_MiniProgramPage:
		return "[mini program " + c.MiniProgramPage.GetTitle() + "]"
	default:
		return "[empty]"
	}
}

func instant(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

func roleWord(r conversation.Role) string {
	switch r {
	case conversation.RoleUser:
		return "user"
	case conversation.RoleBot:
		return "bot"
	case conversation.RoleAgent:
		return "agent"
	default:
		return fmt.Sprintf("role %d", r)
	}
}

// kindWord is the kind of what a user sent: text, image, subscribe. The other side's turns have none.
func kindWord(t conversation.Turn) string {
	if t.Role != conversation.RoleUser {
		return ""
	}
	return strings.ToLower(strings.TrimPrefix(messages.Kind(t.Kind).String(), "KIND_"))
}
