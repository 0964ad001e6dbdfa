package wechat

import (
	"strings"

	"hongyan/messages"
)

// scenePrefix stands before the scene in the EventKey of a subscription that came by a QR code (wechat-protocol §2.2).
const scenePrefix = "qrscene_"

// event fills kind and body of an event. keep says that the payload must be kept raw: the event is of an unknown kind, or says
// something that messages.Event has no place for.
func (p *push) event(in *messages.Inbound) (keep bool, err error) {
	e := &messages.Event{
		Name: p.text(fieldEvent), Key: p.text(fieldEventKey), Ticket: p.text(fieldTicket),
		MenuId: p.text(fieldMenuId), Status: p.text(fieldStatus),
	}
	in.Kind = eventKind(e.Name)
	in.Body = &messages.Inbound_Event{Event: e}
	switch in.Kind { //nolint:exhaustive // the others have no scene
	case messages.Kind_KIND_SCAN:
		e.Scene = e.Key
	case messages.Kind_KIND_SUBSCRIBE:
		if scene, ok := strings.CutPrefix(e.Key, scenePrefix); ok {
			e.Scene = scene
		}
	}
	p.scanned(e)
	if err := p.place(e); err != nil {
		return false, err
	}
	if err := p.detail(in, e); err != nil {
		return false, err
	}
	p.read[fieldEncrypt] = true // of a push in compat mode, which says everything twice
	keep = p.more || p.unread || in.Kind == messages.Kind_KIND_UNKNOWN
	for f := range fieldCount {
		keep = keep || p.has(f) && !p.read[f]
	}
	return keep, nil
}

// scanned reads what a user scanned with a menu button.
func (p *push) scanned(e *messages.Event) {
	p.below(fieldScanCodeInfo, func(_ int, name []byte, value string) bool {
		switch string(name) {
		case "ScanType":
			e.ScanType = value
		case "ScanResult":
			e.ScanResult = value
		default:
			return false
		}
		return true
	})
}

// place reads where a user is, or which place a user chose. Coordinates that are no numbers are an error.
func (p *push) place(e *messages.Event) error {
	for _, f := range [...]field{fieldLatitude, fieldLongitude, fieldPrecision} {
		if p.has(f) && !locationPart(point(e), fieldNames[f], p.text(f)) {
			return notANumber(f)
		}
	}
	bad := false
	p.below(fieldSendLocationInfo, func(_ int, name []byte, value string) bool {
		switch string(name) {
		case "Location_X", "Location_Y", "Scale", "Label", "Poiname":
			bad = bad || !locationPart(point(e), string(name), value)
			return true
		default:
			return false
		}
	})
	if bad {
		return notANumber(fieldSendLocationInfo)
	}
	return nil
}

func point(e *messages.Event) *messages.Location {
	if e.Point == nil {
		e.Point = &messages.Location{}
	}
	return e.Point
}
