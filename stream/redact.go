package stream

import "regexp"

// keySubject finds the subjects of key-value stores: a user's key is made from the OpenID, which must not stand in a log.
var keySubject = regexp.MustCompile(`(\$KV\.[A-Za-z0-9_-]+\.)[^\s"'\]]+`)

// Redact takes out of a line of NATS, for a log or an error, what could name a user.
func Redact(line string) string { return keySubject.ReplaceAllString(line, "${1}…") }
