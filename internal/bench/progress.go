package bench

import (
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"
)

// Progress is told how far a run is. One goroutine calls it.
type Progress interface {
	// Plan says how long everything will take, about.
	Plan(total time.Duration)
	// At says what is being done, and how much of the plan is behind.
	At(step string, elapsed time.Duration)
	// Done says what a step gave.
	Done(step, result string)
	// Close ends the display.
	Close()
}

// NewBar shows one moving line on a terminal.
func NewBar(w io.Writer) Progress { return &bar{w: w} }

// NewLines writes one line per finished step.
func NewLines(w io.Writer) Progress { return lines{w} }

type bar struct {
	w   io.Writer
	bar *progressbar.ProgressBar
}

func (b *bar) Plan(total time.Duration) {
	b.bar = progressbar.NewOptions64(max(total.Milliseconds(), 1),
		progressbar.OptionSetWriter(b.w),
		progressbar.OptionSetWidth(30),
		progressbar.OptionSetPredictTime(false),
		progressbar.OptionSetElapsedTime(true),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish())
}

func (b *bar) At(step string, elapsed time.Duration) {
	if b.bar == nil {
		return
	}
	b.bar.Describe(step)
	// The last millisecond is left for Close: a full bar takes no more steps. Errors here are the terminal's.
	_ = b.bar.Set64(min(elapsed.Milliseconds(), b.bar.GetMax64()-1))
}

func (b *bar) Done(step, result string) {
	if b.bar != nil {
		b.bar.Describe(step + ": " + result)
	}
}

func (b *bar) Close() {
	if b.bar != nil {
		_ = b.bar.Finish()
	}
}

type lines struct{ w io.Writer }

func (lines) Plan(time.Duration)         {}
func (lines) At(string, time.Duration)   {}
func (lines) Close()                     {}
func (l lines) Done(step, result string) { fmt.Fprintf(l.w, "bench: %s: %s\n", step, result) }
