package guard

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"pgregory.net/rapid"

	"hongyan/bots"
	"hongyan/bots/watch"
	"hongyan/messages"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var _ bots.Filter = (*Filter)(nil)

// logged is a log that a test reads while the filter writes it.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// bench is a filter with a block file of its own.
type bench struct {
	*Filter
	file string
	log  *logged
}

// setUp builds a filter on a file with these words; without words it has no file.
func setUp(t *testing.T, opts Options, words ...string) *bench {
	t.Helper()
	b := &bench{log: new(logged)}
	if len(words) > 0 {
		b.file = filepath.Join(t.TempDir(), "words.txt")
		b.write(t, strings.Join(words, "\n"))
		opts.BlockFile = b.file
	}
	opts.Logger, opts.Registerer = slog.New(slog.NewTextHandler(b.log, nil)), prometheus.NewRegistry()
	var err error
	if b.Filter, err = New(opts); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) write(t *testing.T, content string) {
	t.Helper()
	if err := os.WriteFile(b.file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) say(text string) string {
	return b.Clean("demo", bots.Text(text)).GetText().GetContent()
}

func (b *bench) counts() (blocked, cut float64) {
	return testutil.ToFloat64(b.metrics.blocked.WithLabelValues("demo")), testutil.ToFloat64(b.metrics.cut.WithLabelValues("demo"))
}

func (b *bench) valid() float64 { return testutil.ToFloat64(b.metrics.valid.WithLabelValues(b.file)) }

// filled is an answer of each kind with every text in it set to word; fields that users do not read are set too.
func filled(word string) []*messages.Answer {
	var all []*messages.Answer
	var fill func(m protoreflect.Message)
	fill = func(m protoreflect.Message) {
		fields := m.Descriptor().Fields()
		for i := range fields.Len() {
			switch f := fields.Get(i); {
			case f.IsList():
				fill(m.Mutable(f).List().AppendMutable().Message())
				fill(m.Mutable(f).List().AppendMutable().Message())
			case f.Kind() == protoreflect.StringKind:
				m.Set(f, protoreflect.ValueOfString(word))
			}
		}
	}
	kinds := (&messages.Answer{}).ProtoReflect().Descriptor().Fields()
	for i := range kinds.Len() {
		a := new(messages.Answer)
		fill(a.ProtoReflect().Mutable(kinds.Get(i)).Message())
		all = append(all, a)
	}
	return all
}

// hidden are the fields of answers that no user reads: ids and addresses.
var hidden = map[protoreflect.Name]bool{
	"media_id": true, "thumb_media_id": true, "music_url": true, "hq_music_url": true, "pic_url": true, "url": true, "kf_account": true,
	"id": true, "article_id": true, "card_id": true, "app_id": true, "page_path": true,
}

// Every text of every kind of answer is clean, whichever kinds there will be, and ids and addresses are as they were.
func TestCleanEveryKind(t *testing.T) {
	t.Parallel()
	b := setUp(t, Options{}, "坏词")
	for _, a := range filled("这是坏词") {
		before := proto.CloneOf(a)
		got := b.Clean("demo", a)
		if !proto.Equal(a, before) {
			t.Errorf("%T was changed in place", a.GetContent())
		}
		texts := 0
		var look func(m protoreflect.Message)
		look = func(m protoreflect.Message) {
			m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
				switch {
				case f.IsList():
					if v.List().Len() != 2 {
						t.Errorf("%s has %d elements", f.FullName(), v.List().Len())
					}
					look(v.List().Get(0).Message())
					look(v.List().Get(1).Message())
				case f.Kind() == protoreflect.MessageKind:
					look(v.Message())
				case hidden[f.Name()] && v.String() != "这是坏词":
					t.Errorf("%s became %q", f.FullName(), v)
				case !hidden[f.Name()]:
					texts++
					if v.String() != "这是***" {
						t.Errorf("%s is %q", f.FullName(), v)
					}
				}
				return true
			})
		}
		look(got.ProtoReflect())
		if (texts > 0) == (got == a) {
			t.Errorf("%T has %d texts, and is the same answer: %v", a.GetContent(), texts, got == a)
		}
	}
}

func TestClean(t *testing.T) {
	t.Parallel()
	b := setUp(t, Options{Replacement: "【略】"}, "坏词")
	good := bots.Text("好话")
	if got := b.Clean("demo", good); got != good {
		t.Errorf("an answer without a word became %v", got)
	}
	if blocked, _ := b.counts(); blocked != 0 {
		t.Errorf("%v answers were blocked", blocked)
	}
	if got := b.say("坏词、坏词。"); got != "【略】、【略】。" {
		t.Errorf("got %q", got)
	}
	if blocked, cut := b.counts(); blocked != 1 || cut != 0 {
		t.Errorf("%v blocked and %v cut; one answer had words", blocked, cut)
	}
	if text := b.log.String(); strings.Contains(text, "坏") {
		t.Errorf("the log has the word: %s", text)
	}
	if b := setUp(t, Options{}); b.say("坏词") != "坏词" {
		t.Error("without a list something is replaced")
	}
}

func TestRefusal(t *testing.T) {
	t.Parallel()
	b := setUp(t, Options{Refusal: "抱歉，这个问题我不能回答。", MaxLength: 5}, "坏词")
	for _, a := range filled("这是坏词") {
		got := b.Clean("demo", a)
		if len(readable(a)) > 0 && got.GetText().GetContent() != "抱歉，这个问题我不能回答。" || len(readable(a)) == 0 && got != a {
			t.Errorf("%T became %v", a.GetContent(), got)
		}
	}
	if got := b.say("好好好好好坏词"); got != "抱歉，这个问题我不能回答。" {
		t.Errorf("a word behind the cut: %q", got)
	}
	if got := b.say("好好好"); got != "好好好" {
		t.Errorf("no word: %q", got)
	}
}

func TestMaxLength(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		length     int
		text, want string
	}{
		{10, "一二三四五六七八九十", "一二三四五六七八九十"},
		{10, "一二三四五六七八九十百", "一二三四五六七八九…"},
		{10, "一二三四五六七。九十百千", "一二三四五六七。…"},
		{10, "一二三四五六！八？十百千", "一二三四五六！八？…"},
		{10, "一二三四五六\n八。十百千", "一二三四五六…"},      // a line's end is better than a sentence's
		{10, "一二三。五六七八九十百千", "一二三。五六七八九…"},    // not in the last third
		{10, "一二三四五六七八九\n\n\n", "一二三四五六七八九…"}, // no blanks before the ellipsis
		{10, "\n\n\n\n\n\n\n\n\n\n\n好", "好…"},
		{10, "it is so. And not", "it is so.…"},
		{3, "\U0001f600\U0001f601\U0001f602\U0001f603", "\U0001f600\U0001f601…"},
		{2, "abcd", "a…"},
		{1, "abcd", "…"},
		{0, "abcd", "abcd"},
	} {
		b := setUp(t, Options{MaxLength: c.length})
		if got := b.say(c.text); got != c.want {
			t.Errorf("%d of %q: %q, want %q", c.length, c.text, got, c.want)
		}
		want := 0.0
		if c.text != c.want {
			want = 1
		}
		if _, cut := b.counts(); cut != want {
			t.Errorf("%d of %q: %v were cut", c.length, c.text, cut)
		}
	}
	b := setUp(t, Options{MaxLength: 3}, "…", "c…")
	if got := b.say("abcd"); got != "abc" {
		t.Errorf("where the ellipsis is blocked: %q", got)
	}
	long := &messages.Answer{Content: &messages.Answer_News{News: &messages.NewsAnswer{Articles: []*messages.Article{{Title: "很长的标题"}}}}}
	if got := b.Clean("demo", long); got != long {
		t.Errorf("a title was cut: %v", got)
	}
}

// Whatever is said and allowed: the result is clean, short enough, UTF-8, never blank, and only ever cut at its end.
func TestCutTexts(t *testing.T) {
	t.Parallel()
	char := rapid.SampledFrom([]rune{'a', 'b', '。', '!', '.', ' ', '\n', '坏', '…', '\U0001f600', '<'})
	rapid.Check(t, func(rt *rapid.T) {
		said := string(rapid.SliceOfN(char, 1, 60).Draw(rt, "said"))
		length := rapid.IntRange(1, 30).Draw(rt, "length")
		words := rapid.SliceOfN(rapid.SampledFrom([]string{"ab", "坏", "。…", "…", "a…", "b b"}), 0, 3).Draw(rt, "words")
		if strings.TrimSpace(said) == "" {
			rt.Skip("the chain refuses a blank answer")
		}
		list := parsed(rt, words...)
		f := &Filter{opts: Options{MaxLength: length, Replacement: "***"}}
		f.metrics, _ = newMetrics(nil)
		f.list.Store(list)
		got := f.Clean("demo", bots.Text(said)).GetText().GetContent()
		whole := strings.TrimLeftFunc(list.Replace(said, "***"), unicode.IsSpace)
		switch {
		case naive(words, got):
			rt.Fatalf("%q has a word", got)
		case utf8.RuneCountInString(got) > length:
			rt.Fatalf("%q has more than %d characters", got, length)
		case !utf8.ValidString(got) || strings.TrimSpace(got) == "":
			rt.Fatalf("%q", got)
		case !strings.HasPrefix(whole, strings.TrimLeftFunc(strings.TrimSuffix(got, "…"), unicode.IsSpace)):
			rt.Fatalf("%q is no beginning of %q", got, whole)
		}
	})
}

func TestNew(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "words.txt")
	if err := os.WriteFile(file, []byte("好\n不能\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		opts Options
		want string
	}{
		"a blank replacement":            {Options{Replacement: "\u3000\u200b"}, "safety.replacement"},
		"a blank refusal":                {Options{Refusal: " "}, "safety.refusal"},
		"a length below 0":               {Options{MaxLength: -1}, "safety.max_length"},
		"a blocked word in the refusal":  {Options{BlockFile: file, Refusal: "我不能说"}, "words.txt:2: this word stands in safety.refusal"},
		"a blocked word as replacement":  {Options{BlockFile: file, Replacement: "好"}, "words.txt:1: this word stands in safety.replacement"},
		"a file that is not there":       {Options{BlockFile: filepath.Join(dir, "none")}, "none"},
		"a folder in place of the file":  {Options{BlockFile: dir}, filepath.Base(dir)},
		"a file in place of the folders": {Options{BlockFile: filepath.Join(file, "x")}, "words.txt"},
	} {
		if _, err := New(c.opts); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := New(Options{BlockFile: filepath.Join(dir, "none")})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

// A list that cannot be used leaves the old one in force, and one line says so.
func TestApply(t *testing.T) {
	t.Parallel()
	b := setUp(t, Options{}, "旧词")
	for _, s := range []struct {
		name   string
		found  watch.Reading
		said   string
		valid  float64
		errors int
	}{
		{"changed", watch.Reading{Data: []byte("新词")}, "旧词***", 1, 0},
		{"broken", watch.Reading{Data: []byte("好\n\xff")}, "旧词***", 0, 1},
		{"with the replacement's own sign", watch.Reading{Data: []byte("＊")}, "旧词***", 0, 2},
		{"gone", watch.Reading{Err: fs.ErrNotExist}, "旧词***", 0, 3},
		{"emptied", watch.Reading{}, "旧词新词", 1, 3},
	} {
		b.apply(s.found)
		if got := b.say("旧词新词"); got != s.said || b.valid() != s.valid {
			t.Errorf("%s: said %q, valid %v", s.name, got, b.valid())
		}
		if n := strings.Count(b.log.String(), "level=ERROR"); n != s.errors {
			t.Errorf("%s: %d errors were logged, want %d:\n%s", s.name, n, s.errors, b.log)
		}
	}
	if text := b.log.String(); strings.Contains(text, "词") || !strings.Contains(text, "words.txt:2: ") {
		t.Errorf("the log quotes words, or does not say where: %s", text)
	}
}

// Run takes up an edit of the real file while others speak, and ends with its context; without a file it only waits.
func TestRun(t *testing.T) {
	t.Parallel()
	b, without := setUp(t, Options{}, "旧词"), setUp(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() { ended <- b.Run(ctx) }()
	go func() { ended <- without.Run(ctx) }()
	if got := b.say("旧词新词"); got != "***新词" {
		t.Fatalf("before the edit: %q", got)
	}
	b.write(t, "新词")
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); b.say("旧词新词") != "旧词***"; <-tick.C {
		if got := b.say("旧词新词"); got != "***新词" && got != "旧词***" || time.Now().After(deadline) {
			t.Fatalf("after the edit: %q", got)
		}
	}
	cancel()
	for range 2 {
		if err := <-ended; err != nil {
			t.Errorf("Run ended with %v", err)
		}
	}
}

// Filters of several accounts count together, each account for itself.
func TestSharedMetrics(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	one, err := New(Options{MaxLength: 2, Registerer: reg})
	if err != nil {
		t.Fatal(err)
	}
	two, err := New(Options{MaxLength: 3, Registerer: reg})
	if err != nil {
		t.Fatal(err)
	}
	one.Clean("a", bots.Text("abcd"))
	two.Clean("b", bots.Text("abcd"))
	two.Clean("b", bots.Text("abcd"))
	got := map[string]float64{}
	for _, account := range []string{"a", "b"} {
		got[account] = testutil.ToFloat64(one.metrics.cut.WithLabelValues(account))
	}
	if want := map[string]float64{"a": 1, "b": 2}; !reflect.DeepEqual(got, want) {
		t.Errorf("cut %v, want %v", got, want)
	}
}
