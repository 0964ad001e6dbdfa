package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// What operators read of a fault, for errors as they really come.
func TestFaultsInWordsForOperators(t *testing.T) {
	t.Parallel()
	const secret = "sk-0123456789"
	serve := func(start func(*httptest.Server), handle http.HandlerFunc) string {
		srv := httptest.NewUnstartedServer(handle)
		srv.Config.ErrorLog = log.New(io.Discard, "", 0)
		start(srv)
		t.Cleanup(srv.Close)
		return srv.URL
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	well(t, err)
	refused := "http://" + listener.Addr().String()
	well(t, listener.Close())
	for want, url := range map[string]string{
		"refused the connection":            refused,
		"its certificate cannot be trusted": serve((*httptest.Server).StartTLS, nil),
		"its name cannot be resolved":       "http://nowhere.invalid",
		"broke off": serve((*httptest.Server).Start, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "half")
		}),
		"did not answer in time": serve((*httptest.Server).Start, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }),
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		if want == "did not answer in time" {
			ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
		}
		err := fetch(ctx, url+"/?key="+secret)
		cancel()
		failed(t, err)
		is(t, want, (&Fault{Err: err}).brief(), err)
	}
}

// fetch reads a whole page.
func fetch(ctx context.Context, url string) error {
	transport := NewTransport(1)
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.ReadAll(resp.Body)
	return err
}

func TestAFaultReadsAsWhatItIsAbout(t *testing.T) {
	t.Parallel()
	is(t, "boom", (&Fault{Err: errBoom, Brief: "answered 500"}).Error())
	is(t, "answered 500", (&Fault{Brief: "answered 500"}).Error())
	is(t, "overloaded", (&Fault{Kind: Overloaded}).Error())
	is(t, "Kind(9)", Kind(9).String())
	is(t, "failed", (&Fault{Err: fmt.Errorf("body: %w", errBoom)}).brief(), "nothing of an error is quoted")
	is(t, "closed the connection", (&Fault{Err: net.ErrClosed}).brief())
	is(t, true, errors.Is(&Fault{Err: errBoom}, errBoom))
}
