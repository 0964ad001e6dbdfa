package console

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	headerLimit   = 5 * time.Second // for a request's line and headers
	idleLimit     = 2 * time.Minute // of a kept-alive connection
	farewellLimit = 3 * time.Second // for open requests at the end
	maxHeader     = 16 << 10        // bytes
)

// Run serves h on l until ctx ends, then lets open requests end within three seconds. Streams see their request's context
// end at once. It closes l and returns nil after a planned end.
func Run(ctx context.Context, l net.Listener, h http.Handler, logger *slog.Logger) error {
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerLimit,
		IdleTimeout:       idleLimit,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	g, ended := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("admin listener on %s: %w", l.Addr(), err)
		}
		return nil
	})
	g.Go(func() error {
		<-ended.Done()
		farewell, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewellLimit)
		defer cancel()
		if err := server.Shutdown(farewell); err != nil {
			return server.Close()
		}
		return nil
	})
	return g.Wait()
}
