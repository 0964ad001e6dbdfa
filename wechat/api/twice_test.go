package api

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// effects counts, for each message, how often a server took it in whole.
type effects struct {
	mu    sync.Mutex
	count map[string]int // by the text of the message
}

func (e *effects) add(body string) {
	_, rest, _ := strings.Cut(body, `"content":"`)
	id, _, _ := strings.Cut(rest, `"`)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.count[id]++
}

// fickle serves a connection and breaks off at random.
func (e *effects) fickle(_ int, conn *net.TCPConn) {
	for r := bufio.NewReader(conn); ; {
		if rand.IntN(12) == 0 {
			reset(conn)
			return
		}
		body, err := readRequest(r)
		if err != nil {
			return
		}
		e.add(body)
		switch rand.IntN(12) {
		case 0:
			reset(conn)
			return
		case 1:
			return
		case 2:
			io.WriteString(conn, ok)
			reset(conn) // perhaps before the answer is read, perhaps while the next request is written
			return
		case 3:
			io.WriteString(conn, ok)
			return
		default:
			io.WriteString(conn, ok)
		}
	}
}

// TestNeverTwice sends many messages to two servers that break off at random, some of the sends cut off by their caller: none has an
// effect twice, none that is said to be unsent has one, and all that are said to be well have one.
func TestNeverTwice(t *testing.T) {
	t.Parallel()
	seen := &effects{count: map[string]int{}}
	c := newTestClient(t, raw(t, seen.fickle), func(o *Options) { o.Hosts = []string{raw(t, seen.fickle)} })
	const workers, each = 8, 120
	said := make([]map[string]string, workers) // by worker and text: what the client said
	var wg sync.WaitGroup
	for worker := range workers {
		said[worker] = map[string]string{}
		wg.Go(func() {
			for i := range each {
				id := fmt.Sprintf("%d/%d", worker, i)
				ctx, cancel := t.Context(), context.CancelFunc(func() {})
				if i%3 == 0 {
					ctx, cancel = context.WithTimeout(ctx, time.Duration(rand.IntN(400))*time.Microsecond)
				}
				err := sendText(ctx, c, id)
				cancel()
				switch e := (*Error)(nil); {
				case err == nil:
					said[worker][id] = "well"
				case errors.As(err, &e) && e.Unsent:
					said[worker][id] = "unsent"
				default:
					said[worker][id] = "unknown"
				}
			}
		})
	}
	wg.Wait()
	seen.mu.Lock()
	defer seen.mu.Unlock()
	tally := map[string]int{}
	for _, s := range said {
		for id, word := range s {
			n := seen.count[id]
			tally[word]++
			if n > 1 || n == 0 && word == "well" || n == 1 && word == "unsent" {
				t.Errorf("%s is said to be %s and had %d effects", id, word, n)
			}
		}
	}
	if tally["well"] == 0 || tally["unsent"] == 0 || tally["unknown"] == 0 {
		t.Errorf("the servers and the callers did not break off as they should: %v", tally)
	}
}
