package model

import (
	"fmt"
	"strings"
	"time"

	"hongyan/bots"
	"hongyan/conversation"
	"hongyan/messages"
)

// question is what the user said, as the model gets it.
type question struct {
	text  string
	image string // a new picture's reference: its media id, or its address; empty for anything but a picture
}

// question puts a message into words; false where it is none for a model, and the next link is asked.
//
// Texts, voices that WeChat recognised, pictures (unless images are off), places and links are questions. Everything else passes on:
// voices without words, videos, files and mini-programs are nothing that a model could read here, and a tap on a menu carries a
// key that means something to rules, not to people.
func (b *Bot) question(req *bots.Request) (question, bool) {
	in := req.Message
	switch in.GetKind() {
	case messages.Kind_KIND_TEXT:
		return spoken(in.GetText().GetContent())
	case messages.Kind_KIND_VOICE:
		return spoken(in.GetMedia().GetRecognition())
	case messages.Kind_KIND_IMAGE:
		ref := in.GetMedia().GetPicUrl()
		if b.images == ImagesBytes {
			ref = in.GetMedia().GetMediaId()
		}
		return question{text: conversation.Describe(in), image: ref}, b.images != ImagesOff && ref != ""
	case messages.Kind_KIND_LOCATION:
		at := in.GetLocation()
		return spoken(fmt.Sprintf("[位置] %s (%.6f, %.6f)",
			strings.TrimSpace(at.GetPoiName()+" "+at.GetLabel()), at.GetLatitude(), at.GetLongitude()))
	case messages.Kind_KIND_LINK:
		link := in.GetLink()
		return spoken("[链接] " + joined(link.GetTitle(), link.GetDescription(), link.GetUrl()))
	default:
		return question{}, false
	}
}

// spoken is a question in words; a blank one is none.
func spoken(text string) (question, bool) {
	text = strings.TrimSpace(text)
	return question{text: text}, text != ""
}

// joined are the lines that are not blank.
func joined(lines ...string) string {
	kept := lines[:0]
	for _, line := range lines {
		if line = strings.TrimSpace(line); line != "" {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "\n")
}

// china is WeChat's time zone; it knows no daylight saving.
var china = time.FixedZone("CST", 8*60*60)

// longestAccount is the length that an account id may have (DESIGN §8).
const longestAccount = 32

// fill puts the day, the time and the account into a system prompt.
func fill(system, account string, now time.Time) string {
	if !strings.Contains(system, "{") {
		return system
	}
	now = now.In(china)
	return strings.NewReplacer(
		"{date}", now.Format(time.DateOnly), "{time}", now.Format("15:04"), "{account}", account,
	).Replace(system)
}
