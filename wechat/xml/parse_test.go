package xml_test

import (
	stdxml "encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"hongyan/wechat/tree"
	"hongyan/wechat/xml"
)

// render shows nodes as "depth name=value" lines; a node with children has no "=".
func render(nodes []tree.Node) string {
	var b strings.Builder
	for _, n := range nodes {
		fmt.Fprintf(&b, "%d %s", n.Depth, n.Name)
		if n.Leaf {
			value := string(n.Value)
			if n.Escaped {
				value = xml.Unescape(n.Value)
			}
			fmt.Fprintf(&b, "=%q", value)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// lawful is body with the characters replaced that XML forbids and we let pass, where encoding/xml differs on purpose.
func lawful(body []byte) []byte {
	return []byte(strings.Map(func(r rune) rune {
		if r < 0x20 && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF {
			return '\uE000'
		}
		return r
	}, string(body)))
}

// oracle is render by encoding/xml.
func oracle(body []byte) (string, error) {
	text := strings.TrimPrefix(string(body), "\uFEFF")
	d := stdxml.NewDecoder(strings.NewReader(text))
	var (
		nodes []tree.Node
		open  []int
	)
	for {
		token, err := d.RawToken()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", err
		}
		switch token := token.(type) {
		case stdxml.StartElement:
			if len(open) > 0 {
				nodes[open[len(open)-1]].Leaf = false
			}
			name := token.Name.Local
			if token.Name.Space != "" {
				name = token.Name.Space + ":" + name
			}
			nodes = append(nodes, tree.Node{Name: []byte(name), Depth: uint8(len(open)), Leaf: true})
			open = append(open, len(nodes)-1)
		case stdxml.EndElement:
			open = open[:len(open)-1]
		case stdxml.CharData:
			if len(open) > 0 {
				n := &nodes[open[len(open)-1]]
				n.Value = append(n.Value, token...)
			}
		}
	}
	for i := range nodes {
		nodes[i].Value = []byte(strings.Trim(string(nodes[i].Value), " \t\r\n"))
	}
	// RawToken does not match the tags; Token does.
	d = stdxml.NewDecoder(strings.NewReader(text))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return render(nodes), nil
		} else if err != nil {
			return "", err
		}
	}
}

// ours is render by Parse, "refused" for what it refuses.
func ours(body []byte) string {
	nodes, err := xml.Parse(nil, body)
	if err != nil {
		return "refused"
	}
	return render(nodes)
}

// compare checks the law that what we accept encoding/xml accepts, with the same elements and values. It tells whether we did.
func compare(t interface{ Fatalf(string, ...any) }, body []byte) bool {
	if ours(body) == "refused" {
		return false
	}
	body = lawful(body)
	got := ours(body)
	if want, err := oracle(body); err != nil || got != want {
		t.Fatalf("%q: got\n%swant\n%s%v", body, got, want, err)
	}
	return true
}

func TestParse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, body, want string }{
		{"text", "<xml><A>1</A></xml>", "0 xml\n1 A=\"1\"\n"},
		{"cdata", "<xml><A><![CDATA[a<b>&amp;c]]></A></xml>", "0 xml\n1 A=\"a<b>&amp;c\"\n"},
		{"blanks around cdata", "<xml>\r\n <A>\n <![CDATA[ x y ]]>\t</A>\n</xml>\n", "0 xml\n1 A=\"x y\"\n"},
		{"mixture", "<xml><A>a <![CDATA[b]]> &lt;c<![CDATA[]]]]><![CDATA[>]]></A></xml>", "0 xml\n1 A=\"a b <c]]>\"\n"},
		{"references", "<xml><A>&lt;&gt;&amp;&apos;&quot;&#20320;&#x597d;&#x1F600;</A></xml>", "0 xml\n1 A=\"<>&'\\\"你好😀\"\n"},
		{"line ends", "<xml><A><![CDATA[a\r\nb\rc\n]]>d&#13;e</A></xml>", "0 xml\n1 A=\"a\\nb\\nc\\nd\\re\"\n"},
		{"empty", "<xml><A></A><B/><C /><D><![CDATA[]]></D></xml>", "0 xml\n1 A=\"\"\n1 B=\"\"\n1 C=\"\"\n1 D=\"\"\n"},
		{"empty root", "<xml/>", "0 xml=\"\"\n"},
		{"bom, declaration", "\uFEFF<?xml version='1.0' encoding=\"UTF-8\"?>\n<xml>t</xml>", "0 xml=\"t\"\n"},
		{"attributes", `<xml a="1" b = 'x>"y'><A c="&lt;" xmlns:d="e">1</A ></xml >`, "0 xml\n1 A=\"1\"\n"},
		{"nested, repeated", "<x><L><a>1</a></L>\u200b<L><a>2</a>t</L></x>", "0 x\n1 L\n2 a=\"1\"\n1 L\n2 a=\"2\"\n"},
		{"names", "<a.b-c_1><_x:y>1</_x:y></a.b-c_1>", "0 a.b-c_1\n1 _x:y=\"1\"\n"},
		{"control characters", "<x><![CDATA[a\x08b\x00c]]></x>", "0 x=\"a\\bb\\x00c\"\n"},
	} {
		nodes, err := xml.Parse(nil, []byte(c.body))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := render(nodes); got != c.want {
			t.Errorf("%s: got\n%swant\n%s", c.name, got, c.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	deep := func(n int) string { return strings.Repeat("<a>", n) + strings.Repeat("</a>", n) }
	if _, err := xml.Parse(nil, []byte(deep(tree.MaxDepth))); err != nil {
		t.Errorf("depth %d: %v", tree.MaxDepth, err)
	}
	wide := func(n int) string { return "<a>" + strings.Repeat("<b/>", n) + "</a>" }
	if _, err := xml.Parse(nil, []byte(wide(tree.MaxNodes-1))); err != nil {
		t.Errorf("%d elements: %v", tree.MaxNodes, err)
	}
	for _, c := range []struct{ why, body string }{
		{"the document ends early", ""},
		{"the document ends early", " \n"},
		{"the document ends early", "<xml><A>1</A>"},
		{"the document ends early", "<xml>text"},
		{"text outside the root element", "text<xml/>"},
		{"bytes after the root element", "<xml></xml><xml></xml>"},
		{"bytes after the root element", "<xml/>x"},
		{"bytes after the root element", "<xml/>\x00"},
		{"bytes after the root element", "<xml/><!-- -->"},
		{"end tag of another element", "<xml><A></B></xml>"},
		{"end tag of another element", "<xml><A></A b></xml>"},
		{"end tag of another element", "<xml><A></AA></xml>"},
		{"end tag of another element", "<xml></xml"},
		{"end tag without a start tag", "</xml>"},
		{"declaration or comment", `<!DOCTYPE x [<!ENTITY a "b">]><xml>&a;</xml>`},
		{"declaration or comment", "<xml><!-- c --></xml>"},
		{"declaration or comment", "<!-- c --><xml/>"},
		{"declaration or comment", "<![CDATA[x]]><xml/>"},
		{"declaration or comment", "<xml><![cdata[x]]></xml>"},
		{"declaration or comment", "<xml><!"},
		{"CDATA section without an end", "<xml><![CDATA[x]]</xml>"},
		{"processing instruction", "<?php x?><xml/>"},
		{"broken XML declaration", "<?xmlx?><xml/>"},
		{"broken XML declaration", "<?xml version='1.0' x='1'?><xml/>"},
		{"XML version other than 1.0", "<?xml version='1.1'?><xml/>"},
		{"encoding other than UTF-8", "<?xml version='1.0' encoding='GBK'?><xml/>"},
		{"not an element name", "<xml><?x?></xml>"},
		{"not an element name", "<xml>< A/></xml>"},
		{"not an element name", "<xml><1/></xml>"},
		{"not an element name", "<xml><:a/></xml>"},
		{"not an element name", "<xml><a:/></xml>"},
		{"not an element name", "<xml><a:b:c/></xml>"},
		{"not an element name", "<xml><名/></xml>"},
		{"not an element name", "<xml><"},
		{"unknown entity", "<xml>&nbsp;</xml>"},
		{"unknown entity", "<xml>a & b</xml>"},
		{"unknown entity", "<xml>&#0;</xml>"},
		{"unknown entity", "<xml>&#x8;</xml>"},
		{"unknown entity", "<xml>&#xD800;</xml>"},
		{"unknown entity", "<xml>&#x110000;</xml>"},
		{"unknown entity", "<xml>&#xFFFF;</xml>"},
		{"unknown entity", "<xml>&#;</xml>"},
		{"unknown entity", "<xml>&#x;</xml>"},
		{"unknown entity", "<xml>&#1a;</xml>"},
		{"unknown entity", "<xml>&#99999999999999999999;</xml>"},
		{"unknown entity", "<xml>&amp</xml>"},
		{"unknown entity", "<xml>&;</xml>"},
		{"]]> outside a CDATA section", "<xml>a]]>b</xml>"},
		{"broken start tag", "<xml"},
		{"broken start tag", "<xml/"},
		{"broken start tag", "<xml/ >"},
		{"broken start tag", "<xml<a/></xml>"},
		{"attribute without a value", "<xml a></xml>"},
		{"attribute without quotes", "<xml a=1></xml>"},
		{"attribute without an end", "<xml a='1></xml>"},
		{"broken start tag", "<xml a='1'b='2'></xml>"},
		{"not an attribute name", "<xml 1='1'></xml>"},
		{"not an attribute name", "<xml '1'></xml>"},
		{"attribute with < or an unknown entity", "<xml a='<'></xml>"},
		{"attribute with < or an unknown entity", "<xml a='&x;'></xml>"},
		{"invalid UTF-8", "<xml>\xff</xml>"},
		{"invalid UTF-8", "<xml>\xed\xa0\x80</xml>"},
		{"invalid UTF-8", "<xml>\xc0\xaf</xml>"},
		{"elements nested too deeply", deep(tree.MaxDepth + 1)},
		{"too many elements", wide(tree.MaxNodes)},
	} {
		_, err := xml.Parse(nil, []byte(c.body))
		var fault *tree.Fault
		if !errors.As(err, &fault) || fault.Reason != c.why {
			t.Errorf("%.60q: got %v, want %q", c.body, err, c.why)
			continue
		}
		if fault.Offset < 0 || fault.Offset > len(c.body) {
			t.Errorf("%.60q: offset %d", c.body, fault.Offset)
		}
	}
}

// A list that is not empty stays in front, and its room is used.
func TestParseAppends(t *testing.T) {
	t.Parallel()
	room := make([]tree.Node, 1, 8)
	room[0].Name = []byte("kept")
	body := []byte("<xml><A>1</A></xml>")
	nodes, err := xml.Parse(room, body)
	if err != nil || len(nodes) != 3 || string(nodes[0].Name) != "kept" || string(nodes[2].Value) != "1" {
		t.Fatalf("%v, %v", nodes, err)
	}
}

func TestParseAllocates(t *testing.T) { //nolint:paralleltest // AllocsPerRun counts for the whole process
	room := make([]tree.Node, 0, 8)
	body := []byte("<xml><A>1</A><B><![CDATA[2]]></B></xml>")
	if allocs := testing.AllocsPerRun(100, func() { _, _ = xml.Parse(room, body) }); allocs != 0 {
		t.Errorf("%v allocations, want none", allocs)
	}
}

func TestAppendCDATA(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, want string }{
		{"", "<![CDATA[]]>"},
		{"a\nb", "<![CDATA[a\nb]]>"},
		{"a]]>b", "<![CDATA[a]]]]><![CDATA[>b]]>"},
		{"]]\x01>", "<![CDATA[]]]]><![CDATA[>]]>"},
		{"a\x00\x08\uFFFFb", "<![CDATA[ab]]>"},
		{"你\xff好", "<![CDATA[你\uFFFD好]]>"},
	} {
		if got := string(xml.AppendCDATA(nil, c.text)); got != c.want {
			t.Errorf("%q: got %q, want %q", c.text, got, c.want)
		}
	}
}

// What is written is read back, by us and by encoding/xml, minus what XML cannot carry.
func TestCDATARoundTrip(t *testing.T) {
	t.Parallel()
	pieces := rapid.SampledFrom([]string{"]]>", "]", ">", "<![CDATA[", "&amp;", "\x00", "\n", " ", "你好", "\xff", "a", "😀", "\uFFFE"})
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOf(pieces).Draw(t, "pieces"), "") + rapid.String().Draw(t, "text")
		body := append(xml.AppendCDATA([]byte("<x>"), text), "</x>"...)
		want := strings.Map(func(r rune) rune {
			if r < 0x20 && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF {
				return -1
			}
			return r
		}, replaceInvalid(text))
		want = strings.ReplaceAll(strings.ReplaceAll(want, "\r\n", "\n"), "\r", "\n")
		want = "0 x=" + fmt.Sprintf("%q", strings.Trim(want, " \t\n")) + "\n"
		if got := ours(body); got != want {
			t.Fatalf("we read %s, want %s", got, want)
		}
		if got, err := oracle(body); err != nil || got != want {
			t.Fatalf("encoding/xml reads %s, %v; want %s", got, err, want)
		}
	})
}

// replaceInvalid puts U+FFFD for every invalid byte (strings.ToValidUTF8 would put one for a run).
func replaceInvalid(s string) string {
	var b strings.Builder
	for _, r := range s {
		b.WriteRune(r)
	}
	return b.String()
}

// Documents made of hard pieces: what we accept encoding/xml accepts with the same values.
func TestOracle(t *testing.T) {
	t.Parallel()
	pieces := rapid.SampledFrom([]string{
		"<a>", "</a>", "<b c='d'>", "</b>", "<c/>", "<![CDATA[", "]]>", "x", " ", "\r\n", "&lt;", "&#65;", "&#x0;", "&", "]]", ">",
		"<x:y>", "</x:y>", "<!-- -->", "<?xml version='1.0'?>", "你", "\x01", "<a a:b=\"\">", "/", "'",
	})
	accepted := 0
	rapid.Check(t, func(t *rapid.T) {
		inner := strings.Join(rapid.SliceOfN(pieces, 0, 12).Draw(t, "pieces"), "")
		body := []byte("<r>" + inner + "</r>")
		if compare(t, body) {
			accepted++
		}
	})
	if accepted == 0 {
		t.Error("no document was accepted")
	}
}

func fixtures(t testing.TB) [][]byte {
	t.Helper()
	var bodies [][]byte
	err := filepath.WalkDir("../testdata", func(path string, d os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".xml") {
			return err
		}
		body, err := os.ReadFile(path)
		bodies = append(bodies, body)
		return err
	})
	if err != nil || len(bodies) < 117 {
		t.Fatalf("%d fixtures, %v", len(bodies), err)
	}
	return bodies
}

func TestFixtures(t *testing.T) {
	t.Parallel()
	for _, body := range fixtures(t) {
		if !compare(t, body) {
			t.Errorf("refused: %s", body)
		}
	}
}

func FuzzDecodeXML(f *testing.F) {
	for _, body := range fixtures(f) {
		f.Add(body)
	}
	f.Add([]byte(`<?xml version="1.0"?><r a="&#65;"><![CDATA[x]]>&lt;y<b/>]]</r>`))
	f.Fuzz(func(t *testing.T, body []byte) {
		before := slices.Clone(body)
		accepted := compare(t, body)
		if !slices.Equal(before, body) {
			t.Fatal("the body was changed")
		}
		if got := ours(body); accepted && !utf8.ValidString(got) {
			t.Fatalf("invalid UTF-8: %q", got)
		}
	})
}

func benchmarkBody(b *testing.B) []byte {
	b.Helper()
	body, err := os.ReadFile("../testdata/callbacks/MpMessage/TextMessageEvent.xml")
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	return body
}

func BenchmarkParse(b *testing.B) {
	body := benchmarkBody(b)
	room := make([]tree.Node, 0, 24)
	for b.Loop() {
		if _, err := xml.Parse(room, body); err != nil {
			b.Fatal(err)
		}
	}
}

// What most handlers do: encoding/xml into a struct.
func BenchmarkEncodingXML(b *testing.B) {
	body := benchmarkBody(b)
	for b.Loop() {
		var m struct {
			ToUserName, FromUserName, MsgType, Content, MsgId string
			CreateTime                                        int64
		}
		if err := stdxml.Unmarshal(body, &m); err != nil || m.Content == "" {
			b.Fatal(err)
		}
	}
}
