package simulator

import (
	"encoding/json"
	"fmt"
	"sync"
)

// hubBacklog is how many events a page may be behind. One that falls further behind is cut off; it reconnects and asks for the
// state anew.
const hubBacklog = 512

// hub fans events out to the open pages. The zero value is ready. Sending never blocks.
type hub struct {
	mu     sync.Mutex
	pages  map[chan []byte]struct{}
	closed bool
}

// join opens a page's stream; the channel is closed when the page fell behind or the hub ends. On a closed hub it is nil.
func (h *hub) join() chan []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil
	}
	if h.pages == nil {
		h.pages = map[chan []byte]struct{}{}
	}
	ch := make(chan []byte, hubBacklog)
	h.pages[ch] = struct{}{}
	return ch
}

func (h *hub) leave(ch chan []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.drop(ch)
}

func (h *hub) drop(ch chan []byte) {
	if _, ok := h.pages[ch]; ok {
		delete(h.pages, ch)
		close(ch)
	}
}

// send offers a server-sent event to every page. Callers hold the lock that guards value.
func (h *hub) send(event string, value any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.pages) == 0 {
		return
	}
	frame := fmt.Appendf(nil, "event: %s\ndata: %s\n\n", event, mustJSON(value))
	for ch := range h.pages {
		select {
		case ch <- frame:
		default:
			h.drop(ch)
		}
	}
}

func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for ch := range h.pages {
		h.drop(ch)
	}
}

// mustJSON encodes one of this package's own types, which always encode.
func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("simulator: %T does not encode: %v", v, err)) // cannot happen: no channel, func, cycle or NaN in these types
	}
	return b
}
