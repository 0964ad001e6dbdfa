package wechat

import (
	"fmt"
	"strconv"

	"hongyan/messages"
)

// message fills kind and body of everything that is not an event. keep says that the payload must be kept raw: for an unknown
// kind, for a number that is none, and for a message without a MsgId, whose payload is then part of its identity.
func (p *push) message(in *messages.Inbound) (keep bool, err error) {
	if in.MsgType == "" {
		return true, nil // an InfoType, the probe of cloud hosting, or what WeChat thinks of next
	}
	if in.OpenId == "" {
		return false, fmt.Errorf("%w: message without FromUserName", ErrMalformed)
	}
	if p.text(fieldCreateTime) == "" {
		return false, fmt.Errorf("%w: message without CreateTime", ErrMalformed)
	}
	in.MsgDataId = p.text(fieldMsgDataId)
	p.int32(fieldIdx, &in.ArticleIndex)
	switch in.Kind = messageKind(in.MsgType); in.Kind {
	case messages.Kind_KIND_TEXT:
		in.Body = &messages.Inbound_Text{Text: &messages.Text{
			Content: p.text(fieldContent), MenuId: p.text(fieldMenuMessageId),
		}}
	case messages.Kind_KIND_IMAGE, messages.Kind_KIND_VOICE, messages.Kind_KIND_VIDEO, messages.Kind_KIND_SHORT_VIDEO:
		in.Body = &messages.Inbound_Media{Media: &messages.Media{
			MediaId: p.text(fieldMediaId), PicUrl: p.text(fieldPicUrl), Format: p.text(fieldFormat),
			MediaId_16K: p.text(fieldMediaId16K), Recognition: p.text(fieldRecognition),
			ThumbMediaId: p.text(fieldThumbMediaId),
		}}
	case messages.Kind_KIND_LOCATION:
		place := &messages.Location{}
		for _, f := range [...]field{fieldLocationX, fieldLocationY, fieldScale, fieldLabel} {
			if !locationPart(place, fieldNames[f], p.text(f)) {
				return false, notANumber(f)
			}
		}
		in.Body = &messages.Inbound_Location{Location: place}
	case messages.Kind_KIND_LINK:
		in.Body = &messages.Inbound_Link{Link: &messages.Link{
			Title: p.text(fieldTitle), Description: p.text(fieldDescription), Url: p.text(fieldUrl),
		}}
	case messages.Kind_KIND_FILE:
		size, err := p.whole(fieldFileTotalLen)
		if err != nil {
			return false, err
		}
		in.Body = &messages.Inbound_File{File: &messages.File{
			Title: p.text(fieldTitle), Description: p.text(fieldDescription), FileKey: p.text(fieldFileKey),
			Md5: p.text(fieldFileMd5), TotalBytes: size,
		}}
	case messages.Kind_KIND_MINI_PROGRAM_PAGE:
		in.Body = &messages.Inbound_MiniProgramPage{MiniProgramPage: &messages.MiniProgramPage{
			Title: p.text(fieldTitle), AppId: p.text(fieldAppId), PagePath: p.text(fieldPagePath),
			ThumbUrl: p.text(fieldThumbUrl), ThumbMediaId: p.text(fieldThumbMediaId),
		}}
	default: // an unknown kind: the payload itself is kept
	}
	return in.Kind == messages.Kind_KIND_UNKNOWN || in.MsgId == "" || p.unread, nil
}

// locationPart sets one part of a place by the name that WeChat gives it. False is a value that is no number where one must
// be; Location_X is the latitude.
func locationPart(place *messages.Location, name, value string) (ok bool) {
	switch name {
	case "Location_X", "Latitude":
		place.Latitude, ok = decimal(value)
	case "Location_Y", "Longitude":
		place.Longitude, ok = decimal(value)
	case "Precision":
		place.Precision, ok = decimal(value)
	case "Scale":
		if value == "" {
			return true
		}
		n, err := strconv.ParseInt(value, 10, 32)
		place.Scale, ok = int32(n), err == nil
	case "Label":
		place.Label, ok = value, true
	case "Poiname":
		place.PoiName, ok = value, true
	default:
		ok = true
	}
	return ok
}
