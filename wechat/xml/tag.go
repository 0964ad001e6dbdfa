package xml

import (
	"bytes"

	"hongyan/wechat/tree"
)

// startTag is a scanned start tag or empty-element tag.
type startTag struct {
	name  []byte
	end   int  // offset behind its '>', or of the fault
	empty bool // <name/>
}

// scanStartTag reads a tag whose name begins at pos.
func scanStartTag(src []byte, pos int) (startTag, string) {
	end := nameEnd(src, pos)
	name := src[pos:end]
	if !validName(name) {
		return startTag{end: pos}, "not an element name"
	}
	for {
		blank := tree.SkipBlanks(src, end)
		switch c := at(src, blank); {
		case c == '>':
			return startTag{name: name, end: blank + 1}, ""
		case c == '/' && at(src, blank+1) == '>':
			return startTag{name: name, end: blank + 2, empty: true}, ""
		case blank == end:
			return startTag{end: blank}, "broken start tag"
		}
		_, _, next, why := attribute(src, blank)
		if why != "" {
			return startTag{end: next}, why
		}
		end = next
	}
}

// endTag reads the rest of an end tag behind "</", which must bear the name of the open element. It returns the offset behind
// its '>', or that of the fault.
func endTag(src []byte, pos int, name []byte) (int, string) {
	if !bytes.HasPrefix(src[pos:], name) {
		return pos, "end tag of another element"
	}
	end := tree.SkipBlanks(src, pos+len(name))
	if at(src, end) != '>' {
		return pos, "end tag of another element"
	}
	return end + 1, ""
}

// attribute reads name="value" from pos on; next is the offset behind it, or that of the fault.
func attribute(src []byte, pos int) (name, value []byte, next int, why string) {
	end := nameEnd(src, pos)
	name = src[pos:end]
	if !validName(name) {
		return nil, nil, pos, "not an attribute name"
	}
	pos = tree.SkipBlanks(src, end)
	if at(src, pos) != '=' {
		return nil, nil, pos, "attribute without a value"
	}
	pos = tree.SkipBlanks(src, pos+1)
	quote := at(src, pos)
	if quote != '"' && quote != '\'' {
		return nil, nil, pos, "attribute without quotes"
	}
	size := bytes.IndexByte(src[pos+1:], quote)
	if size < 0 {
		return nil, nil, pos, "attribute without an end"
	}
	value = src[pos+1 : pos+1+size]
	if bytes.IndexByte(value, '<') >= 0 || !validReferences(value) {
		return nil, nil, pos, "attribute with < or an unknown entity"
	}
	return name, value, pos + size + 2, ""
}

// skipDeclaration passes over <?xml …?> at pos, which must say version 1.0 and no other encoding than UTF-8, and the blanks
// behind it.
func skipDeclaration(src []byte, pos int) (int, string) {
	if !bytes.HasPrefix(src[pos:], []byte("<?")) {
		return pos, ""
	}
	const opening = "<?xml"
	if !bytes.HasPrefix(src[pos:], []byte(opening)) {
		return pos, "processing instruction"
	}
	end := pos + len(opening)
	for {
		blank := tree.SkipBlanks(src, end)
		if bytes.HasPrefix(src[blank:], []byte("?>")) {
			return tree.SkipBlanks(src, blank+2), ""
		}
		if blank == end {
			return blank, "broken XML declaration"
		}
		name, value, next, why := attribute(src, blank)
		if why != "" {
			return next, why
		}
		switch string(name) {
		case "version":
			if string(value) != "1.0" {
				return blank, "XML version other than 1.0"
			}
		case "encoding":
			if !bytes.EqualFold(value, []byte("utf-8")) {
				return blank, "encoding other than UTF-8"
			}
		case "standalone":
		default:
			return blank, "broken XML declaration"
		}
		end = next
	}
}

// nameByte marks the bytes that a name may hold; the colon is looked at by validName.
var nameByte = func() (t [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.:") {
		t[c] = true
	}
	return t
}()

func nameEnd(src []byte, pos int) int {
	for pos < len(src) && nameByte[src[pos]] {
		pos++
	}
	return pos
}

// validName wants a letter or '_' in front, and at most one colon, in the middle.
func validName(name []byte) bool {
	if len(name) == 0 || name[0] <= '9' || name[0] == ':' { // '-', '.' and digits sort up to '9'
		return false
	}
	colon := bytes.IndexByte(name, ':')
	return colon < 0 || colon < len(name)-1 && bytes.IndexByte(name[colon+1:], ':') < 0
}
