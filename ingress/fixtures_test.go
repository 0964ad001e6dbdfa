package ingress

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hongyan/messages"
	"hongyan/wechat/crypt"
)

const fixtureFolder = "../wechat/testdata/callbacks"

// fixtures reads every callback that nobody here wrote.
func fixtures(tb testing.TB) map[string]string {
	tb.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(fixtureFolder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := os.ReadFile(path)
		files[strings.TrimPrefix(filepath.ToSlash(path), fixtureFolder+"/")] = string(body)
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	if len(files) < 150 {
		tb.Fatalf("%d files under %s, want all of them", len(files), fixtureFolder)
	}
	return files
}

// identity reads MsgType, Event and the user of a fixture with the standard library's decoders, apart from the code under test. A
// notice about a user (user_*) comes from the platform's own name, and says in OpenID whom it is about.
func identity(t *testing.T, body string) (msgType, event, sender string) {
	t.Helper()
	body = strings.TrimPrefix(body, "\ufeff")
	var f struct {
		MsgType, Event, FromUserName, OpenID string
		Lower                                string `xml:"openid"`
	}
	if strings.HasPrefix(strings.TrimSpace(body), "{") {
		var m map[string]any
		if err := json.Unmarshal([]byte(body), &m); err != nil {
			t.Fatal(err)
		}
		f.MsgType, _ = m["MsgType"].(string)
		f.Event, _ = m["Event"].(string)
		f.FromUserName, _ = m["FromUserName"].(string)
		f.OpenID, _ = m["OpenID"].(string)
		f.Lower, _ = m["openid"].(string)
	} else if err := xml.NewDecoder(bytes.NewReader([]byte(body))).Decode(&f); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	msgType, event, sender = strings.TrimSpace(f.MsgType), strings.ToLower(strings.TrimSpace(f.Event)), strings.TrimSpace(f.FromUserName)
	if event == "user_info_modified" || strings.HasPrefix(event, "user_authorization_") {
		sender = strings.TrimSpace(f.OpenID + f.Lower)
	}
	return msgType, event, sender
}

// kinds says what each pair of MsgType and Event must become; what is not listed is acknowledged as unknown.
var kinds = map[[2]string]messages.Kind{
	{"text", ""}:                                 messages.Kind_KIND_TEXT,
	{"image", ""}:                                messages.Kind_KIND_IMAGE,
	{"voice", ""}:                                messages.Kind_KIND_VOICE,
	{"video", ""}:                                messages.Kind_KIND_VIDEO,
	{"shortvideo", ""}:                           messages.Kind_KIND_SHORT_VIDEO,
	{"location", ""}:                             messages.Kind_KIND_LOCATION,
	{"link", ""}:                                 messages.Kind_KIND_LINK,
	{"file", ""}:                                 messages.Kind_KIND_FILE,
	{"miniprogrampage", ""}:                      messages.Kind_KIND_MINI_PROGRAM_PAGE,
	{"event", "subscribe"}:                       messages.Kind_KIND_SUBSCRIBE,
	{"event", "unsubscribe"}:                     messages.Kind_KIND_UNSUBSCRIBE,
	{"event", "scan"}:                            messages.Kind_KIND_SCAN,
	{"event", "location"}:                        messages.Kind_KIND_LOCATION_REPORT,
	{"event", "click"}:                           messages.Kind_KIND_CLICK,
	{"event", "view"}:                            messages.Kind_KIND_VIEW,
	{"event", "view_miniprogram"}:                messages.Kind_KIND_VIEW_MINI_PROGRAM,
	{"event", "scancode_push"}:                   messages.Kind_KIND_SCANCODE_PUSH,
	{"event", "scancode_waitmsg"}:                messages.Kind_KIND_SCANCODE_WAITMSG,
	{"event", "pic_sysphoto"}:                    messages.Kind_KIND_PIC_SYSPHOTO,
	{"event", "pic_photo_or_album"}:              messages.Kind_KIND_PIC_PHOTO_OR_ALBUM,
	{"event", "pic_weixin"}:                      messages.Kind_KIND_PIC_WEIXIN,
	{"event", "location_select"}:                 messages.Kind_KIND_LOCATION_SELECT,
	{"event", "templatesendjobfinish"}:           messages.Kind_KIND_TEMPLATE_JOB_FINISH,
	{"event", "masssendjobfinish"}:               messages.Kind_KIND_MASS_JOB_FINISH,
	{"event", "publishjobfinish"}:                messages.Kind_KIND_PUBLISH_JOB_FINISH,
	{"event", "freepublishjobfinish"}:            messages.Kind_KIND_PUBLISH_JOB_FINISH,
	{"event", "subscribe_msg_popup_event"}:       messages.Kind_KIND_SUBSCRIBE_MSG_POPUP,
	{"event", "subscribe_msg_change_event"}:      messages.Kind_KIND_SUBSCRIBE_MSG_CHANGE,
	{"event", "subscribe_msg_sent_event"}:        messages.Kind_KIND_SUBSCRIBE_MSG_SENT,
	{"event", "kf_create_session"}:               messages.Kind_KIND_KF_CREATE_SESSION,
	{"event", "kf_close_session"}:                messages.Kind_KIND_KF_CLOSE_SESSION,
	{"event", "kf_switch_session"}:               messages.Kind_KIND_KF_SWITCH_SESSION,
	{"event", "user_enter_tempsession"}:          messages.Kind_KIND_USER_ENTER_TEMP_SESSION,
	{"event", "user_info_modified"}:              messages.Kind_KIND_USER_INFO_MODIFIED,
	{"event", "user_authorization_revoke"}:       messages.Kind_KIND_USER_AUTHORIZATION_REVOKE,
	{"event", "user_authorization_cancellation"}: messages.Kind_KIND_USER_AUTHORIZATION_CANCELLATION,
	{"event", "qualification_verify_success"}:    messages.Kind_KIND_ACCOUNT_VERIFICATION,
	{"event", "qualification_verify_fail"}:       messages.Kind_KIND_ACCOUNT_VERIFICATION,
	{"event", "naming_verify_success"}:           messages.Kind_KIND_ACCOUNT_VERIFICATION,
	{"event", "naming_verify_fail"}:              messages.Kind_KIND_ACCOUNT_VERIFICATION,
	{"event", "annual_renew"}:                    messages.Kind_KIND_ACCOUNT_VERIFICATION,
	{"event", "verify_expired"}:                  messages.Kind_KIND_ACCOUNT_VERIFICATION,
	{"event", "debug_demo"}:                      messages.Kind_KIND_DEBUG_DEMO,
}

// Every fixture goes through the endpoint in plain and in safe mode, and ends in its kind or acknowledged as unknown.
func TestFixtures(t *testing.T) {
	t.Parallel()
	files := fixtures(t)
	for _, mode := range []Mode{ModePlain, ModeSafe} {
		t.Run(mode.name(), func(t *testing.T) {
			t.Parallel()
			b := newBench(t, mode, nil)
			b.answering("hello")
			known := 0
			for name, body := range files {
				before := len(b.log.all())
				c := call{method: "POST", path: "/wechat/callback/demo", query: signedQuery(testToken, time.Now()), body: body}
				if mode == ModeSafe {
					codec, err := crypt.NewCodec(testToken, testAESKey, testAppID)
					if err != nil {
						t.Fatal(err)
					}
					c = sealedCall(c, testToken, codec.Encrypt([]byte(body), [16]byte{}), false)
				}
				w := b.do(c)
				entries := b.log.all()
				if w.Code != 200 || len(entries) != before+1 {
					t.Errorf("%s: %d, %d entries; log:\n%s", name, w.Code, len(entries)-before, b.lines)
					continue
				}
				e := entries[before]
				in := e.GetInbound()
				msgType, event, sender := identity(t, body)
				want := kinds[[2]string{msgType, event}]
				if in.GetKind() != want || in.GetMsgType() != msgType || in.GetOpenId() != sender {
					t.Errorf("%s (%s %s): kind %v from %q, want %v from %q", name, msgType, event, in.GetKind(), in.GetOpenId(), want, sender)
				}
				if want == messages.Kind_KIND_UNKNOWN {
					if w.Body.String() != "success" || len(in.GetRaw()) == 0 {
						t.Errorf("%s: unknown kind answered with %q, %d bytes kept", name, w.Body, len(in.GetRaw()))
					}
					continue
				}
				known++
				waits := in.ForUser() && in.GetKind().Repliable()
				if (e.GetSlot() != nil) != waits || waits == (w.Body.String() == "success") {
					t.Errorf("%s: slot %v, answered with %q", name, e.GetSlot(), w.Body)
				}
			}
			if known < 20 {
				t.Errorf("only %d fixtures are of a known kind", known)
			}
		})
	}
}
