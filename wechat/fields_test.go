package wechat

import (
	"strings"
	"testing"

	"hongyan/messages"
)

func TestFieldNames(t *testing.T) {
	t.Parallel()
	for f, name := range fieldNames {
		if name == "" {
			t.Errorf("field %d has no name", f)
		}
		if fieldsByName[name] != field(f) {
			t.Errorf("%s is the name of two fields", name)
		}
	}
	sole := strings.Join(fieldNames[:soleFields], " ")
	if sole != "ToUserName FromUserName CreateTime MsgType MsgId Event EventKey Encrypt" {
		t.Errorf("fields that may stand once: %s", sole)
	}
}

// The events of wechat-protocol §2.2, also those without a fixture, in any case.
func TestEventKinds(t *testing.T) {
	t.Parallel()
	seen := 0
	for line := range strings.Lines(`
		SUBSCRIBE subscribe
		UNSUBSCRIBE unsubscribe
		SCAN SCAN
		LOCATION_REPORT LOCATION
		CLICK CLICK
		VIEW VIEW
		VIEW_MINI_PROGRAM view_miniprogram
		SCANCODE_PUSH scancode_push
		SCANCODE_WAITMSG scancode_waitmsg
		PIC_SYSPHOTO pic_sysphoto
		PIC_PHOTO_OR_ALBUM pic_photo_or_album
		PIC_WEIXIN pic_weixin
		LOCATION_SELECT location_select
		TEMPLATE_JOB_FINISH TEMPLATESENDJOBFINISH
		MASS_JOB_FINISH MASSSENDJOBFINISH
		PUBLISH_JOB_FINISH PUBLISHJOBFINISH FREEPUBLISHJOBFINISH
		SUBSCRIBE_MSG_POPUP subscribe_msg_popup_event
		SUBSCRIBE_MSG_CHANGE subscribe_msg_change_event
		SUBSCRIBE_MSG_SENT subscribe_msg_sent_event
		KF_CREATE_SESSION kf_create_session
		KF_CLOSE_SESSION kf_close_session
		KF_SWITCH_SESSION kf_switch_session
		USER_ENTER_TEMP_SESSION user_enter_tempsession
		USER_INFO_MODIFIED user_info_modified
		USER_AUTHORIZATION_REVOKE user_authorization_revoke
		USER_AUTHORIZATION_CANCELLATION user_authorization_cancellation
		ACCOUNT_VERIFICATION qualification_verify_success qualification_verify_fail naming_verify_success naming_verify_fail annual_renew verify_expired
		DEBUG_DEMO debug_demo
		UNKNOWN card_pass_check WifiConnected subscribe_ scanning
	`) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		want, ok := messages.Kind_value["KIND_"+words[0]]
		if !ok {
			t.Fatalf("no kind %s", words[0])
		}
		for _, name := range words[1:] {
			for _, spelt := range []string{name, strings.ToUpper(name), strings.ToLower(name)} {
				if got := eventKind(spelt); got != messages.Kind(want) {
					t.Errorf("%s: %v, want KIND_%s", spelt, got, words[0])
				}
			}
		}
		seen++
	}
	events := 0
	for k := range messages.Kind_name {
		if messages.Kind(k).IsEvent() {
			events++
		}
	}
	if seen != events+1 {
		t.Errorf("%d of %d event kinds are listed", seen-1, events)
	}
}
