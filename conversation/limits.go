package conversation

import "time"

// Limits bound a user's state. They are an account's configuration.
type Limits struct {
	MaxTurns int           // utterances in the conversation
	MaxBytes int           // bytes of their texts together
	Idle     time.Duration // a longer silence starts the conversation afresh; 0 never does

	KeyRetention time.Duration // log time for which keys are known: max(2 × clock-skew window, 10 min)
	KeptFor      time.Duration // an undelivered answer that is older becomes a dead letter
	MaxKept      int           // more undelivered answers than this push out the oldest, as dead letters
	TextBytes    int           // WeChat's limit for one text reply
	Push         bool          // the account may send customer-service messages
	More         string        // stands under a reply that has a rest; empty for none

	UserEvery  time.Duration // how long a message takes up the user's rate: the inverse of limits.user_rate; 0: no limit
	UserBurst  int           // so many may come at once
	BreakAfter int           // failed turns in a row that open the user's breaker; 0: it never opens
	RestFor    time.Duration // how long it stays open
	UserTokens int64         // model tokens of one user on one day; 0: no limit
	HandOver   string        // told where only the next message can be handed over to an agent
}

// The times of DESIGN §3 rules 10 and 18.
const (
	MinKeyRetention = 10 * time.Minute
	AnswerRetention = 60 * time.Second
	settledAnswers  = 8 // at most so many delivered answers stay for AnswerRetention
)

// DefaultLimits are DESIGN §4's: 1 h of idle time, 48 h for kept answers.
func DefaultLimits() Limits {
	return Limits{
		MaxTurns: 20, MaxBytes: 16 << 10, Idle: time.Hour,
		KeyRetention: MinKeyRetention, KeptFor: 48 * time.Hour, MaxKept: 20,
		TextBytes: 2048, More: "（未完，回复“继续”查看下文）",
	}
}

// RetentionFor is how long keys must be known when callbacks are accepted within maxClockSkew of now (DESIGN §3 rule 10).
func RetentionFor(maxClockSkew time.Duration) time.Duration {
	return max(2*maxClockSkew, MinKeyRetention)
}
