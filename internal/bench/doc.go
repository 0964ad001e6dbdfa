// Package bench measures the whole path of a message beside a bare handler.
//
// Two kinds of server, each in a process of its own, answer the same callbacks:
//
//   - the engine (`hongyan serve`): verify, durable log, the user's actor, committed state, in order, answered;
//     or, with several nodes, as many workers, one ingress and a NATS server, a process each, on this one machine;
//   - the bare handler (bare.go): net/http and encoding/xml. It verifies, decodes, looks the text up in a map, answers with
//     the same bytes and keeps nothing. No engine can be faster than this; the ratio to it says what the promises cost.
//
// One client drives both over keep-alive connections. Its requests are signed and encrypted before the clock starts
// (feed.go), it reads answers without net/http (conn.go), and it decrypts and checks every single one (check.go): whose
// answer it is, to which text, and its signature. One wrong or missing answer fails the run.
//
// The closed loop (load.go) keeps every connection busy and gives throughput. Rounds alternate between the targets, and each
// cycle starts with another one, so that a machine that slows down slows all of them. The figures are medians over the
// rounds with minimum and maximum; ratios are taken between medians, and per cycle for their spread. The open loop gives
// latency at a fixed rate, by default half of what the closed loop reached, counted from the planned instant of a message.
//
// Report (report.go) is the JSON schema of `hongyan bench -o json`.
package bench
