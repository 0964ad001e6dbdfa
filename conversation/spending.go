package conversation

import "time"

// Spending counts the model tokens of one of WeChat's days.
type Spending struct {
	Day    int64 `cbor:"1,keyasint,omitempty" json:"day"` // days since 1970 in China's time
	Tokens int64 `cbor:"2,keyasint,omitempty" json:"tokens"`
}

// DayOf is the day of an instant in China's time, counted from 1970: WeChat's days, and the days of budgets.
func DayOf(now time.Time) int64 {
	const chinaAhead = 8 * time.Hour
	return now.Add(chinaAhead).Unix() / int64((24 * time.Hour).Seconds())
}

// TokensLeft is what the user may still spend today of limits.UserTokens; bounded is false where there is no limit.
func (s State) TokensLeft(limits Limits, now time.Time) (left int64, bounded bool) {
	if limits.UserTokens <= 0 {
		return 0, false
	}
	spent := int64(0)
	if s.Spent.Day == DayOf(now) {
		spent = s.Spent.Tokens
	}
	return max(limits.UserTokens-spent, 0), true
}

// spend counts the tokens of a turn.
func (s State) spend(tokens int64, now time.Time) State {
	if tokens <= 0 {
		return s
	}
	if day := DayOf(now); s.Spent.Day != day {
		s.Spent = Spending{Day: day}
	}
	s.Spent.Tokens += tokens
	return s
}
