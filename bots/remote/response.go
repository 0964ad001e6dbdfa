package remote

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"hongyan/bots"
)

// Bounds of what a bot may say in one turn, so that no bot fills its users' records.
const (
	MaxAnswers      = 20       // answers of one turn
	MaxSessionKeys  = 64       // of one user, in this bot's session
	MaxSessionBytes = 16 << 10 // of all their keys and values
)

// response is what a bot answers: schema/response.schema.json.
type response struct {
	V        int                `json:"v"`       // 0, where the bot does not say, is 1
	Working  bool               `json:"working"` // a sign of life over NATS; the answer is still to come
	Handled  *bool              `json:"handled"`
	Answers  []json.RawMessage  `json:"answers"`
	Session  map[string]*string `json:"session"`
	Forget   bool               `json:"forget"`
	HandOver *struct {
		Account string `json:"account"`
	} `json:"hand_over"`
	Error string `json:"error"`
}

// errorCode is what a bot's error must look like to be shown: a short word cannot quote what a user wrote.
var errorCode = regexp.MustCompile(`^[a-z][a-z0-9_]{0,39}$`)

// read makes a bot's response of its bytes. unknown names a field that this version does not know, which is no error. None of the
// errors quotes the bytes.
func read(data []byte, session map[string]string) (resp bots.Response, unknown string, err error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return bots.Response{}, "", nil // nothing to say: the next bot
	}
	var r response
	if unknown, err = decode(data, &r); err != nil {
		return bots.Response{}, "", fmt.Errorf("the bot's response: %w", err)
	}
	switch {
	case r.V != 0 && r.V != Version:
		return resp, unknown, fmt.Errorf("the bot's response is of version %d; this engine speaks %d", r.V, Version)
	case r.Error != "" && errorCode.MatchString(r.Error):
		return resp, unknown, fmt.Errorf("the bot reports the error %s", r.Error)
	case r.Error != "":
		return resp, unknown, errors.New("the bot reports an error; it is shown only where it is a short word like database_down")
	case r.Working:
		return resp, unknown, errors.New("the bot's response is a sign of life, which stands before the answer, over NATS alone")
	}
	resp.Handled = len(r.Answers) > 0 || r.HandOver != nil
	if r.Handled != nil {
		if !*r.Handled && resp.Handled {
			return resp, unknown, errors.New("the bot's response has handled: false beside answers or hand_over")
		}
		resp.Handled = *r.Handled
	}
	if !resp.Handled {
		return bots.Response{}, unknown, nil
	}
	if r.HandOver != nil {
		if len(r.Answers) > 0 {
			return resp, unknown, errors.New("the bot's response has answers beside hand_over; WeChat can do one of both")
		}
		resp.HandOver = &bots.HandOver{Account: r.HandOver.Account}
	}
	if len(r.Answers) > MaxAnswers {
		return resp, unknown, fmt.Errorf("the bot's response has %d answers; at most %d", len(r.Answers), MaxAnswers)
	}
	for i, raw := range r.Answers {
		a, more, err := readAnswer(raw)
		if err != nil {
			return resp, unknown, fmt.Errorf("the bot's response: answers[%d]: %w", i, err)
		}
		if unknown == "" {
			unknown = more
		}
		resp.Answers = append(resp.Answers, a)
	}
	resp.Forget = r.Forget
	resp.Session, err = patch(session, r.Session, r.Forget)
	return resp, unknown, err
}

// patch is the change of the session: null and the empty value remove a key. It is refused where the session would outgrow its bounds.
func patch(session map[string]string, change map[string]*string, forget bool) (map[string]string, error) {
	if len(change) == 0 {
		return nil, nil
	}
	after := make(map[string]string, len(session)+len(change))
	if !forget {
		for k, v := range session {
			after[k] = v
		}
	}
	set := make(map[string]string, len(change))
	for k, v := range change {
		if k == "" {
			return nil, errors.New("the bot's response: a session key is empty")
		}
		if set[k] = ""; v != nil {
			set[k] = *v
		}
		after[k] = set[k]
	}
	keys, size := 0, 0
	for k, v := range after {
		if v != "" {
			keys, size = keys+1, size+len(k)+len(v)
		}
	}
	if keys > MaxSessionKeys || size > MaxSessionBytes {
		return nil, fmt.Errorf("the bot's session would have %d keys and %d bytes; at most %d and %d",
			keys, size, MaxSessionKeys, MaxSessionBytes)
	}
	return set, nil
}

// decode reads JSON into v. The first field that v has no place for is returned, and left out otherwise: a bot of a newer contract
// must not break an older engine.
func decode(data []byte, v any) (unknown string, err error) {
	if err := json.Unmarshal(data, v); err != nil {
		return "", plain(err)
	}
	strict := json.NewDecoder(bytes.NewReader(data))
	strict.DisallowUnknownFields()
	if err := strict.Decode(v); err != nil {
		if name, ok := strings.CutPrefix(err.Error(), `json: unknown field "`); ok {
			unknown = strings.TrimSuffix(name, `"`)
		}
	}
	return unknown, nil
}

// plain is an error of encoding/json without anything of the text that was read.
func plain(err error) error {
	var kind *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &kind) && kind.Field != "":
		return fmt.Errorf("the field %s cannot be a JSON %s", known(kind.Field), firstWord(kind.Value))
	case errors.As(err, &kind):
		return fmt.Errorf("a JSON object is wanted, not a %s", firstWord(kind.Value))
	case errors.As(err, &syntax):
		return fmt.Errorf("not JSON at byte %d", syntax.Offset)
	default:
		return errors.New("not JSON")
	}
}

// known shows a field's path only as far as the contract names it: the keys of the session are the bot's own words.
func known(path string) string {
	if strings.HasPrefix(path, "session") {
		return "session"
	}
	return path
}

// firstWord drops what encoding/json says behind the kind of a value ("number 12").
func firstWord(s string) string {
	word, _, _ := strings.Cut(s, " ")
	return word
}
