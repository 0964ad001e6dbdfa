// Package simulator is WeChat's platform, as a back end sees it: it signs and encrypts callbacks, cuts a delivery off after five
// seconds, delivers again, judges the reply as WeChat does and shows the fault banner where WeChat would. It works against any
// back end, not only Hongyan: nothing in it knows how the callback is handled.
//
// Three ways in:
//
//   - Platform.Push sends one message of one user with all its deliveries and returns what the user would have seen;
//   - Platform.Witness (and Options.WitnessWriter) is the platform's own log, for tests that compare what must be true;
//   - Platform.Handler is the phone: a web page that chats as any of several users.
//
// The rules are those of WeChat's public documentation and of recorded traffic: modes and signatures, push bodies, passive
// replies, the retry window. Where WeChat publishes nothing (how it takes a BOM, for one) the simulator is lenient.
//
// A Platform is safe for concurrent use. It starts goroutines only for what the phone sends; Close ends them.
package simulator
