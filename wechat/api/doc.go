// Package api is the client of WeChat's server API for one Official Account: tokens, customer-service messages, template and
// subscription messages, media, users, quotas, address lists.
//
// A Client keeps no token: who calls says which one to use, so that one place in the cluster alone decides when a token is renewed
// (wechat-protocol §4). It repeats a call by itself only where that cannot have an effect twice: on another host when not one byte of
// the request was written, and read-only calls. Every failure is an *Error that says what class it is of and whether the request may
// have reached WeChat. Tokens, secrets and OpenIDs stand in no error and in no log line.
//
// The order of a call: send.go, notify.go, media.go, token.go and account.go name what is asked; call.go walks over the hosts
// (hosts.go) and makes each attempt (attempt.go, over connections that count what was written, dial.go); answer.go reads what came
// back; codes.go says what an errcode means.
package api
