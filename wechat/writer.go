package wechat

import (
	"strconv"

	"hongyan/messages"
	"hongyan/wechat/json"
	"hongyan/wechat/xml"
)

// writer writes one reply as XML or as JSON. Both have the same names and the same nesting; a list of items is <item>
// elements in the one and an array in the other. Element names must be plain ASCII.
type writer struct {
	buf  []byte
	json bool
}

func newWriter(format messages.Format, size int) writer {
	w := writer{buf: make([]byte, 0, size), json: format == messages.Format_FORMAT_JSON}
	if w.json {
		w.buf = append(w.buf, '{')
	} else {
		w.buf = append(w.buf, "<xml>"...)
	}
	return w
}

func (w *writer) finish() []byte {
	if w.json {
		return append(w.buf, '}')
	}
	return append(w.buf, "</xml>"...)
}

func (w *writer) text(name, value string) {
	w.start(name)
	if w.json {
		w.buf = json.AppendString(w.buf, value)
		return
	}
	w.buf = xml.AppendCDATA(w.buf, value)
	w.end(name)
}

func (w *writer) number(name string, value int64) {
	w.start(name)
	w.buf = strconv.AppendInt(w.buf, value, 10)
	w.end(name)
}

func (w *writer) open(name string) {
	w.start(name)
	w.mark('{')
}

func (w *writer) close(name string) {
	w.mark('}')
	w.end(name)
}

func (w *writer) openList(name string) {
	w.start(name)
	w.mark('[')
}

func (w *writer) closeList(name string) {
	w.mark(']')
	w.end(name)
}

func (w *writer) openItem() {
	if w.json {
		w.comma()
		w.buf = append(w.buf, '{')
		return
	}
	w.start("item")
}

func (w *writer) closeItem() {
	w.mark('}')
	w.end("item")
}

// start is what stands in front of a value: <name> or "name" with a colon.
func (w *writer) start(name string) {
	if w.json {
		w.comma()
		w.buf = append(append(append(w.buf, '"'), name...), `":`...)
		return
	}
	w.buf = append(append(append(w.buf, '<'), name...), '>')
}

// end is what stands behind a value in XML.
func (w *writer) end(name string) {
	if !w.json {
		w.buf = append(append(append(w.buf, "</"...), name...), '>')
	}
}

// mark writes a bracket of JSON.
func (w *writer) mark(c byte) {
	if w.json {
		w.buf = append(w.buf, c)
	}
}

// comma separates from the value before, if there is one.
func (w *writer) comma() {
	if last := w.buf[len(w.buf)-1]; last != '{' && last != '[' {
		w.buf = append(w.buf, ',')
	}
}
