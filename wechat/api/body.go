package api

import (
	"strconv"

	"hongyan/wechat/json"
)

// object builds a JSON request body, member by member. Texts go out as UTF-8 with nothing escaped that need not be: WeChat shows
// escapes to users (wechat-protocol §4). Its methods are called in the order in which the members shall stand.
type object struct {
	buf   []byte
	comma bool
}

func newObject() *object { return &object{buf: []byte{'{'}} }

// bytes ends the outermost object.
func (o *object) bytes() []byte { return append(o.buf, '}') }

func (o *object) key(name string) {
	if o.comma {
		o.buf = append(o.buf, ',')
	}
	o.comma = true
	if name != "" {
		o.buf = append(json.AppendString(o.buf, name), ':')
	}
}

func (o *object) text(name, value string) {
	o.key(name)
	o.buf = json.AppendString(o.buf, value)
}

// optional leaves the member out where it is empty.
func (o *object) optional(name, value string) {
	if value != "" {
		o.text(name, value)
	}
}

func (o *object) boolean(name string, value bool) {
	o.key(name)
	o.buf = strconv.AppendBool(o.buf, value)
}

// in writes an object member with what fill puts into it; an item of a list has no name.
func (o *object) in(name string, fill func()) { o.nest(name, '{', '}', fill) }

func (o *object) list(name string, fill func()) { o.nest(name, '[', ']', fill) }

func (o *object) nest(name string, first, last byte, fill func()) {
	o.key(name)
	o.buf = append(o.buf, first)
	o.comma = false
	fill()
	o.buf = append(o.buf, last)
	o.comma = true
}
