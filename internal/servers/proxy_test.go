package servers

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// quiet is how long a test watches that nothing comes through a cut.
const quiet = 100 * time.Millisecond

// echo is a server that says every line again, with a mark, until the test ends.
func echo(t *testing.T) string {
	t.Helper()
	l, err := Listen()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() { // ended by the listener's end
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { // ended by the connection's end
				defer conn.Close()
				lines := bufio.NewScanner(conn)
				for lines.Scan() {
					_, _ = io.WriteString(conn, "echo "+lines.Text()+"\n")
				}
			}()
		}
	}()
	return l.Addr().String()
}

type talk struct {
	t *testing.T
	net.Conn
	lines *bufio.Reader
}

func dial(t *testing.T, address string) *talk {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &talk{t: t, Conn: conn, lines: bufio.NewReader(conn)}
}

func (c *talk) say(line string) {
	c.t.Helper()
	if _, err := io.WriteString(c, line+"\n"); err != nil {
		c.t.Fatal(err)
	}
}

func (c *talk) hears(want string) {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if line, err := c.lines.ReadString('\n'); err != nil || line != want+"\n" {
		c.t.Fatalf("heard %q, %v; want %q", line, err, want)
	}
}

func (c *talk) hearsNothing() {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(quiet))
	if line, err := c.lines.ReadString('\n'); !errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatalf("heard %q, %v through a cut", line, err)
	}
}

func newProxy(t *testing.T, target string) *Proxy {
	t.Helper()
	p, err := NewProxy(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func TestProxyCut(t *testing.T) {
	t.Parallel()
	for _, d := range []Direction{Upstream, Downstream, Both} {
		t.Run(d.String(), func(t *testing.T) {
			t.Parallel()
			p := newProxy(t, echo(t))
			old := dial(t, p.Addr())
			old.say("before")
			old.hears("echo before")

			p.Cut(d)
			old.say("into the cut")
			old.hearsNothing()
			late := dial(t, p.Addr())
			late.say("late")
			late.hearsNothing()

			p.Heal()
			old.hears("echo into the cut")
			late.hears("echo late")
			old.say("after")
			old.hears("echo after")
		})
	}
}

// TestProxyOneWay: what is cut one way still flows the other way.
func TestProxyOneWay(t *testing.T) {
	t.Parallel()
	l, err := Listen()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := newProxy(t, l.Addr().String())
	client := dial(t, p.Addr())
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	server := &talk{t: t, Conn: accepted, lines: bufio.NewReader(accepted)}

	p.Cut(Upstream)
	client.say("up")
	server.hearsNothing()
	server.say("down")
	client.hears("down")

	p.Heal()
	server.hears("up")
	p.Cut(Downstream)
	server.say("down again")
	client.hearsNothing()
	client.say("up again")
	server.hears("up again")
}

func TestProxyBreak(t *testing.T) {
	t.Parallel()
	p := newProxy(t, echo(t))
	c := dial(t, p.Addr())
	c.say("before")
	c.hears("echo before")
	p.Break()
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if line, err := c.lines.ReadString('\n'); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("a broken connection lives: %q, %v", line, err)
	}
	again := dial(t, p.Addr())
	again.say("again")
	again.hears("echo again")
}

// TestProxyNobody: a target that is not there looks like a connection that is closed at once.
func TestProxyNobody(t *testing.T) {
	t.Parallel()
	l, err := Listen()
	if err != nil {
		t.Fatal(err)
	}
	target := l.Addr().String()
	_ = l.Close()
	conn, err := net.DialTimeout("tcp", newProxy(t, target).Addr(), 5*time.Second)
	if err != nil {
		return // the reset was faster than dialing
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the connection stays: %v", err)
	}
}
