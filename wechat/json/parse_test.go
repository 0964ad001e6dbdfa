package json_test

import (
	"bytes"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"hongyan/wechat/json"
	"hongyan/wechat/tree"
)

// render shows nodes as "depth name=value" lines; [] marks an item, and a node with children has no "=".
func render(nodes []tree.Node) string {
	var b strings.Builder
	for _, n := range nodes {
		fmt.Fprintf(&b, "%d %q", n.Depth, n.Name)
		if n.Item {
			b.WriteString("[]")
		}
		if n.Leaf {
			value := string(n.Value)
			if n.Escaped {
				value = json.Unescape(n.Value)
			}
			fmt.Fprintf(&b, "=%q", value)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// oracle is render by encoding/json, token by token.
func oracle(body []byte) (string, error) {
	body = bytes.TrimPrefix(body, []byte("\uFEFF"))
	if !stdjson.Valid(body) {
		return "", errors.New("not valid")
	}
	d := stdjson.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var nodes []tree.Node
	var value func(node tree.Node) error
	value = func(node tree.Node) error {
		token, err := d.Token()
		if err != nil {
			return err
		}
		switch token := token.(type) {
		case stdjson.Delim:
			if token == '[' {
				node.Item = true
			} else {
				nodes = append(nodes, node)
			}
			for d.More() {
				child := node
				if token == '{' {
					key, err := d.Token()
					if err != nil {
						return err
					}
					child = tree.Node{Name: []byte(key.(string)), Depth: node.Depth + 1}
				}
				if err := value(child); err != nil {
					return err
				}
			}
			_, err = d.Token()
			return err
		case nil:
		case string:
			node.Value = tree.Trim([]byte(token))
		default:
			node.Value = fmt.Append(nil, token)
		}
		node.Leaf = true
		nodes = append(nodes, node)
		return nil
	}
	err := value(tree.Node{})
	return render(nodes), err
}

func ours(body []byte) string {
	nodes, err := json.Parse(nil, body)
	if err != nil {
		return "refused"
	}
	return render(nodes)
}

// compare checks the law that what we accept encoding/json accepts, with the same values. It tells whether we did.
func compare(t interface{ Fatalf(string, ...any) }, body []byte) bool {
	got := ours(body)
	if got == "refused" {
		return false
	}
	if want, err := oracle(body); err != nil || got != want {
		t.Fatalf("%q: got\n%swant\n%s%v", body, got, want, err)
	}
	return true
}

func TestParse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, body, want string }{
		{"empty", "{}", "0 \"\"\n"},
		{"bom and blanks", "\uFEFF \r\n{ \"a\" :\t\" b \" } \n", "0 \"\"\n1 \"a\"=\"b\"\n"},
		{"big number", `{"MsgId":1864323726461255680123}`, "0 \"\"\n1 \"MsgId\"=\"1864323726461255680123\"\n"},
		{"literals", `{"a":null,"b":true,"c":false,"d":-0.5e+7,"e":0}`, "0 \"\"\n1 \"a\"=\"\"\n1 \"b\"=\"true\"\n1 \"c\"=\"false\"\n1 \"d\"=\"-0.5e+7\"\n1 \"e\"=\"0\"\n"},
		{"escapes", `{"a":"\"\\\/\b\f\n\r\t\u4f60\ud83d\ude00."}`, "0 \"\"\n1 \"a\"=\"\\\"\\\\/\\b\\f\\n\\r\\t你😀.\"\n"},
		{"half pairs", `{"a":"\ud83d","b":"\ud83d\u0041","c":"\ude00x","d":"\ud83d\n"}`, "0 \"\"\n1 \"a\"=\"\uFFFD\"\n1 \"b\"=\"\uFFFDA\"\n1 \"c\"=\"\uFFFDx\"\n1 \"d\"=\"\uFFFD\"\n"},
		{"escaped key", `{"M\u0073gId":1}`, "0 \"\"\n1 \"MsgId\"=\"1\"\n"},
		{"object", `{"List":{"a":1}}`, "0 \"\"\n1 \"List\"\n2 \"a\"=\"1\"\n"},
		{"array", `{"List":[{"a":1},{"a":2},3]}`, "0 \"\"\n1 \"List\"[]\n2 \"a\"=\"1\"\n1 \"List\"[]\n2 \"a\"=\"2\"\n1 \"List\"[]=\"3\"\n"},
		{"arrays", `{"L":[[1,[]],[2]],"M":[]}`, "0 \"\"\n1 \"L\"[]=\"1\"\n1 \"L\"[]=\"2\"\n"},
		{"repeats below the top", `{"L":{"a":1,"a":2}}`, "0 \"\"\n1 \"L\"\n2 \"a\"=\"1\"\n2 \"a\"=\"2\"\n"},
	} {
		nodes, err := json.Parse(nil, []byte(c.body))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := render(nodes); got != c.want {
			t.Errorf("%s: got\n%swant\n%s", c.name, got, c.want)
		}
	}
}

func manyKeys(n int, last string) string {
	var b strings.Builder
	b.WriteByte('{')
	for i := range n {
		fmt.Fprintf(&b, `"k%d":%d,`, i, i)
	}
	return b.String() + `"` + last + `":0}`
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	deep := func(n int) string { return strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) }
	arrays := func(n int) string { return `{"a":` + strings.Repeat("[", n) + strings.Repeat("]", n) + "}" }
	for _, body := range []string{deep(tree.MaxDepth), arrays(tree.MaxDepth - 1), manyKeys(tree.MaxNodes-2, "z"), manyKeys(100, "z")} {
		if _, err := json.Parse(nil, []byte(body)); err != nil {
			t.Errorf("%.40s…: %v", body, err)
		}
	}
	for _, c := range []struct{ why, body string }{
		{"not an object", ""},
		{"not an object", "[]"},
		{"not an object", `"x"`},
		{"bytes after the object", `{}{}`},
		{"bytes after the object", `{}x`},
		{"bytes after the object", "{}\x00"},
		{"broken object", `{"a":1`},
		{"broken object", `{"a":1;}`},
		{"not a value", `{"a":01}`},
		{"not a value", `{"a":1.}`},
		{"not a value", `{"a":1e}`},
		{"broken object", `{"a":truex}`},
		{"not a value", `{"a":-}`},
		{"not a value", `{"a":.5}`},
		{"not a value", `{"a":NaN}`},
		{"not a value", `{"a":nul}`},
		{"not a value", `{"a":}`},
		{"not a value", `{"a":[1,]}`},
		{"not a value", `{"a":`},
		{"not a value", `{"a":'b'}`},
		{"broken array", `{"a":[1 2]}`},
		{"broken array", `{"a":[1`},
		{"not a key", `{a:1}`},
		{"not a key", `{"a":1,}`},
		{"not a key", `{`},
		{"not a key", `{/**/}`},
		{"key without a value", `{"a"}`},
		{"key without a value", `{"a" 1}`},
		{"repeated key", `{"a":1,"a":1}`},
		{"repeated key", `{"MsgId":1,"\u004dsgId":2}`},
		{"repeated key", manyKeys(100, "k3")},
		{"repeated key", manyKeys(100, "k99")},
		{"repeated key", manyKeys(24, "k23")},
		{"repeated key", manyKeys(25, "k24")},
		{"string without an end", `{"a":"b}`},
		{"string without an end", `{"a":"b\"}`},
		{"unknown escape", `{"a":"\x"}`},
		{"unknown escape", `{"a":"\`},
		{"broken escape", `{"a":"\u12g4"}`},
		{"broken escape", `{"a":"\u12`},
		{"control character in a string", "{\"a\":\"\n\"}"},
		{"control character in a string", "{\"a\":\"\x00\"}"},
		{"invalid UTF-8", "{\"a\":\"\xff\"}"},
		{"values nested too deeply", deep(tree.MaxDepth + 1)},
		{"values nested too deeply", arrays(tree.MaxDepth)},
		{"values nested too deeply", arrays(1 << 20)},
		{"too many values", manyKeys(tree.MaxNodes, "z")},
		{"too many values", `{"a":[` + strings.Repeat("1,", tree.MaxNodes) + `1]}`},
	} {
		_, err := json.Parse(nil, []byte(c.body))
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

func TestParseAllocates(t *testing.T) { //nolint:paralleltest // AllocsPerRun counts for the whole process
	room := make([]tree.Node, 0, 8)
	body := []byte(`{"a":1,"b":"2","c":[{"d":"x\n"}]}`)
	if allocs := testing.AllocsPerRun(100, func() { _, _ = json.Parse(room, body) }); allocs != 0 {
		t.Errorf("%v allocations, want none", allocs)
	}
}

// What is written is read back, by us and by encoding/json, minus the control characters that are left out.
func TestStringRoundTrip(t *testing.T) {
	t.Parallel()
	pieces := rapid.SampledFrom([]string{`"`, `\`, "\x00", "\n", "\r\n", "\t", "\x7f", " ", "你好", "\xff", "<&>", "😀", "\u2028"})
	rapid.Check(t, func(t *rapid.T) {
		text := "." + strings.Join(rapid.SliceOf(pieces).Draw(t, "pieces"), "") + rapid.String().Draw(t, "text") + "."
		body := append(json.AppendString([]byte(`{"x":`), text), '}')
		var want strings.Builder
		for _, r := range text {
			if r >= 0x20 || r == '\n' || r == '\r' || r == '\t' {
				want.WriteRune(r)
			}
		}
		var std struct{ X string }
		if err := stdjson.Unmarshal(body, &std); err != nil || std.X != want.String() {
			t.Fatalf("encoding/json reads %q, %v; want %q", std.X, err, want.String())
		}
		if got := ours(body); got != fmt.Sprintf("0 \"\"\n1 \"x\"=%q\n", want.String()) {
			t.Fatalf("we read %s, want %q", got, want.String())
		}
		if bytes.Contains(body, []byte(`\u`)) && !strings.Contains(text, `\u`) {
			t.Fatalf("%s has a \\u escape", body)
		}
	})
}

// Documents made of hard pieces: what we accept encoding/json accepts with the same values.
func TestOracle(t *testing.T) {
	t.Parallel()
	pieces := rapid.SampledFrom([]string{
		"{", "}", "[", "]", ",", ":", `"`, `"a":`, `"b":1`, `"c":"d"`, "1", "-0", "0.1e1", "true", "null", `\u00e9`, `\ud800`, `\n`, " ", "你",
	})
	accepted := 0
	rapid.Check(t, func(t *rapid.T) {
		inner := strings.Join(rapid.SliceOfN(pieces, 0, 10).Draw(t, "pieces"), "")
		if compare(t, []byte("{"+inner+"}")) || compare(t, []byte(`{"x":`+inner+"}")) || compare(t, []byte(`{"x":"`+inner+`"}`)) {
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
		if err != nil || !strings.HasSuffix(path, ".json") {
			return err
		}
		body, err := os.ReadFile(path)
		bodies = append(bodies, body)
		return err
	})
	if err != nil || len(bodies) < 40 {
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

func FuzzDecodeJSON(f *testing.F) {
	for _, body := range fixtures(f) {
		f.Add(body)
	}
	f.Add([]byte(`{"a":[[1],{"b":null}],"\u0063":"\ud83d\ude00 \ud83d","d":-1.5E-7}`))
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
	body, err := os.ReadFile("../testdata/callbacks/MpMessage/TextMessageEvent.json")
	if err != nil {
		b.Fatal(err)
	}
	body = bytes.TrimPrefix(body, []byte("\uFEFF"))
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	return body
}

func BenchmarkParse(b *testing.B) {
	body := benchmarkBody(b)
	room := make([]tree.Node, 0, 24)
	for b.Loop() {
		if _, err := json.Parse(room, body); err != nil {
			b.Fatal(err)
		}
	}
}

// What most handlers do: encoding/json into a struct.
func BenchmarkEncodingJSON(b *testing.B) {
	body := benchmarkBody(b)
	for b.Loop() {
		var m struct {
			ToUserName, FromUserName, MsgType, Content string
			CreateTime, MsgId                          int64
		}
		if err := stdjson.Unmarshal(body, &m); err != nil || m.Content == "" {
			b.Fatal(err)
		}
	}
}
