package actors

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"hongyan/messages"
	"hongyan/state"
)

// metrics of all partitions of a node. The wechat_… names are those that WeChat teams alert on already (DESIGN §8).
type metrics struct {
	online, queueLength                     prometheus.Gauge
	unsettledOf, lagOf, checkpointAgeOf     *prometheus.GaugeVec // by partition
	settled, ignored, kept                  prometheus.Counter
	panics, activationsLost, staleWrites    prometheus.Counter
	checkpoints, checkpointErrors           prometheus.Counter
	turns                                   *prometheus.CounterVec // by account, outcome
	floodDropped, floodNoticed              *prometheus.CounterVec // by account
	limited                                 *prometheus.CounterVec // by account, by whom
	answersCut                              *prometheus.CounterVec // by account
	processed                               prometheus.Counter
	pushMarks                               *prometheus.CounterVec // by account
	redriven                                *prometheus.CounterVec // by account, result
	dueRows                                 *prometheus.GaugeVec   // by partition
	verdicts                                [4]prometheus.Counter
	commitErrors, stepDowns                 *prometheus.CounterVec // by reason
	repairs                                 *prometheus.CounterVec // by record
	queue, bot, commit, barrier, offer, all prometheus.Observer    // stages
	official                                *officialMetrics
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return f.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	byPartition := func(name, help string) *prometheus.GaugeVec {
		return f.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{"partition"})
	}
	stages := f.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "hongyan_stage_seconds",
		Help:    "Time of one stage of a turn: queue (log to start), bot, commit, barrier, offer; all is from arrival at the actor to its end.",
		Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
	}, []string{"stage"})
	m := &metrics{
		official:         newOfficialMetrics(reg),
		online:           gauge("wechat_online_users", "Users whose actor is in memory on this node."),
		queueLength:      gauge("wechat_message_queue_length", "Log entries of this node's partitions that are not settled."),
		processed:        counter("wechat_messages_processed_total", "Messages that reached their end."),
		unsettledOf:      byPartition("hongyan_partition_unsettled", "Log entries that are not settled."),
		lagOf:            byPartition("hongyan_partition_lag_seconds", "Age of the oldest unsettled log entry."),
		checkpointAgeOf:  byPartition("hongyan_checkpoint_age_seconds", "How long the oldest settlement waits for its checkpoint."),
		settled:          counter("hongyan_entries_settled_total", "Log entries settled."),
		ignored:          counter("hongyan_entries_acknowledged_total", "Log entries that needed no user's actor."),
		kept:             counter("hongyan_answers_kept_total", "Answers kept for the user's next message."),
		panics:           counter("hongyan_actor_panics_total", "Panics in a user's actor."),
		activationsLost:  counter("hongyan_activations_lost_total", "Users' actors that ended by themselves and were started again."),
		staleWrites:      counter("hongyan_stale_writes_total", "Writes refused because a later owner had written (promise P4)."),
		checkpoints:      counter("hongyan_checkpoints_total", "Checkpoints written."),
		checkpointErrors: counter("hongyan_checkpoint_errors_total", "Checkpoints that failed and were tried again."),
		turns: f.NewCounterVec(prometheus.CounterOpts{
			Name: "hongyan_messages_total", Help: "Messages by outcome; repeated and expired ones had no second effect.",
		}, []string{"account", "outcome"}),
		pushMarks: f.NewCounterVec(prometheus.CounterOpts{
			Name: "hongyan_push_marks_total", Help: "Messages whose answer was not ready at the deadline, so that it leaves by push.",
		}, []string{"account"}),
		redriven: f.NewCounterVec(prometheus.CounterOpts{
			Name: "hongyan_redriven_total", Help: "Entries that re-drive a dead letter: run, or refused because another took the letter up.",
		}, []string{"account", "result"}),
		dueRows: byPartition("hongyan_due_rows", "Users who must be looked at some time, whatever they do."),
		floodDropped: f.NewCounterVec(prometheus.CounterOpts{
			Name: "hongyan_flood_dropped_total", Help: "Messages beyond a user's queue, which ended without a turn (rule 6).",
		}, []string{"account"}),
		floodNoticed: f.NewCounterVec(prometheus.CounterOpts{
			Name: "hongyan_flood_notices_total", Help: "Users who were told that they write too much, or too fast: at most once a minute each.",
		}, []string{"account"}),
		answersCut: f.NewCounterVec(prometheus.CounterOpts{
			Name: "hongyan_turns_cut_total", Help: "Turns whose answers were longer than a turn may say, and were cut.",
		}, []string{"account"}),
		limited: f.NewCounterVec(prometheus.CounterOpts{
			Name: "hongyan_limited_total", Help: "Messages over a rate, which ended without a turn, by whose rate it was: user or account.",
		}, []string{"account", "by"}),
		commitErrors: f.NewCounterVec(prometheus.CounterOpts{
			Name: "hongyan_commit_errors_total", Help: "Users' commits that were refused or whose outcome is unknown.",
		}, []string{"reason"}),
		stepDowns: f.NewCounterVec(prometheus.CounterOpts{
			Name: "hongyan_partition_step_downs_total", Help: "Partitions given up by their actor.",
		}, []string{"reason"}),
		repairs: f.NewCounterVec(prometheus.CounterOpts{
			Name: "hongyan_store_repairs_total", Help: "Records put back from memory after the store had lost writes (rule 9): an alarm.",
		}, []string{"record"}),
		queue: stages.WithLabelValues("queue"), bot: stages.WithLabelValues("bot"), commit: stages.WithLabelValues("commit"),
		barrier: stages.WithLabelValues("barrier"), offer: stages.WithLabelValues("offer"), all: stages.WithLabelValues("all"),
	}
	verdicts := f.NewCounterVec(prometheus.CounterOpts{
		Name: "hongyan_offers_total", Help: "Answers offered to waiting deliveries, by the ingress's verdict.",
	}, []string{"verdict"})
	for _, record := range []string{"user", "checkpoint"} {
		m.repairs.WithLabelValues(record) // so that an alarm can be set on it before it happens
	}
	for _, v := range []messages.Verdict{messages.Verdict_VERDICT_UNKNOWN, messages.Verdict_VERDICT_WRITTEN, messages.Verdict_VERDICT_REFUSED} {
		m.verdicts[v] = verdicts.WithLabelValues(verdictWord(v))
	}
	return m
}

func (m *metrics) verdict(v messages.Verdict) { m.verdicts[v].Inc() }

func (m *metrics) repaired(key state.Key) {
	if key.IsCheckpoint() {
		m.repairs.WithLabelValues("checkpoint").Inc()
	} else {
		m.repairs.WithLabelValues("user").Inc()
	}
}

func (m *metrics) message(account, outcome string, elapsed time.Duration) {
	m.processed.Inc()
	m.turns.WithLabelValues(account, outcome).Inc()
	m.all.Observe(elapsed.Seconds())
}

// backlog is what one partition has reported, so that the node's totals can follow its changes.
type backlog struct {
	label                string
	residents, unsettled int
	dirtySince           time.Time
}

// report brings the gauges up to what the partition has now.
func (m *metrics) report(b *backlog, residents, unsettled int, lag, checkpointAge time.Duration) {
	m.online.Add(float64(residents - b.residents))
	m.queueLength.Add(float64(unsettled - b.unsettled))
	b.residents, b.unsettled = residents, unsettled
	m.unsettledOf.WithLabelValues(b.label).Set(float64(unsettled))
	m.lagOf.WithLabelValues(b.label).Set(lag.Seconds())
	m.checkpointAgeOf.WithLabelValues(b.label).Set(checkpointAge.Seconds())
}

// forget takes the partition out of the gauges: it is not this node's any more.
func (m *metrics) forget(b *backlog) {
	m.online.Sub(float64(b.residents))
	m.queueLength.Sub(float64(b.unsettled))
	for _, v := range []*prometheus.GaugeVec{m.unsettledOf, m.lagOf, m.checkpointAgeOf, m.dueRows} {
		v.DeleteLabelValues(b.label)
	}
	*b = backlog{label: b.label}
}

func newBacklog(partition int) backlog { return backlog{label: strconv.Itoa(partition)} }
