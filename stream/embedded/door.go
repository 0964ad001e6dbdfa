package embedded

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Door is where bots outside this process connect to the embedded server. They may do nothing there but serve.
type Door struct {
	Listen string // host:port, port 0 for any free one; empty: no door
	Token  string // what a bot must show; needed off loopback
}

// What a bot may do behind the door: wait for requests of the engine, to bots or to tools of models, and of NATS's service discovery, and
// answer the engine. Answers go
// below a prefix of their own (bots/remote.ReplyPrefix) and not to _INBOX.>: names there follow one another, and whoever can guess
// one and write to it writes into what the engine reads.
var (
	botsHear = []string{"hy.bot.>", "hy.tool.>", "$SRV.>"}
	botsSay  = []string{"hy.reply.>"}
)

const (
	// A picture that a bot gets is larger than NATS's usual 1 MiB: behind a door the server takes as much as NATS advises at most.
	doorPayload = 8 << 20
	// A connection that shows no token by then is ended.
	doorPatience = 2 * time.Second
)

// admission lets connections in by their tokens, and gives each its rights: this process has all, other processes of the engine too,
// bots what the door is for.
type admission struct {
	own    string // of this process alone, made at each start
	engine string // Options.Token; empty: nobody
	bots   *Door  // nil: nobody
	rights *server.User
}

// admit puts the admission into the server's configuration and returns the token of this process's own connections.
func admit(config *server.Options, opts Options) string {
	a := &admission{own: rand.Text(), engine: opts.Token}
	if opts.Bots.Listen != "" {
		a.bots = &opts.Bots
		a.rights = &server.User{Username: "bot", Permissions: &server.Permissions{
			Subscribe: &server.SubjectPermission{Allow: botsHear},
			Publish:   &server.SubjectPermission{Allow: botsSay},
		}}
	}
	config.CustomClientAuthentication = a
	return a.own
}

// Check implements server.Authentication.
func (a *admission) Check(c server.ClientAuthentication) bool {
	if c.Kind() != server.CLIENT {
		return false
	}
	shown := c.GetOpts().Token
	switch {
	case same(shown, a.own):
	case a.engine != "" && same(shown, a.engine):
	case a.bots != nil && same(shown, a.bots.Token):
		c.RegisterUser(a.rights)
	default:
		return false
	}
	return true
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// openDoor lets the server listen for bots.
func openDoor(config *server.Options, opts Options) error {
	if opts.Listen != "" {
		return fmt.Errorf("embedded NATS server: it listens either for other processes of the engine (%s) or for bots (%s); leave "+
			"nats.bots.listen empty, or run a NATS server of your own and set nats.url", opts.Listen, opts.Bots.Listen)
	}
	host, port, err := net.SplitHostPort(opts.Bots.Listen)
	if err == nil {
		config.Host = host
		config.Port, err = strconv.Atoi(port)
	}
	if err != nil {
		return fmt.Errorf("embedded NATS server: nats.bots.listen %q is not of the form host:port: %w", opts.Bots.Listen, err)
	}
	if opts.Bots.Token == "" && !loopback(host) {
		return errors.New("embedded NATS server: nats.bots.listen is not on loopback, and everybody could answer for your bots; " +
			"set nats.bots.token")
	}
	if config.Host == "" {
		config.Host = server.DEFAULT_HOST // all of them, as :4222 says
	}
	if config.Port == 0 {
		config.Port = server.RANDOM_PORT
	}
	config.MaxPayload = doorPayload
	config.AuthTimeout = doorPatience.Seconds()
	return nil
}

// loopback tells whether a host to listen on is reached from this machine alone.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
