package wechat

import (
	"strings"

	"hongyan/messages"
)

func isEvent(msgType string) bool { return strings.EqualFold(msgType, "event") }

// messageKind is the kind of a message by its MsgType (wechat-protocol §2.1), in whatever case.
func messageKind(msgType string) messages.Kind {
	switch strings.ToLower(msgType) {
	case "text":
		return messages.Kind_KIND_TEXT
	case "image":
		return messages.Kind_KIND_IMAGE
	case "voice":
		return messages.Kind_KIND_VOICE
	case "video":
		return messages.Kind_KIND_VIDEO
	case "shortvideo":
		return messages.Kind_KIND_SHORT_VIDEO
	case "location":
		return messages.Kind_KIND_LOCATION
	case "link":
		return messages.Kind_KIND_LINK
	case "file":
		return messages.Kind_KIND_FILE
	case "miniprogrampage":
		return messages.Kind_KIND_MINI_PROGRAM_PAGE
	default:
		return messages.Kind_KIND_UNKNOWN
	}
}

// eventKinds are the events of wechat-protocol §2.2 by their name in lower case; WeChat itself is of two minds about case.
var eventKinds = map[string]messages.Kind{
	"subscribe":                       messages.Kind_KIND_SUBSCRIBE,
	"unsubscribe":                     messages.Kind_KIND_UNSUBSCRIBE,
	"scan":                            messages.Kind_KIND_SCAN,
	"location":                        messages.Kind_KIND_LOCATION_REPORT,
	"click":                           messages.Kind_KIND_CLICK,
	"view":                            messages.Kind_KIND_VIEW,
	"view_miniprogram":                messages.Kind_KIND_VIEW_MINI_PROGRAM,
	"scancode_push":                   messages.Kind_KIND_SCANCODE_PUSH,
	"scancode_waitmsg":                messages.Kind_KIND_SCANCODE_WAITMSG,
	"pic_sysphoto":                    messages.Kind_KIND_PIC_SYSPHOTO,
	"pic_photo_or_album":              messages.Kind_KIND_PIC_PHOTO_OR_ALBUM,
	"pic_weixin":                      messages.Kind_KIND_PIC_WEIXIN,
	"location_select":                 messages.Kind_KIND_LOCATION_SELECT,
	"templatesendjobfinish":           messages.Kind_KIND_TEMPLATE_JOB_FINISH,
	"masssendjobfinish":               messages.Kind_KIND_MASS_JOB_FINISH,
	"publishjobfinish":                messages.Kind_KIND_PUBLISH_JOB_FINISH,
	"freepublishjobfinish":            messages.Kind_KIND_PUBLISH_JOB_FINISH,
	"subscribe_msg_popup_event":       messages.Kind_KIND_SUBSCRIBE_MSG_POPUP,
	"subscribe_msg_change_event":      messages.Kind_KIND_SUBSCRIBE_MSG_CHANGE,
	"subscribe_msg_sent_event":        messages.Kind_KIND_SUBSCRIBE_MSG_SENT,
	"kf_create_session":               messages.Kind_KIND_KF_CREATE_SESSION,
	"kf_close_session":                messages.Kind_KIND_KF_CLOSE_SESSION,
	"kf_switch_session":               messages.Kind_KIND_KF_SWITCH_SESSION,
	"user_enter_tempsession":          messages.Kind_KIND_USER_ENTER_TEMP_SESSION,
	"user_info_modified":              messages.Kind_KIND_USER_INFO_MODIFIED,
	"user_authorization_revoke":       messages.Kind_KIND_USER_AUTHORIZATION_REVOKE,
	"user_authorization_cancellation": messages.Kind_KIND_USER_AUTHORIZATION_CANCELLATION,
	"qualification_verify_success":    messages.Kind_KIND_ACCOUNT_VERIFICATION,
	"qualification_verify_fail":       messages.Kind_KIND_ACCOUNT_VERIFICATION,
	"naming_verify_success":           messages.Kind_KIND_ACCOUNT_VERIFICATION,
	"naming_verify_fail":              messages.Kind_KIND_ACCOUNT_VERIFICATION,
	"annual_renew":                    messages.Kind_KIND_ACCOUNT_VERIFICATION,
	"verify_expired":                  messages.Kind_KIND_ACCOUNT_VERIFICATION,
	"debug_demo":                      messages.Kind_KIND_DEBUG_DEMO,
}

func eventKind(name string) messages.Kind { return eventKinds[strings.ToLower(name)] }
