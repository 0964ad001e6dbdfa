package config

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// decoder puts a YAML tree into a Config and notes where everything stood. It walks the tree itself instead of using the
// library's decoder, because that one stops at the first fault and knows no places for faults that are found later.
type decoder struct {
	origin  *origin
	dir     string // folder of the file
	report  *Report
	anchors map[string]ast.Node
	failed  map[string]bool // key paths that already have a fault

	freeNodes int // values of one tree of the user's own shape so far, see free
}

func (d *decoder) fail(f Fault) {
	d.failed[f.Key] = true
	d.report.Faults = append(d.report.Faults, f)
}

// file decodes src into cfg. It reports false where the tree could not be read at all, so that later checks make no sense.
func (d *decoder) file(cfg *Config, src []byte) bool {
	file, err := parse(src)
	if err != nil {
		d.fail(d.syntaxFault(err))
		return false
	}
	var body ast.Node
	for _, doc := range file.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.CommentType || doc.Body.Type() == ast.NullType {
			continue
		}
		if body != nil {
			d.fail(d.origin.place(Fault{File: d.origin.file, Message: "the file has a second document",
				Fix: "write everything into one, without a line ---"}, d.spotOf(doc.Body)))
			return false
		}
		body = doc.Body
	}
	if body == nil {
		d.origin.decoded = true
		return true
	}
	d.anchors = make(map[string]ast.Node)
	ast.Walk(d, body)
	d.value(reflect.ValueOf(cfg).Elem(), body, "")
	d.origin.decoded = true
	return !d.failed[""]
}

// Visit collects the anchors; it makes decoder an ast.Visitor.
func (d *decoder) Visit(n ast.Node) ast.Visitor {
	if a, ok := n.(*ast.AnchorNode); ok && a.Name != nil {
		d.anchors[a.Name.GetToken().Value] = a.Value
	}
	return d
}

// parse runs the YAML library's parser, which panics on some inputs that are no YAML.
func parse(src []byte) (file *ast.File, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = errors.New("this is not YAML that can be read")
		}
	}()
	return parser.ParseBytes(src, 0)
}

func (d *decoder) syntaxFault(err error) Fault {
	f := Fault{File: d.origin.file, Message: "not valid YAML: " + err.Error(), Fix: "check indentation, colons, quotes and brackets"}
	var syntax *yaml.SyntaxError
	if errors.As(err, &syntax) {
		f.Message = "not valid YAML: " + syntax.Message
		if strings.Contains(syntax.Message, "already defined") {
			f.Message, f.Fix = syntax.Message, "keep one of the two"
		}
		if syntax.Token != nil && syntax.Token.Position != nil {
			return d.origin.place(f, d.tokenSpot(syntax.Token))
		}
	}
	return f
}

// value decodes n into v, which stands at path.
func (d *decoder) value(v reflect.Value, n ast.Node, path string) {
	alias := n
	if n = d.resolve(n); n == nil {
		if alias != nil {
			d.fail(d.origin.place(Fault{File: d.origin.file, Key: path, Message: "this alias stands for nothing",
				Fix: "mark what it should stand for with &name"}, d.spotOf(alias)))
		}
		return
	}
	if n.Type() == ast.NullType {
		return
	}
	d.origin.given[path] = true
	if _, ok := d.origin.spots[path]; !ok || isScalar(n) {
		d.origin.spots[path] = d.spotOf(n)
	}
	if _, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		d.scalar(v, n, path)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.structure(v, n, path)
	case reflect.Map:
		if v.Type().Elem().Kind() == reflect.Interface {
			d.free(v, n, path)
			return
		}
		d.named(v, n, path)
	case reflect.Slice:
		d.list(v, n, path)
	case reflect.Pointer: // a value that may be left out, where its zero is one too
		v.Set(reflect.New(v.Type().Elem()))
		d.value(v.Elem(), n, path)
	default:
		d.scalar(v, n, path)
	}
}

func (d *decoder) structure(v reflect.Value, n ast.Node, path string) {
	pairs, ok := d.pairs(n, path)
	if !ok {
		return
	}
	fields := make(map[string]reflect.Value)
	var known []string
	for i := range v.NumField() {
		if name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ","); name != "" {
			fields[name] = v.Field(i)
			known = append(known, name)
		}
	}
	for _, p := range pairs {
		key := keyText(p)
		at := join(path, key)
		if field, ok := fields[key]; ok {
			d.origin.spots[at] = d.tokenSpot(p.Key.GetToken())
			d.value(field, p.Value, at)
			continue
		}
		secret := strings.TrimSuffix(key, "_file")
		if field, ok := fields[secret]; ok && secret != key && field.Type() == reflect.TypeFor[Secret]() {
			d.secretFile(field, p, at, join(path, secret))
			continue
		}
		d.unknownKey(p, at, key, known)
	}
	for _, p := range pairs { // both forms of one secret: said once, whichever came first
		if secret, ok := strings.CutSuffix(keyText(p), "_file"); ok && d.givenTwice(pairs, secret) && fields[secret].IsValid() {
			d.fail(d.origin.place(Fault{File: d.origin.file, Key: join(path, keyText(p)),
				Message: "the secret is given twice, here and as " + secret, Fix: "keep one of the two"}, d.tokenSpot(p.Key.GetToken())))
		}
	}
}

func (d *decoder) givenTwice(pairs []*ast.MappingValueNode, key string) bool {
	for _, p := range pairs {
		if keyText(p) == key && p.Value != nil && p.Value.Type() != ast.NullType {
			return true
		}
	}
	return false
}

func (d *decoder) unknownKey(p *ast.MappingValueNode, path, key string, known []string) {
	at := d.tokenSpot(p.Key.GetToken())
	// What stands behind a misspelt key may be a secret.
	d.origin.covered = append(d.origin.covered, spot{at.line, at.column + at.width + 1, 1 << 20})
	d.fail(d.origin.place(Fault{File: d.origin.file, Key: path, Message: fmt.Sprintf("there is no key %q", key),
		Fix: didYouMean(key, known)}, at))
}

// secretFile reads the secret of a …_file key into field, which stands at path.
func (d *decoder) secretFile(field reflect.Value, p *ast.MappingValueNode, at, path string) {
	var name string
	d.value(reflect.ValueOf(&name).Elem(), p.Value, at)
	if name == "" || d.failed[at] {
		d.failed[path] = d.failed[at]
		return
	}
	d.origin.spots[path] = d.origin.spots[at]
	secret, err := readSecret(d.dir, name)
	if err != nil {
		d.valueFault(at, err)
		d.failed[path] = true
		return
	}
	field.SetString(secret)
}

// named decodes a mapping from names of the user's choice to structures.
func (d *decoder) named(v reflect.Value, n ast.Node, path string) {
	pairs, ok := d.pairs(n, path)
	if !ok {
		return
	}
	if v.IsNil() {
		v.Set(reflect.MakeMap(v.Type()))
	}
	for _, p := range pairs {
		at := join(path, keyText(p))
		d.origin.spots[at] = d.tokenSpot(p.Key.GetToken())
		element := reflect.New(v.Type().Elem()).Elem()
		d.value(element, p.Value, at)
		v.SetMapIndex(reflect.ValueOf(keyText(p)), element)
	}
}

func (d *decoder) list(v reflect.Value, n ast.Node, path string) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		if v.Type().Elem().Kind() == reflect.String && isScalar(n) { // bot: rules is as good as bot: [rules]
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
			d.value(v.Index(0), n, path+"[0]")
			return
		}
		d.fail(d.origin.fault(path, "here stands "+describe(n)+", not a list", "write a list: one line with - for each element"))
		return
	}
	out := reflect.MakeSlice(v.Type(), len(seq.Values), len(seq.Values))
	for i, element := range seq.Values {
		switch e := out.Index(i).Addr().Interface().(type) {
		case *Account:
			*e = DefaultAccount()
		case *Endpoint:
			*e = DefaultEndpoint()
		}
		d.value(out.Index(i), element, fmt.Sprintf("%s[%d]", path, i))
	}
	v.Set(out)
}

func (d *decoder) scalar(v reflect.Value, n ast.Node, path string) {
	if v.Type() == reflect.TypeFor[Secret]() && (!isScalar(n) || scalarText(n) != "") {
		d.origin.covered = append(d.origin.covered, d.origin.spots[path])
	}
	if !isScalar(n) {
		d.fail(d.origin.fault(path, "here stands "+describe(n)+", not a single value", "write one value behind the colon"))
		return
	}
	if err := setScalar(v, scalarText(n)); err != nil {
		d.valueFault(path, err)
	}
}

// valueFault reports err, which is about the value at path.
func (d *decoder) valueFault(path string, err error) {
	f := d.origin.fault(path, err.Error(), "")
	var ve *valueError
	if errors.As(err, &ve) {
		f.Message, f.Fix = ve.message, ve.fix
	}
	d.fail(f)
}

// pairs are the key-value pairs of a mapping, with << merged in behind the mapping's own keys.
func (d *decoder) pairs(n ast.Node, path string) ([]*ast.MappingValueNode, bool) {
	var own []*ast.MappingValueNode
	switch m := n.(type) {
	case *ast.MappingNode:
		own = m.Values
	case *ast.MappingValueNode:
		own = []*ast.MappingValueNode{m}
	default:
		d.fail(d.origin.fault(path, "here stands "+describe(n)+", not keys with values", "write indented lines of the form key: value"))
		return nil, false
	}
	var out, merged []*ast.MappingValueNode
	seen := make(map[string]bool)
	for _, p := range own {
		if !p.Key.IsMergeKey() {
			out = append(out, p)
			seen[keyText(p)] = true
			continue
		}
		sources := []ast.Node{p.Value}
		if seq, ok := d.resolve(p.Value).(*ast.SequenceNode); ok {
			sources = seq.Values
		}
		for _, source := range sources {
			switch m := d.resolve(source).(type) { // one level: what is merged in merges nothing itself
			case *ast.MappingNode:
				merged = append(merged, m.Values...)
			case *ast.MappingValueNode:
				merged = append(merged, m)
			default:
				d.fail(d.origin.place(Fault{File: d.origin.file, Key: path, Message: "<< needs an alias of a mapping",
					Fix: "write <<: *name"}, d.tokenSpot(p.Key.GetToken())))
			}
		}
	}
	for _, p := range merged {
		if key := keyText(p); !seen[key] {
			seen[key] = true
			out = append(out, p)
		}
	}
	return out, true
}

// resolve follows anchors, aliases and tags to the node they stand for; nil where there is none. It gives up after some
// steps, because an alias can stand for itself.
func (d *decoder) resolve(n ast.Node) ast.Node {
	for range 16 {
		switch t := n.(type) {
		case *ast.AnchorNode:
			n = t.Value
		case *ast.AliasNode:
			n = d.anchors[t.Value.GetToken().Value]
		case *ast.TagNode:
			n = t.Value
		default:
			return n
		}
	}
	return nil
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// spotOf is where a node begins; a block mapping begins at its first key.
func (d *decoder) spotOf(n ast.Node) spot {
	switch m := n.(type) {
	case *ast.MappingNode:
		if !m.IsFlowStyle && len(m.Values) > 0 {
			return d.tokenSpot(m.Values[0].Key.GetToken())
		}
	case *ast.MappingValueNode:
		return d.tokenSpot(m.Key.GetToken())
	}
	return d.tokenSpot(n.GetToken())
}

// tokenSpot is where a token stands. The library miscounts columns behind tabs, so the place is looked up in the line.
func (d *decoder) tokenSpot(t *token.Token) spot {
	if t == nil || t.Position == nil {
		return spot{line: 1, column: 1, width: 1}
	}
	text, _, _ := strings.Cut(strings.TrimSpace(t.Origin), "\n")
	text = strings.TrimRight(text, "\r")
	s := spot{line: t.Position.Line, column: max(t.Position.Column, 1), width: max(utf8.RuneCountInString(text), 1)}
	if s.line < 1 || s.line > len(d.origin.lines) {
		return s
	}
	line := []rune(d.origin.lines[s.line-1])
	for _, from := range []int{min(s.column-1, len(line)), 0} {
		if before, _, found := strings.Cut(string(line[from:]), text); found {
			s.column = from + utf8.RuneCountInString(before) + 1
			return s
		}
	}
	return s
}
