package wechat

import (
	"errors"
	"fmt"

	"hongyan/messages"
	"hongyan/wechat/json"
	"hongyan/wechat/tree"
	"hongyan/wechat/xml"
)

// ErrMalformed is a body that is not a push: broken, hostile, or without what every push of its sort has. The error around it
// says in a few words why, and holds nothing of the body.
var ErrMalformed = errors.New("malformed push")

// field is a name at the top level of a push that this package knows.
type field uint8

const (
	fieldToUserName field = iota
	fieldFromUserName
	fieldCreateTime
	fieldMsgType
	fieldMsgId
	fieldEvent
	fieldEventKey
	fieldEncrypt
	soleFields // the ones above stand at most once (DESIGN §8), and have no children

	fieldMsgID field = iota - 1
	fieldInfoType
	fieldContent
	fieldMenuMessageId
	fieldMediaId
	fieldMediaId16K
	fieldPicUrl
	fieldFormat
	fieldRecognition
	fieldThumbMediaId
	fieldLocationX
	fieldLocationY
	fieldScale
	fieldLabel
	fieldTitle
	fieldDescription
	fieldUrl
	fieldFileKey
	fieldFileMd5
	fieldFileTotalLen
	fieldAppId
	fieldPagePath
	fieldThumbUrl
	fieldTicket
	fieldMenuId
	fieldStatus
	fieldLatitude
	fieldLongitude
	fieldPrecision
	fieldScanCodeInfo
	fieldSendLocationInfo
	fieldSendPicsInfo
	fieldMsgDataId
	fieldIdx
	fieldTotalCount
	fieldFilterCount
	fieldSentCount
	fieldErrorCount
	fieldCopyrightCheckResult
	fieldArticleUrlResult
	fieldPublishEventInfo
	fieldList
	fieldPopupEvent
	fieldChangeEvent
	fieldSentEvent
	fieldKfAccount
	fieldFromKfAccount
	fieldToKfAccount
	fieldCloseType
	fieldSessionFrom
	fieldOpenId
	fieldRevokeInfo
	fieldExpiredTime
	fieldFailTime
	fieldFailReason
	fieldDebugText
	fieldCount
)

// fieldNames are the fields as WeChat spells them.
var fieldNames = [fieldCount]string{
	fieldToUserName:           "ToUserName",
	fieldFromUserName:         "FromUserName",
	fieldCreateTime:           "CreateTime",
	fieldMsgType:              "MsgType",
	fieldMsgId:                "MsgId",
	fieldEvent:                "Event",
	fieldEventKey:             "EventKey",
	fieldEncrypt:              "Encrypt",
	fieldMsgID:                "MsgID",    // of job results
	fieldInfoType:             "InfoType", // of third-party platforms
	fieldContent:              "Content",
	fieldMenuMessageId:        "bizmsgmenuid", // of a tapped msgmenu option
	fieldMediaId:              "MediaId",
	fieldMediaId16K:           "MediaId16K",
	fieldPicUrl:               "PicUrl",
	fieldFormat:               "Format",
	fieldRecognition:          "Recognition",
	fieldThumbMediaId:         "ThumbMediaId",
	fieldLocationX:            "Location_X",
	fieldLocationY:            "Location_Y",
	fieldScale:                "Scale",
	fieldLabel:                "Label",
	fieldTitle:                "Title",
	fieldDescription:          "Description",
	fieldUrl:                  "Url",
	fieldFileKey:              "FileKey",
	fieldFileMd5:              "FileMd5",
	fieldFileTotalLen:         "FileTotalLen",
	fieldAppId:                "AppId",
	fieldPagePath:             "PagePath",
	fieldThumbUrl:             "ThumbUrl",
	fieldTicket:               "Ticket",
	fieldMenuId:               "MenuId",
	fieldStatus:               "Status",
	fieldLatitude:             "Latitude",
	fieldLongitude:            "Longitude",
	fieldPrecision:            "Precision",
	fieldScanCodeInfo:         "ScanCodeInfo",
	fieldSendLocationInfo:     "SendLocationInfo",
	fieldSendPicsInfo:         "SendPicsInfo",
	fieldMsgDataId:            "MsgDataId", // of messages that were sent from under an article
	fieldIdx:                  "Idx",
	fieldTotalCount:           "TotalCount",
	fieldFilterCount:          "FilterCount",
	fieldSentCount:            "SentCount",
	fieldErrorCount:           "ErrorCount",
	fieldCopyrightCheckResult: "CopyrightCheckResult",
	fieldArticleUrlResult:     "ArticleUrlResult",
	fieldPublishEventInfo:     "PublishEventInfo",
	fieldList:                 "List", // the items of subscribe_msg_*_event in JSON; XML has them in one of the three below
	fieldPopupEvent:           "SubscribeMsgPopupEvent",
	fieldChangeEvent:          "SubscribeMsgChangeEvent",
	fieldSentEvent:            "SubscribeMsgSentEvent",
	fieldKfAccount:            "KfAccount",
	fieldFromKfAccount:        "FromKfAccount",
	fieldToKfAccount:          "ToKfAccount",
	fieldCloseType:            "CloseType",
	fieldSessionFrom:          "SessionFrom",
	fieldOpenId:               "OpenID",
	fieldRevokeInfo:           "RevokeInfo",
	fieldExpiredTime:          "ExpiredTime",
	fieldFailTime:             "FailTime",
	fieldFailReason:           "FailReason",
	fieldDebugText:            "debug_str",
}

// fieldsByName finds a field by its name in a body.
var fieldsByName = func() map[string]field {
	m := make(map[string]field, fieldCount)
	for f, name := range fieldNames {
		m[name] = field(f)
	}
	// Notices about users are of two minds about these.
	m["openid"], m["appid"], m["AppID"] = fieldOpenId, fieldAppId, fieldAppId
	return m
}()

// push is a parsed body with an index of its known top-level fields.
type push struct {
	format messages.Format
	nodes  []tree.Node
	at     [fieldCount]int16 // index of the first node of a field; 0 (the root's) for none
	read   [fieldCount]bool  // the fields whose values were asked for
	more   bool              // there are names that this package does not know, or repeats
	unread bool              // there is something in known fields that messages.Inbound has no place for
}

// nodeRoom is how many nodes a push may have before its list moves to the heap. Messages have about eight.
const nodeRoom = 24

// parse reads body in the format that its first byte shows and checks what holds for envelopes and pushes alike. room is the
// first home of the list of nodes, so that it can stay on the caller's stack; the rarer JSON makes its own.
func parse(room []tree.Node, body []byte) (p push, err error) {
	if len(body) > MaxBody {
		return p, fmt.Errorf("%w: body over %d bytes", ErrMalformed, MaxBody)
	}
	switch start := tree.SkipBlanks(body, tree.SkipBOM(body)); {
	case start == len(body):
		return p, fmt.Errorf("%w: empty body", ErrMalformed)
	case body[start] == '<':
		p.format = messages.Format_FORMAT_XML
		p.nodes, err = xml.Parse(room, body)
	case body[start] == '{':
		p.format = messages.Format_FORMAT_JSON
		p.nodes, err = json.Parse(make([]tree.Node, 0, nodeRoom), body)
	default:
		return p, fmt.Errorf("%w: neither XML nor JSON", ErrMalformed)
	}
	if err != nil {
		return p, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return p, p.index()
}

// index notes where the known fields stand, and refuses a push with two of those that decide who said what when, or with
// something else than one text in them.
func (p *push) index() error {
	for i := 1; i < len(p.nodes); i++ {
		n := &p.nodes[i]
		if n.Depth != 1 {
			continue
		}
		f, known := fieldsByName[string(n.Name)]
		switch {
		case !known:
			p.more = true
		case f < soleFields && (!n.Leaf || n.Item):
			return fmt.Errorf("%w: %s is not one value", ErrMalformed, fieldNames[f])
		case p.at[f] == 0:
			p.at[f] = int16(i)
		case f < soleFields:
			return fmt.Errorf("%w: repeated %s", ErrMalformed, fieldNames[f])
		case f == fieldList: // as it should be
		default:
			p.more = true
		}
	}
	return nil
}

// has tells whether the push has the field, be it empty.
func (p *push) has(f field) bool { return p.at[f] != 0 }

// text is the field's value, empty where there is none.
func (p *push) text(f field) string {
	p.read[f] = true
	if p.at[f] == 0 {
		return ""
	}
	return p.value(&p.nodes[p.at[f]])
}

func (p *push) value(n *tree.Node) string {
	switch {
	case !n.Escaped:
		return string(n.Value)
	case p.format == messages.Format_FORMAT_JSON:
		return json.Unescape(n.Value)
	default:
		return xml.Unescape(n.Value)
	}
}

// below visits the values below a field, however deep they stand. item is the number of the element (in JSON: the object) right
// around the value, which tells the items of a list apart; value is a copy. visit returns false for what it has no place for.
// An empty value is like an absent one.
func (p *push) below(f field, visit func(item int, name []byte, value string) (placed bool)) {
	if p.at[f] == 0 {
		return
	}
	p.read[f] = true
	first := int(p.at[f])
	var parents [tree.MaxDepth + 2]int // by depth, the element that was opened last
	inside := false
	for i := first; i < len(p.nodes); i++ {
		n := &p.nodes[i]
		if n.Depth == 1 {
			inside = i == first || f == fieldList && string(n.Name) == fieldNames[fieldList]
		}
		switch {
		case !inside:
		case !n.Leaf:
			parents[n.Depth] = i
		default:
			if value := p.value(n); value != "" && !visit(parents[n.Depth-1], n.Name, value) {
				p.unread = true
			}
		}
	}
}
