// Package console is the admin listener: liveness, readiness, health, metrics, and the admin API of one node. It decides
// nothing about messages; it shows what the other parts know. Everything it needs of them is passed in as small functions
// and interfaces.
//
// Who may see what: /livez, /readyz, /health and /metrics are open to whoever reaches the listener, which is on loopback
// unless configured otherwise; /api/v1/… needs a bearer token. No token, no OpenID and no body is ever logged.
package console
