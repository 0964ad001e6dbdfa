package bench

import (
	"encoding/json"
	"io"
	"time"
)

// Schema is the version of Report's JSON form. It grows by new fields; a changed meaning raises it.
const Schema = 1

// Report is the result of a run and the schema of `hongyan bench -o json`. Times in names carry their unit.
type Report struct {
	Schema   int         `json:"schema"`
	Started  time.Time   `json:"started"`
	Machine  Machine     `json:"machine"`
	Settings Settings    `json:"settings"`
	Targets  []Target    `json:"targets"`           // TargetBare first
	Ratios   []Ratio     `json:"ratios"`            // one per engine target
	Latency  []OpenRound `json:"latency,omitempty"` // open loop, when asked for
	Answers  Answers     `json:"answers"`           // over warm-up and all rounds
	Passed   bool        `json:"passed"`            // every answer was there and right
}

// Settings are what the run was asked for.
type Settings struct {
	Mode          string   `json:"mode"`
	Durability    []string `json:"durability"`
	Stores        []string `json:"stores"`
	Nodes         []int    `json:"nodes"`
	Users         int      `json:"users"`
	Spread        string   `json:"spread"`
	Connections   int      `json:"connections"`
	Rounds        int      `json:"rounds"`
	RoundSeconds  float64  `json:"round_seconds"`
	WarmUpSeconds float64  `json:"warm_up_seconds"`
	Seed          uint64   `json:"seed"`
}

// Target is what one server reached in the closed loop.
type Target struct {
	Name         string  `json:"name"` // TargetBare, or the topology: disk, os+redis, disk@3
	PerSecond    Spread  `json:"msgs_per_second"`
	P50MS        Spread  `json:"p50_ms"`
	P99MS        Spread  `json:"p99_ms"`
	MaxMS        float64 `json:"max_ms"`
	CPUMicros    Spread  `json:"cpu_us_per_message"` // of the servers' processes together; 0 where the system does not tell
	ResidentNow  int64   `json:"rss_bytes"`          // after the last round
	ResidentPeak int64   `json:"peak_rss_bytes"`
	Rounds       []Round `json:"rounds"`
}

// Round is one target's turn in one cycle.
type Round struct {
	Cycle           int     `json:"cycle"` // from 1
	Messages        int     `json:"messages"`
	Seconds         float64 `json:"seconds"`
	PerSecond       float64 `json:"msgs_per_second"`
	P50MS           float64 `json:"p50_ms"`
	P99MS           float64 `json:"p99_ms"`
	MaxMS           float64 `json:"max_ms"`
	CPUMicros       float64 `json:"cpu_us_per_message"`
	ClientCPUMicros float64 `json:"client_cpu_us_per_message"`
	IdleCPU         float64 `json:"idle_cpu"`      // cores that the resting targets used meanwhile
	ForeignCPU      float64 `json:"foreign_cpu"`   // cores that processes outside the run used meanwhile
	RenderedLate    int     `json:"rendered_late"` // requests signed while the clock ran
}

// Ratio compares an engine target with the bare handler: over 1 is faster.
type Ratio struct {
	Name     string  `json:"name"`
	OfMedian float64 `json:"of_medians"` // its median throughput / the bare handler's
	PerCycle Spread  `json:"per_cycle"`  // of the ratios within each cycle
	CPU      float64 `json:"cpu"`        // its median CPU per message / the bare handler's; 0 where unknown
}

// OpenRound is latency at a fixed rate of arrival.
type OpenRound struct {
	Name      string  `json:"name"`
	Rate      float64 `json:"msgs_per_second"` // planned
	Reached   float64 `json:"reached_per_second"`
	Messages  int     `json:"messages"`
	P50MS     float64 `json:"p50_ms"`
	P99MS     float64 `json:"p99_ms"`
	P999MS    float64 `json:"p999_ms"`
	MaxMS     float64 `json:"max_ms"`
	CPUMicros float64 `json:"cpu_us_per_message"`
}

// Answers counts what came back.
type Answers struct {
	Checked int      `json:"checked"`
	Missing int      `json:"missing"`
	Wrong   int      `json:"wrong"`
	Faults  []string `json:"faults,omitempty"` // the first few in words
}

func (a *Answers) add(where string, o outcome) {
	a.Checked += o.messages
	a.Missing += o.missing
	a.Wrong += o.wrong
	for _, fault := range o.faults {
		if len(a.Faults) < 2*keptFaults {
			a.Faults = append(a.Faults, where+": "+fault.Error())
		}
	}
}

func (a *Answers) right() bool { return a.Missing == 0 && a.Wrong == 0 && a.Checked > 0 }

// summarize fills a target's figures from its rounds.
func (t *Target) summarize() {
	column := func(value func(Round) float64) Spread {
		values := make([]float64, len(t.Rounds))
		for i, r := range t.Rounds {
			values[i] = value(r)
		}
		return spreadOf(values)
	}
	t.PerSecond = column(func(r Round) float64 { return r.PerSecond })
	t.P50MS = column(func(r Round) float64 { return r.P50MS })
	t.P99MS = column(func(r Round) float64 { return r.P99MS })
	t.CPUMicros = column(func(r Round) float64 { return r.CPUMicros })
	t.MaxMS = column(func(r Round) float64 { return r.MaxMS }).Max
}

// ratioTo compares t with bare; both have the same cycles.
func (t *Target) ratioTo(bare *Target) Ratio {
	ratio := Ratio{
		Name:     t.Name,
		OfMedian: over(t.PerSecond.Median, bare.PerSecond.Median),
		CPU:      over(t.CPUMicros.Median, bare.CPUMicros.Median),
	}
	var cycles []float64
	for i := range min(len(t.Rounds), len(bare.Rounds)) {
		cycles = append(cycles, over(t.Rounds[i].PerSecond, bare.Rounds[i].PerSecond))
	}
	ratio.PerCycle = spreadOf(cycles)
	return ratio
}

// foreignCPU is how many cores others used, in the median round.
func (r *Report) foreignCPU() float64 {
	var cores []float64
	for _, t := range r.Targets {
		for _, round := range t.Rounds {
			cores = append(cores, round.ForeignCPU)
		}
	}
	return spreadOf(cores).Median
}

// over divides; what cannot be divided is 0.
func over(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// WriteJSON writes the report in its documented form.
func (r *Report) WriteJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(r)
}
