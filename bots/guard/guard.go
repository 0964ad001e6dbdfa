// Package guard is what answers go through before they leave: words that must not be said are replaced, or the whole answer is, and
// texts have a greatest length. It looks at whatever a user reads, and never says or logs what that was.
package guard

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"unicode"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"hongyan/bots"
	"hongyan/bots/fold"
	"hongyan/bots/watch"
	"hongyan/messages"
	"hongyan/wechat"
)

// DefaultReplacement stands for a word where Options.Replacement is empty: with nothing in its place, an answer could become blank,
// which WeChat shows as a fault.
const DefaultReplacement = "***"

// Options describe a filter.
type Options struct {
	BlockFile   string // words that answers must not have, see Parse; empty: none
	Replacement string // stands for each of them; empty: DefaultReplacement
	Refusal     string // said instead of an answer that has one, and never cut; empty: the words are replaced
	MaxLength   int    // characters (runes) of a text answer, the … behind a cut included; 0: no bound

	Logger     *slog.Logger          // nil: slog.Default()
	Registerer prometheus.Registerer // nil: nothing is counted for others to see; filters may share one
}

// Filter implements bots.Filter. Accounts with the same options may share one. Clean may be called from many goroutines, whether Run
// runs or not; Run keeps the block list fresh.
type Filter struct {
	opts    Options
	log     *slog.Logger
	metrics *metrics
	list    atomic.Pointer[List]
	file    watch.File
}

// New reads the block file once and builds the filter. A file that is missing or broken at the start is an error, of type *Error where
// its content is at fault: only a running filter has an old list to keep.
func New(opts Options) (*Filter, error) {
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	opts.Replacement = cmp.Or(opts.Replacement, DefaultReplacement)
	switch {
	case fold.Text(opts.Replacement) == "":
		return nil, errors.New("safety.replacement is blank, so that an answer could become blank, which WeChat refuses: use visible characters")
	case opts.Refusal != "" && fold.Text(opts.Refusal) == "":
		return nil, errors.New("safety.refusal is blank, which WeChat refuses: use visible characters, or leave it empty")
	case opts.MaxLength < 0:
		return nil, fmt.Errorf("safety.max_length is %d: it is 0 for no bound, or more", opts.MaxLength)
	}
	m, err := newMetrics(opts.Registerer)
	if err != nil {
		return nil, err
	}
	f := &Filter{opts: opts, log: opts.Logger, metrics: m}
	f.list.Store(new(List))
	if opts.BlockFile == "" {
		return f, nil
	}
	r := watch.Read(opts.BlockFile, MaxFileSize)
	if r.Err != nil {
		return nil, fmt.Errorf("block list: %w", r.Err)
	}
	list, err := f.parse(r.Data)
	if err != nil {
		return nil, fmt.Errorf("block list: %w", err)
	}
	f.list.Store(list)
	f.metrics.valid.WithLabelValues(opts.BlockFile).Set(1)
	f.file = watch.File{Path: opts.BlockFile, Limit: MaxFileSize, Seen: r, Take: f.apply, Logger: f.log}
	return f, nil
}

// Run takes up changes of the block file until ctx ends; it then returns nil. One Run at a time.
func (f *Filter) Run(ctx context.Context) error {
	if f.opts.BlockFile == "" {
		<-ctx.Done()
		return nil
	}
	return f.file.Run(ctx)
}

// parse reads a block list that this filter can use: one whose words stand neither in the replacement nor in the refusal, since what
// is said instead would have to be replaced in turn.
func (f *Filter) parse(data []byte) (*List, error) {
	list, err := Parse(f.opts.BlockFile, data)
	if err != nil {
		return nil, err
	}
	for key, text := range map[string]string{"safety.replacement": f.opts.Replacement, "safety.refusal": f.opts.Refusal} {
		if line, found := list.find(text); found {
			return nil, &Error{File: f.opts.BlockFile, Line: line, Message: "this word stands in " + key + ": take it out of one of the two"}
		}
	}
	return list, nil
}

// apply takes up what the file holds now. A list without a fault replaces the old one in one step; anything else leaves it as it is.
// It is called once per content, so a broken file is logged once.
func (f *Filter) apply(now watch.Reading) {
	list, err := (*List)(nil), now.Err
	if err == nil {
		list, err = f.parse(now.Data)
	}
	if err != nil {
		f.metrics.valid.WithLabelValues(f.opts.BlockFile).Set(0)
		f.log.Error("block list cannot be used, the old one stays", "file", f.opts.BlockFile, "error", err)
		return
	}
	f.list.Store(list)
	f.metrics.valid.WithLabelValues(f.opts.BlockFile).Set(1)
	f.log.Info("block list loaded", "file", f.opts.BlockFile, "words", list.Len())
}

// Clean implements bots.Filter: the answer without blocked words and of the allowed length. It is a itself where nothing had to change,
// and a is never changed.
func (f *Filter) Clean(account string, a *messages.Answer) *messages.Answer {
	list := f.list.Load()
	if list.Len() > 0 && blocked(list, a) {
		f.metrics.blocked.WithLabelValues(account).Inc()
		if f.opts.Refusal != "" {
			return bots.Text(f.opts.Refusal)
		}
		a = proto.CloneOf(a)
		for _, field := range readable(a) {
			*field = list.Replace(*field, f.opts.Replacement)
		}
	}
	text, isText := a.GetContent().(*messages.Answer_Text)
	if !isText || f.opts.MaxLength == 0 || utf8.RuneCountInString(text.Text.GetContent()) <= f.opts.MaxLength {
		return a
	}
	f.metrics.cut.WithLabelValues(account).Inc()
	return bots.Text(shorten(list, text.Text.GetContent(), f.opts.MaxLength))
}

// blocked tells whether a user would read a blocked word in the answer.
func blocked(list *List, a *messages.Answer) bool {
	for _, field := range readable(a) {
		if list.Has(*field) {
			return true
		}
	}
	return false
}

// ellipsis says that there was more.
const ellipsis = "…"

// shorten is the beginning of a text of more than length characters, which are at least 1: up to the end of a line or a sentence
// where one is in the last third, with an ellipsis, and at most length characters together. What began without a blocked word does
// not get one, not even by the ellipsis.
func shorten(list *List, text string, length int) string {
	text = strings.TrimLeftFunc(text, unicode.IsSpace) // so that what is left is not blank
	head := first(text, length-1)
	if more := first(text, length); len(head) >= utf8.UTFMax && len(more) > len(head) {
		head = wechat.SplitText(more, len(head))[0]
	}
	if cut := strings.TrimRightFunc(head, unicode.IsSpace) + ellipsis; !list.Has(cut) {
		return cut
	}
	return first(text, length)
}

// first is the text's first n characters, or all of it.
func first(text string, n int) string {
	for at := range text {
		if n == 0 {
			return text[:at]
		}
		n--
	}
	return text
}
