package ingress

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"hongyan/messages"
)

// endpoint is a route pattern. Raw paths never become labels: strangers choose them.
type endpoint uint8

const (
	endpointAccount endpoint = iota
	endpointSingle
	endpointOther
)

var endpointLabels = [...]string{"/wechat/callback/{account}", "/wechat/callback", "other"}

// methodLabel bounds the label to what the endpoint knows.
func methodLabel(method string) string {
	if method == http.MethodGet || method == http.MethodPost {
		return method
	}
	return "other"
}

// statusAborted stands in the status label where the exchange ended without a response: WeChat hung up, or was hung up on.
const statusAborted = 499

// How an exchange ended that no offer ended, in the label "end".
const (
	endThinking = "thinking" // last delivery: the account's text, or success
	endGone     = "gone"     // WeChat hung up
	endCut      = "cut"      // it did not, and the connection was cut at the hard limit
)

// verdictLabels are the ends of an offer, by messages.Verdict. An offer never ends as open.
var verdictLabels = [...]string{
	messages.Verdict_VERDICT_UNKNOWN: "unknown",
	messages.Verdict_VERDICT_WRITTEN: "written",
	messages.Verdict_VERDICT_REFUSED: "refused",
}

// metrics are the ingress's own. What every request counts is resolved once, at the start.
type metrics struct {
	requests    *prometheus.CounterVec
	durations   *prometheus.HistogramVec
	refused     *prometheus.CounterVec
	accepted    *prometheus.CounterVec
	addresses   *prometheus.CounterVec
	limited     prometheus.Counter
	notReceived *prometheus.CounterVec
	verdicts    *prometheus.CounterVec
	unanswered  *prometheus.CounterVec
	stages      *prometheus.HistogramVec

	postOK       [2]prometheus.Counter  // by endpoint
	postDuration [2]prometheus.Observer // by endpoint
	verdict      [3]prometheus.Counter  // by messages.Verdict
	verify       prometheus.Observer
	accept       prometheus.Observer
	answer       prometheus.Observer
}

func newMetrics(reg prometheus.Registerer, open func() int) (*metrics, error) {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
	}
	m := &metrics{
		requests: counter("wechat_http_requests_total",
			"Requests to the callback listener; status 499: ended without a response.", "method", "endpoint", "status"),
		durations: histogram("wechat_http_request_duration_seconds",
			"From a request's arrival to its end, the wait for an answer included.",
			[]float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 4, 4.8, 5.5}, "method", "endpoint"),
		refused: counter("hongyan_ingress_refused_total",
			"Requests refused as not genuine, by reason; account is empty where none is configured under that name.", "account", "reason"),
		accepted: counter("hongyan_ingress_accepted_total",
			"Pushes that the log has, by kind.", "account", "kind"),
		addresses: counter("hongyan_ingress_addresses_total",
			"Genuine requests by where they came from: listed, unlisted, unknown (there is no list yet); with callback_ips alone.",
			"account", "found"),
		limited: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hongyan_ingress_limited_total", Help: "Requests refused with 503 because their client address sent too many.",
		}),
		notReceived: counter("hongyan_ingress_not_received_total",
			"Last deliveries that the log could not accept; the user was told so.", "account"),
		verdicts: counter("hongyan_ingress_verdicts_total",
			"Replies to offers of an answer (questions about one not included).", "verdict"),
		unanswered: counter("hongyan_ingress_unanswered_total",
			"Exchanges that ended without an offer: thinking (last delivery, local text), gone (WeChat hung up), cut.", "end"),
		stages: histogram("hongyan_ingress_stage_seconds",
			"Time in a stage: verify (arrival to verified), accept (until the log has it), answer (until it is written).",
			[]float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}, "stage"),
	}
	slotsOpen := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "hongyan_ingress_slots", Help: "Exchanges that wait for an answer.", ConstLabels: prometheus.Labels{"state": "open"},
	}, func() float64 { return float64(open()) })

	for i := range m.postOK {
		m.postOK[i] = m.requests.WithLabelValues(http.MethodPost, endpointLabels[i], "200")
		m.postDuration[i] = m.durations.WithLabelValues(http.MethodPost, endpointLabels[i])
	}
	for v, label := range verdictLabels {
		m.verdict[v] = m.verdicts.WithLabelValues(label)
	}
	m.verify, m.accept, m.answer = m.stages.WithLabelValues("verify"), m.stages.WithLabelValues("accept"), m.stages.WithLabelValues("answer")
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{
		m.requests, m.durations, m.refused, m.accepted, m.addresses, m.limited, m.notReceived, m.verdicts, m.unanswered, m.stages, slotsOpen,
	} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("ingress: registering metrics: %w", err)
		}
	}
	return m, nil
}

// request counts one request at its end.
func (m *metrics) request(method string, e endpoint, status int, seconds float64) {
	if method == http.MethodPost && e != endpointOther {
		m.postDuration[e].Observe(seconds)
		if status == http.StatusOK {
			m.postOK[e].Inc()
			return
		}
	} else {
		m.durations.WithLabelValues(methodLabel(method), endpointLabels[e]).Observe(seconds)
	}
	m.requests.WithLabelValues(methodLabel(method), endpointLabels[e], strconv.Itoa(status)).Inc()
}

// kindCounters are hongyan_ingress_accepted_total of one account, each resolved when its kind first comes.
type kindCounters struct {
	account string
	vec     *prometheus.CounterVec
	byKind  [256]atomic.Pointer[prometheus.Counter]
}

func (k *kindCounters) inc(kind messages.Kind) {
	slot := &k.byKind[uint8(kind)] // kinds are below 256; an unknown number only costs a wrong label
	c := slot.Load()
	if c == nil {
		label := strings.ToLower(strings.TrimPrefix(kind.String(), "KIND_"))
		counter := k.vec.WithLabelValues(k.account, label)
		c = &counter
		slot.Store(c)
	}
	(*c).Inc()
}
