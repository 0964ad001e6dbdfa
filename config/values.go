package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Secret is a value that must not be shown. Printing, logging and JSON show a placeholder; Reveal and Marshal give the value.
type Secret string

const hidden = "[secret]"

// Reveal returns the value.
func (s Secret) Reveal() string { return string(s) }

// String hides the value; an empty secret is shown as empty.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return hidden
}

// GoString hides the value from %#v.
func (s Secret) GoString() string { return strconv.Quote(s.String()) }

// LogValue hides the value from slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalJSON hides the value.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(strconv.Quote(s.String())), nil }

// MarshalYAML gives the value: YAML is what Marshal writes, and what is written must load again.
func (s Secret) MarshalYAML() (any, error) { return string(s), nil }

// Path is a file or a folder. After Load it is absolute or relative to the working directory, as os.Open wants it.
type Path string

// Schema is a JSON Schema as plain Go values: map[string]any, []any, string, bool, int, uint64, float64, nil.
type Schema map[string]any

// MarshalYAML writes it as JSON, which is YAML too: the YAML library's own way of writing loses keys with line ends and texts that
// look like numbers.
func (s Schema) MarshalYAML() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(map[string]any(s))
	return b.Bytes(), err
}

// Size is a number of bytes, written 1048576, 512MiB, 8GiB or (decimal) 500MB.
type Size int64

var sizeUnits = []struct {
	suffix string
	bytes  int64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"B", 1},
}

// UnmarshalText reads a size.
func (s *Size) UnmarshalText(text []byte) error {
	digits, unit := strings.TrimSpace(string(text)), int64(1)
	for _, u := range sizeUnits {
		if rest, ok := strings.CutSuffix(digits, u.suffix); ok {
			digits, unit = strings.TrimSpace(rest), u.bytes
			break
		}
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil {
		return &valueError{fmt.Sprintf("%q is not a size", text), "write bytes or a unit: 1048576, 512MiB, 8GiB"}
	}
	if int64(n) > math.MaxInt64/unit {
		return &valueError{fmt.Sprintf("%q is too large", text), "write at most 8000000TiB"}
	}
	*s = Size(int64(n) * unit)
	return nil
}

// String is the size with the largest binary unit that divides it.
func (s Size) String() string {
	for _, u := range sizeUnits[:4] {
		if s != 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.suffix
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// MarshalYAML writes what UnmarshalText reads.
func (s Size) MarshalYAML() (any, error) {
	if s == 0 {
		return 0, nil // a number, not the text "0"
	}
	return s.String(), nil
}

// Rate is a number of events in a time, written 10/s, 30/m or 500/h. The zero Rate is written 0 and means off.
type Rate struct {
	Count int
	Per   time.Duration
}

var rateUnits = []struct {
	suffix string
	per    time.Duration
}{{"s", time.Second}, {"m", time.Minute}, {"h", time.Hour}}

// UnmarshalText reads a rate.
func (r *Rate) UnmarshalText(text []byte) error {
	value := strings.TrimSpace(string(text))
	if value == "0" {
		*r = Rate{}
		return nil
	}
	number, unit, _ := strings.Cut(value, "/")
	n, err := strconv.ParseUint(strings.TrimSpace(number), 10, 31)
	if err == nil {
		for _, u := range rateUnits {
			if strings.TrimSpace(unit) != u.suffix {
				continue
			}
			*r = Rate{}
			if n > 0 {
				*r = Rate{Count: int(n), Per: u.per}
			}
			return nil
		}
	}
	return &valueError{fmt.Sprintf("%q is not a rate", text), "write a number per second, minute or hour: 1/s, 30/m, 500/h; 0 is off"}
}

// PerSecond is the rate as events in a second; 0 is off.
func (r Rate) PerSecond() float64 {
	if r.Per <= 0 {
		return 0
	}
	return float64(r.Count) / r.Per.Seconds()
}

// String is the rate as it is written in the file.
func (r Rate) String() string {
	for _, u := range rateUnits {
		if r.Count != 0 && r.Per == u.per {
			return strconv.Itoa(r.Count) + "/" + u.suffix
		}
	}
	return "0"
}

// MarshalYAML writes what UnmarshalText reads.
func (r Rate) MarshalYAML() (any, error) {
	if r.Count == 0 {
		return 0, nil // a number, not the text "0"
	}
	return r.String(), nil
}

// parseDuration reads 4600ms, 15m, 1h30m; 0 needs no unit.
func parseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(strings.TrimSpace(text))
	switch {
	case err != nil:
		fix := "write a number with its unit: 4600ms, 15m, 1h30m"
		if _, numErr := strconv.ParseFloat(text, 64); numErr == nil {
			fix = fmt.Sprintf("add the unit: %sms, %ss, %sm", text, text, text)
		}
		return 0, &valueError{fmt.Sprintf("%q is not a duration", text), fix}
	case d < 0:
		return 0, &valueError{fmt.Sprintf("%q lies in the past", text), "write a duration that is not negative"}
	}
	return d, nil
}

// valueError says what is wrong with a value, and what to write instead.
type valueError struct{ message, fix string }

func (e *valueError) Error() string { return e.message + "; " + e.fix }

// The types of keys with a fixed choice of words.
type (
	// Role is a part of the engine that runs in a process.
	Role string
	// Mode is the encryption mode of an account (wechat-protocol §1.1).
	Mode string
	// Durability is what an accepted message survives (DESIGN §3 rule 11).
	Durability string
	// StoreKind is where the users' state is kept.
	StoreKind string
	// RedisMode is what the hosts of state.redis.url are.
	RedisMode string
	// BotType is the kind of a bot.
	BotType string
	// TokenSource is the call that access tokens come from (wechat-protocol §4).
	TokenSource string
	// CallbackIPs is what becomes of callbacks from addresses that WeChat does not publish.
	CallbackIPs string
	// Images is how a model gets a user's pictures.
	Images string
	// MediaMode is how a remote bot gets a user's media.
	MediaMode string
	// Unknown is what becomes of an answer with unknown outcome (DESIGN §3 rule 13).
	Unknown string
	// LogLevel is that of the least severe line that is logged.
	LogLevel string
	// LogFormat is how a log line looks.
	LogFormat string
)

// The choices.
const (
	RoleIngress Role = "ingress"
	RoleWorker  Role = "worker"
	RoleConsole Role = "console"

	ModePlain  Mode = "plain"
	ModeCompat Mode = "compat"
	ModeSafe   Mode = "safe"

	DurabilityDisk Durability = "disk"
	DurabilityOS   Durability = "os"

	StoreJetStream StoreKind = "jetstream"
	StoreRedis     StoreKind = "redis"

	RedisSingle   RedisMode = "single"
	RedisCluster  RedisMode = "cluster"
	RedisSentinel RedisMode = "sentinel"

	BotRules  BotType = "rules"
	BotFAQ    BotType = "faq"
	BotOpenAI BotType = "openai"
	BotHTTP   BotType = "http"
	BotNATS   BotType = "nats"

	TokenStable  TokenSource = "stable"
	TokenClassic TokenSource = "classic"

	CallbackIPsOff     CallbackIPs = "off"
	CallbackIPsReport  CallbackIPs = "report"
	CallbackIPsEnforce CallbackIPs = "enforce"

	ImagesOff   Images = "off"
	ImagesURL   Images = "url"
	ImagesBytes Images = "bytes"

	MediaOff   MediaMode = "off"
	MediaBytes MediaMode = "bytes"

	UnknownNever Unknown = "never"
	UnknownOnce  Unknown = "once"

	LevelDebug LogLevel = "debug"
	LevelInfo  LogLevel = "info"
	LevelWarn  LogLevel = "warn"
	LevelError LogLevel = "error"

	FormatAuto    LogFormat = "auto"
	FormatConsole LogFormat = "console"
	FormatJSON    LogFormat = "json"
)

// UnmarshalText accepts ingress, worker and console.
func (v *Role) UnmarshalText(b []byte) error {
	return choose(v, b, "a role", RoleIngress, RoleWorker, RoleConsole)
}

// UnmarshalText accepts plain, compat and safe.
func (v *Mode) UnmarshalText(b []byte) error {
	return choose(v, b, "a mode", ModePlain, ModeCompat, ModeSafe)
}

// UnmarshalText accepts disk and os.
func (v *Durability) UnmarshalText(b []byte) error {
	return choose(v, b, "a durability", DurabilityDisk, DurabilityOS)
}

// UnmarshalText accepts jetstream and redis.
func (v *StoreKind) UnmarshalText(b []byte) error {
	return choose(v, b, "a store", StoreJetStream, StoreRedis)
}

// UnmarshalText accepts single, cluster and sentinel.
func (v *RedisMode) UnmarshalText(b []byte) error {
	return choose(v, b, "a mode of Redis", RedisSingle, RedisCluster, RedisSentinel)
}

// UnmarshalText accepts the types of bots.
func (v *BotType) UnmarshalText(b []byte) error {
	return choose(v, b, "a type of bot", BotRules, BotFAQ, BotOpenAI, BotHTTP, BotNATS)
}

// UnmarshalText accepts never and once.
func (v *Unknown) UnmarshalText(b []byte) error {
	return choose(v, b, "a choice", UnknownNever, UnknownOnce)
}

// UnmarshalText accepts debug, info, warn and error.
func (v *LogLevel) UnmarshalText(b []byte) error {
	return choose(v, b, "a log level", LevelDebug, LevelInfo, LevelWarn, LevelError)
}

// UnmarshalText accepts auto, console and json.
func (v *LogFormat) UnmarshalText(b []byte) error {
	return choose(v, b, "a log format", FormatAuto, FormatConsole, FormatJSON)
}

// choose sets v to text if it is one of the choices.
func choose[T ~string](v *T, text []byte, what string, choices ...T) error {
	value := T(strings.TrimSpace(string(text)))
	if slices.Contains(choices, value) {
		*v = value
		return nil
	}
	words := make([]string, len(choices))
	for i, c := range choices {
		words[i] = string(c)
	}
	return &valueError{fmt.Sprintf("%q is not %s", string(value), what), "write " + enumerate(words)}
}

// enumerate is "a", "a or b", "a, b or c".
func enumerate(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// UnmarshalText accepts stable and classic.
func (v *TokenSource) UnmarshalText(b []byte) error {
	return choose(v, b, "a source", TokenStable, TokenClassic)
}

// UnmarshalText accepts off, report and enforce.
func (v *CallbackIPs) UnmarshalText(b []byte) error {
	return choose(v, b, "a choice", CallbackIPsOff, CallbackIPsReport, CallbackIPsEnforce)
}

// UnmarshalText accepts off, url and bytes.
func (v *Images) UnmarshalText(b []byte) error {
	return choose(v, b, "a way for pictures", ImagesOff, ImagesURL, ImagesBytes)
}

// UnmarshalText accepts off and bytes.
func (v *MediaMode) UnmarshalText(b []byte) error {
	return choose(v, b, "a way for media", MediaOff, MediaBytes)
}
