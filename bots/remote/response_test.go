package remote

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"hongyan/bots"
)

// secret stands for what users and bots say: it must not be in any error.
const secret = "SECRET-a1b2"

// What a bot must not answer, and what the operator reads about it.
func TestFaultyResponses(t *testing.T) {
	t.Parallel()
	schema := schemaOf(t, "response", false)
	for body, want := range map[string]string{
		`SECRET-a1b2`:                   "not JSON at byte 1",
		`{"answers": ["SECRET-a1b2"`:    "not JSON",
		`["SECRET-a1b2"]`:               "a JSON object is wanted, not a array",
		`"SECRET-a1b2"`:                 "a JSON object is wanted, not a string",
		`{"v": 2}`:                      "version 2",
		`{"answers": "SECRET-a1b2"}`:    "the field answers cannot be a JSON string",
		`{"answers": [7]}`:              "answers[0]: a JSON object is wanted, not a number",
		`{"answers": ["a", null]}`:      "answers[1]: an answer is a text, or an object with exactly one of",
		`{"answers": [" \n"]}`:          "answers[0]: text is missing or blank",
		`{"answers": [{"text": ""}]}`:   "text is missing or blank",
		`{"answers": [{}]}`:             "this one has 0 of them",
		`{"answers": [{"imagee": {}}]}`: "this one has 0 of them",
		`{"answers": [{"text": "SECRET-a1b2", "image": {"media_id": "x"}}]}`:                   "this one has 2 of them",
		`{"answers": [{"image": {"media_id": ""}}]}`:                                           "image.media_id is missing",
		`{"answers": [{"voice": {}}]}`:                                                         "voice.media_id is missing",
		`{"answers": [{"video": {"title": "SECRET-a1b2"}}]}`:                                   "video.media_id is missing",
		`{"answers": [{"music": {}}]}`:                                                         "music.music_url is missing",
		`{"answers": [{"music": {"music_url": "SECRET-a1b2"}}]}`:                               "music.thumb_media_id is missing",
		`{"answers": [{"news": {}}]}`:                                                          "news.articles is empty",
		`{"answers": [{"news": {"articles": [{"url": "SECRET-a1b2"}]}}]}`:                      "news.articles[0].title is missing",
		`{"answers": [{"menu": {"head": "x"}}]}`:                                               "menu.options is empty",
		`{"answers": [{"menu": {"options": [{"id": "x"}]}}]}`:                                  "menu.options[0].content is missing",
		`{"answers": [{"mp_news": {}}]}`:                                                       "mp_news.media_id is missing",
		`{"answers": [{"mp_news_article": {}}]}`:                                               "mp_news_article.article_id is missing",
		`{"answers": [{"card": {}}]}`:                                                          "card.card_id is missing",
		`{"answers": [{"mini_program_page": {"app_id": "SECRET-a1b2"}}]}`:                      "mini_program_page.page_path is missing",
		`{"answers": [{"mini_program_page": {"app_id": "x", "page_path": "SECRET-a1b2"}}]}`:    "mini_program_page.thumb_media_id is missing",
		`{"answers": [` + strings.Repeat(`"SECRET-a1b2",`, MaxAnswers) + `"SECRET-a1b2"]}`:     "21 answers; at most 20",
		`{"handled": false, "answers": ["SECRET-a1b2"]}`:                                       "handled: false beside answers",
		`{"handled": false, "hand_over": {}}`:                                                  "handled: false beside answers",
		`{"hand_over": {"account": "SECRET-a1b2"}, "answers": ["SECRET-a1b2"]}`:                "answers beside hand_over",
		`{"answers": ["a"], "session": {"SECRET-a1b2": 7}}`:                                    "the field session cannot be a JSON number",
		`{"answers": ["a"], "session": {"": "SECRET-a1b2"}}`:                                   "a session key is empty",
		`{"answers": ["a"], "session": {"x": "` + strings.Repeat("x", MaxSessionBytes) + `"}}`: "at most 64 and 16384",
		`{"error": "cannot find SECRET-a1b2"}`:                                                 "a short word",
		`{"error": "database_down"}`:                                                           "the bot reports the error database_down",
		`{"working": true}`:                                                                    "a sign of life",
	} {
		resp, _, err := read([]byte(body), nil)
		switch {
		case err == nil:
			t.Errorf("%.80s became %+v", body, resp)
		case !strings.Contains(err.Error(), want):
			t.Errorf("%.80s: %v, want %q", body, err, want)
		case strings.Contains(err.Error(), secret):
			t.Errorf("%.80s: the error quotes it: %v", body, err)
		}
		// The schema is as strict; versions, error and working are what it allows and an answer is not, and sizes it cannot add up.
		if !json.Valid([]byte(body)) || strings.Contains(body, `"error"`) || strings.Contains(body, `"working"`) ||
			strings.Contains(body, "xxxxxx") || strings.Contains(body, `"handled"`) {
			continue
		}
		if validate(t, schema, []byte(body)) == nil {
			t.Errorf("%.80s: the schema allows it", body)
		}
	}
}

func TestSilenceAndPassing(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]bots.Response{
		"": {}, " \n": {}, "{}": {}, `{"answers": []}`: {}, `{"v": 1, "handled": true, "answers": []}`: {Handled: true},
		`{"session": {"a": "b"}}`: {}, // nobody answered: nothing is kept
	} {
		got, unknown, err := read([]byte(body), nil)
		if err != nil || unknown != "" {
			t.Errorf("%q: %v, %q", body, err, unknown)
		}
		same(t, body, got, want)
	}
}

// A bot of a newer contract goes on working.
func TestUnknownFields(t *testing.T) {
	t.Parallel()
	for body, field := range map[string]string{
		`{"answers": ["hello"], "mood": "good"}`:                     "mood",
		`{"answers": [{"text": "hello", "voice_too": true}]}`:        "voice_too",
		`{"answers": [{"text": "hello"}], "hand_over_after": {}}`:    "hand_over_after",
		`{"answers": ["hello"], "a\"b": 1, "session": {"any": "x"}}`: `a\"b`,
	} {
		got, unknown, err := read([]byte(body), nil)
		if err != nil || unknown != field || len(got.Answers) != 1 || got.Answers[0].GetText().GetContent() != "hello" {
			t.Errorf("%s: %+v, unknown %q, %v", body, got, unknown, err)
		}
	}
}

// The bounds of the session are of all that is kept, not of one turn; what is removed makes room, and forgetting empties it.
func TestSessionBounds(t *testing.T) {
	t.Parallel()
	full := map[string]string{}
	for i := range MaxSessionKeys {
		full[fmt.Sprint("k", i)] = "v"
	}
	for body, fits := range map[string]bool{
		`{"answers": ["a"], "session": {"k0": "w"}}`:                   true,
		`{"answers": ["a"], "session": {"more": "w"}}`:                 false,
		`{"answers": ["a"], "session": {"more": "w", "k0": null}}`:     true,
		`{"answers": ["a"], "session": {"more": "w", "k0": ""}}`:       true,
		`{"answers": ["a"], "session": {"more": "w"}, "forget": true}`: true,
	} {
		if _, _, err := read([]byte(body), full); (err == nil) != fits {
			t.Errorf("%s: %v", body, err)
		}
	}
}

// FuzzResponse: whatever a bot says is read without a panic, within its bounds, and what is read as an answer can be sent.
func FuzzResponse(f *testing.F) {
	f.Add([]byte(`{"answers": ["a", {"text": "b"}, {"news": {"articles": [{"title": "t"}]}}], "session": {"a": null}}`))
	f.Add([]byte(`{"hand_over": {"account": "x"}, "forget": true}`))
	f.Add([]byte(`{"answers": [{"menu": {"options": [{"id": "a", "content": "b"}]}}], "x": 1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		isLife(data)
		got, _, err := read(data, map[string]string{"a": "b"})
		if err != nil {
			if !utf8.ValidString(err.Error()) {
				t.Errorf("%q", err)
			}
			return
		}
		if !got.Handled && (len(got.Answers) > 0 || got.HandOver != nil || len(got.Session) > 0) {
			t.Errorf("not handled: %+v", got)
		}
		if len(got.Answers) > MaxAnswers || len(got.Answers) > 0 && got.HandOver != nil {
			t.Errorf("%+v", got)
		}
		for _, a := range got.Answers {
			if a.GetContent() == nil {
				t.Errorf("an answer without content: %q", data)
			}
		}
	})
}
