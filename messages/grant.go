package messages

import "time"

// Grant tells which customer-service messages a push of this kind allows (wechat-protocol §5.1): up to count messages within
// valid after the push. ok is false for kinds that open nothing. How grants that overlap combine is WeChat's secret, so each
// is counted by itself.
func (k Kind) Grant() (count int, valid time.Duration, ok bool) {
	switch k {
	case Kind_KIND_TEXT, Kind_KIND_IMAGE, Kind_KIND_VOICE, Kind_KIND_VIDEO, Kind_KIND_SHORT_VIDEO, Kind_KIND_LOCATION,
		Kind_KIND_LINK, Kind_KIND_FILE, Kind_KIND_MINI_PROGRAM_PAGE:
		return 5, 48 * time.Hour, true
	case Kind_KIND_CLICK, Kind_KIND_SCANCODE_PUSH, Kind_KIND_SCANCODE_WAITMSG, Kind_KIND_SUBSCRIBE, Kind_KIND_SCAN:
		return 3, time.Minute, true
	default:
		return 0, 0, false
	}
}
