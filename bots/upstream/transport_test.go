package upstream

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// get asks for a page and returns the version of HTTP that it came by.
func get(t *testing.T, transport *http.Transport, url string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	well(t, err)
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Error(err)
		return 0
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	well(t, err)
	return resp.ProtoMajor
}

func TestConnectionsAreKeptForAllPlaces(t *testing.T) {
	t.Parallel()
	const places = 20
	var opened atomic.Int32
	var gate sync.WaitGroup // all calls are at the server before one of them ends
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		gate.Done()
		gate.Wait()
	}))
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			opened.Add(1)
		}
	}
	srv.Start()
	defer srv.Close()
	transport := NewTransport(places)
	defer transport.CloseIdleConnections()
	for range 3 {
		gate.Add(places)
		var calls sync.WaitGroup
		for range places {
			calls.Go(func() { is(t, 1, get(t, transport, srv.URL)) })
		}
		calls.Wait()
	}
	is(t, places, opened.Load())
}

func TestHTTP2IsSpokenWhereItCanBe(t *testing.T) {
	t.Parallel()
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	transport := NewTransport(1)
	defer transport.CloseIdleConnections()
	transport.TLSClientConfig = srv.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	transport.TLSClientConfig.NextProtos = nil
	is(t, 2, get(t, transport, srv.URL))
}

func TestModelsMayThink(t *testing.T) {
	t.Parallel()
	transport := NewTransport(512)
	is(t, 0, transport.ResponseHeaderTimeout)
	is(t, 3*time.Second, transport.TLSHandshakeTimeout)
	is(t, 512, transport.MaxIdleConnsPerHost)
	is(t, 0, transport.MaxConnsPerHost, "places bound the calls; a second bound would be waited for")
}
