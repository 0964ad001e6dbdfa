package simulator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// reopenEvery is how often ServeAPI tries to get its address back, which another process may hold for a moment.
const reopenEvery = 50 * time.Millisecond

// ServeAPI serves APIHandler at address until ctx ends. Unlike a handler under another server it can also really be away: while a
// fault of kind down lasts, nobody listens there, and connections that were open are cut. opened is called once with the address
// that was taken, which matters for port 0. The error is for an address that cannot be had, or nil at the end of ctx.
func (p *Platform) ServeAPI(ctx context.Context, address string, opened func(net.Addr)) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("serve the simulated API: %w", err)
	}
	address = listener.Addr().String()
	opened(listener.Addr())
	for {
		if listener != nil {
			err = p.serveUntilDown(ctx, listener)
		}
		if err != nil || ctx.Err() != nil || p.ctx.Err() != nil {
			return err
		}
		if !p.awaitFaults(ctx, false) {
			return nil
		}
		if listener, err = net.Listen("tcp", address); err != nil {
			listener, err = nil, nil
			if !p.pause(ctx, reopenEvery) {
				return nil
			}
		}
	}
}

// serveUntilDown serves until nobody should listen any more, or ctx ends. All connections are closed when it returns.
func (p *Platform) serveUntilDown(ctx context.Context, listener net.Listener) error {
	server := &http.Server{Handler: p.APIHandler(), ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	go func() { // ends with ctx, at the latest when this function returns
		defer close(done)
		p.awaitFaults(ctx, true)
		_ = server.Close() // a call under way gets no answer, as from a server that died
	}()
	err := server.Serve(listener)
	cancel()
	<-done
	if !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the simulated API: %w", err)
	}
	return nil
}

// awaitFaults waits until the API should be away, or be there again. False: ctx or the platform ended before.
func (p *Platform) awaitFaults(ctx context.Context, away bool) bool {
	for {
		refuse, changed, holds := p.faults.refusing()
		if refuse == away {
			return true
		}
		if holds <= 0 {
			holds = time.Hour
		}
		timer := time.NewTimer(holds)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
		case <-p.ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil || p.ctx.Err() != nil {
			return false
		}
	}
}
