// Package ingress is WeChat's door into Hongyan: the HTTP callback endpoint, and the slots in which its exchanges wait for
// an answer.
//
// One request goes through these files in this order:
//
//	handler.go   routes, bounds the body, refuses everything that is not genuine with one and the same answer
//	query.go     the parameters of the URL
//	verify.go    pure: (account, parameters, body, now) → a genuine push, or why not
//	exchange.go  opens a slot, hands the entry to the log, waits for an answer, writes it, judges whether it was in time
//	slots.go     the open slots, the offers that come in from the owners of the users, the verdicts that are kept
//
// Only the goroutine that serves a request writes its response, and only it judges what it wrote (DESIGN §3 rule 12).
// The package starts no goroutine.
package ingress
