package wechat

import (
	"fmt"
	"strconv"
	"strings"

	"hongyan/messages"
)

// detail reads what only events of its kind say (wechat-protocol §2.2). A number that is none is no reason to refuse an event:
// it stays 0, and the payload is kept.
func (p *push) detail(in *messages.Inbound, e *messages.Event) error {
	switch in.Kind {
	case messages.Kind_KIND_TEMPLATE_JOB_FINISH:
		e.Detail = &messages.Event_TemplateJob{TemplateJob: &messages.TemplateJob{Result: templateResult(e.Status)}}
	case messages.Kind_KIND_MASS_JOB_FINISH:
		e.Detail = &messages.Event_MassJob{MassJob: p.massJob(e.Status)}
	case messages.Kind_KIND_PUBLISH_JOB_FINISH:
		e.Detail = &messages.Event_PublishJob{PublishJob: p.publishJob()}
	case messages.Kind_KIND_SUBSCRIBE_MSG_POPUP, messages.Kind_KIND_SUBSCRIBE_MSG_CHANGE, messages.Kind_KIND_SUBSCRIBE_MSG_SENT:
		e.Detail = &messages.Event_SubscribeMsgs{SubscribeMsgs: p.subscribeMsgs()}
	case messages.Kind_KIND_KF_CREATE_SESSION, messages.Kind_KIND_KF_CLOSE_SESSION, messages.Kind_KIND_KF_SWITCH_SESSION:
		e.Detail = &messages.Event_KfSession{KfSession: &messages.KfSession{
			Account: p.text(fieldKfAccount), CloseType: p.text(fieldCloseType),
			FromAccount: p.text(fieldFromKfAccount), ToAccount: p.text(fieldToKfAccount),
		}}
	case messages.Kind_KIND_PIC_SYSPHOTO, messages.Kind_KIND_PIC_PHOTO_OR_ALBUM, messages.Kind_KIND_PIC_WEIXIN:
		e.Detail = &messages.Event_Pictures{Pictures: p.pictures()}
	case messages.Kind_KIND_USER_INFO_MODIFIED, messages.Kind_KIND_USER_AUTHORIZATION_REVOKE,
		messages.Kind_KIND_USER_AUTHORIZATION_CANCELLATION:
		return p.userNotice(in, e)
	case messages.Kind_KIND_ACCOUNT_VERIFICATION:
		notice := &messages.AccountNotice{FailReason: p.text(fieldFailReason)}
		p.int64(fieldExpiredTime, &notice.ExpireTime)
		p.int64(fieldFailTime, &notice.FailTime)
		e.Detail = &messages.Event_AccountNotice{AccountNotice: notice}
	case messages.Kind_KIND_USER_ENTER_TEMP_SESSION:
		e.Detail = &messages.Event_TempSession{TempSession: &messages.TempSession{From: p.text(fieldSessionFrom)}}
	case messages.Kind_KIND_DEBUG_DEMO:
		e.Detail = &messages.Event_DebugDemo{DebugDemo: &messages.DebugDemo{Text: p.text(fieldDebugText)}}
	default: // the event itself says all
	}
	return nil
}

// userNotice reads what the platform says about a user. FromUserName is the platform's own name there, one for all users: taken
// for the user's it would join the notices of one second about different users into one.
func (p *push) userNotice(in *messages.Inbound, e *messages.Event) error {
	notice := &messages.UserNotice{AppId: p.text(fieldAppId), RevokeInfo: p.text(fieldRevokeInfo), Sender: in.OpenId}
	e.Detail = &messages.Event_UserNotice{UserNotice: notice}
	if about := p.text(fieldOpenId); about != "" {
		if !validID(about) {
			return fmt.Errorf("%w: an id is too long or has a control character", ErrMalformed)
		}
		in.OpenId = about
	}
	return nil
}

// templateResult is what the Status of TEMPLATESENDJOBFINISH means. WeChat puts blanks into it or not.
func templateResult(status string) messages.TemplateJob_Result {
	switch strings.ToLower(strings.ReplaceAll(status, " ", "")) {
	case "success":
		return messages.TemplateJob_RESULT_SUCCESS
	case "failed:userblock":
		return messages.TemplateJob_RESULT_USER_BLOCK
	case "failed:systemfailed":
		return messages.TemplateJob_RESULT_SYSTEM_FAILED
	default:
		return messages.TemplateJob_RESULT_UNKNOWN
	}
}

func (p *push) massJob(status string) *messages.MassJob {
	job := &messages.MassJob{}
	status = strings.ToLower(strings.ReplaceAll(status, " ", ""))
	job.Success = status == "sendsuccess"
	if code, ok := strings.CutPrefix(status, "err("); ok {
		int32Of(strings.TrimSuffix(code, ")"), &job.ErrorCode) // else it stays 0, and the status says it all
	}
	p.int64(fieldTotalCount, &job.Total)
	p.int64(fieldFilterCount, &job.Filtered)
	p.int64(fieldSentCount, &job.Sent)
	p.int64(fieldErrorCount, &job.Failed)
	job.Copyrights = p.copyrights(&job.CopyrightState)
	var articles items[messages.PublishedArticle]
	p.below(fieldArticleUrlResult, func(item int, name []byte, value string) bool {
		switch string(name) {
		case "Count": // of the items
		case "ArticleIdx":
			return int32Of(value, &articles.at(item).Index)
		case "ArticleUrl":
			articles.at(item).Url = value
		default:
			return false
		}
		return true
	})
	job.Articles = articles.all
	return job
}

// copyrights reads the judgement of each article of a mass message, and the one of all into state.
func (p *push) copyrights(state *int32) []*messages.Copyright {
	var rights items[messages.Copyright]
	p.below(fieldCopyrightCheckResult, func(item int, name []byte, value string) bool {
		switch string(name) {
		case "Count": // of the items
		case "CheckState":
			return int32Of(value, state)
		case "ArticleIdx":
			return int32Of(value, &rights.at(item).ArticleIndex)
		case "UserDeclareState":
			return int32Of(value, &rights.at(item).UserDeclareState)
		case "AuditState":
			return int32Of(value, &rights.at(item).AuditState)
		case "OriginalArticleUrl":
			rights.at(item).OriginalUrl = value
		case "OriginalArticleType":
			return int32Of(value, &rights.at(item).OriginalType)
		case "CanReprint":
			return boolOf(value, &rights.at(item).CanReprint)
		case "NeedReplaceContent":
			return boolOf(value, &rights.at(item).NeedReplaceContent)
		case "NeedShowReprintSource":
			return boolOf(value, &rights.at(item).NeedShowReprintSource)
		default:
			return false
		}
		return true
	})
	return rights.all
}

func (p *push) publishJob() *messages.PublishJob {
	job := &messages.PublishJob{}
	var articles items[messages.PublishedArticle]
	p.below(fieldPublishEventInfo, func(item int, name []byte, value string) bool {
		switch string(name) {
		case "publish_id":
			job.PublishId = value
		case "publish_status":
			return int32Of(value, &job.Status)
		case "article_id":
			job.ArticleId = value
		case "count": // of the items
		case "idx":
			return int32Of(value, &articles.at(item).Index)
		case "article_url":
			articles.at(item).Url = value
		case "fail_idx":
			var index int32
			ok := int32Of(value, &index)
			if ok {
				job.FailedIndexes = append(job.FailedIndexes, index)
			}
			return ok
		default:
			return false
		}
		return true
	})
	job.Articles = articles.all
	return job
}

// subscribeMsgs reads the items of a subscribe_msg_*_event: in XML they stand in an element of the event's own, in JSON at the
// top level, one item as an object and several as an array (wechat-protocol §2.2).
func (p *push) subscribeMsgs() *messages.SubscribeMsgs {
	var msgs items[messages.SubscribeMsg]
	for _, f := range [...]field{fieldPopupEvent, fieldChangeEvent, fieldSentEvent, fieldList} {
		p.below(f, func(item int, name []byte, value string) bool {
			switch string(name) {
			case "TemplateId":
				msgs.at(item).TemplateId = value
			case "SubscribeStatusString":
				msgs.at(item).Status = value
			case "PopupScene":
				return int32Of(value, &msgs.at(item).PopupScene)
			case "MsgID":
				msgs.at(item).MsgId = value
			case "ErrorCode":
				return int32Of(value, &msgs.at(item).ErrorCode)
			case "ErrorStatus":
				msgs.at(item).ErrorStatus = value
			default:
				return false
			}
			return true
		})
	}
	return &messages.SubscribeMsgs{Items: msgs.all}
}

func (p *push) pictures() *messages.Pictures {
	pictures := &messages.Pictures{}
	p.below(fieldSendPicsInfo, func(_ int, name []byte, value string) bool {
		switch string(name) {
		case "Count":
			return int32Of(value, &pictures.Count)
		case "PicMd5Sum":
			pictures.Md5 = append(pictures.Md5, value)
		default:
			return false
		}
		return true
	})
	return pictures
}

// items collects the items of a list from the visits of push.below.
type items[T any] struct {
	all  []*T
	item int // the number of the last one
}

// at is the item with this number: the last one, or a new one behind it.
func (l *items[T]) at(item int) *T {
	if len(l.all) == 0 || l.item != item {
		l.all, l.item = append(l.all, new(T)), item
	}
	return l.all[len(l.all)-1]
}

// int64 sets dst to the field's number; an absent or empty one leaves it.
func (p *push) int64(f field, dst *int64) {
	if s := p.text(f); s != "" {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			p.unread = true
			return
		}
		*dst = n
	}
}

// int32 is int64 for smaller numbers.
func (p *push) int32(f field, dst *int32) {
	if s := p.text(f); s != "" && !int32Of(s, dst) {
		p.unread = true
	}
}

// int32Of sets dst to the number that value is. False is a value that is none; then dst stays.
func int32Of(value string, dst *int32) bool {
	n, err := strconv.ParseInt(value, 10, 32)
	if err == nil {
		*dst = int32(n)
	}
	return err == nil
}

// boolOf is int32Of for WeChat's 0 and 1.
func boolOf(value string, dst *bool) bool {
	switch value {
	case "0", "false":
		*dst = false
	case "1", "true":
		*dst = true
	default:
		return false
	}
	return true
}
