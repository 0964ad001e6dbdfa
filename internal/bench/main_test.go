package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
)

// TestMain turns this test binary into the bare handler when it is started as `… bench bare --listen ADDRESS`, so that
// tests run real processes.
func TestMain(m *testing.M) {
	if len(os.Args) == 5 && os.Args[1] == "bench" && os.Args[2] == "bare" {
		if err := ServeBare(context.Background(), os.Args[4], os.Stdin); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) == 5 && os.Args[1] == "bench" && os.Args[2] == "mortal" {
		serveMortal(os.Args[4])
	}
	goleak.VerifyTestMain(m)
}

// serveMortal is a bare handler that dies in the middle of its work.
func serveMortal(address string) {
	var spec BareSpec
	if err := json.NewDecoder(os.Stdin).Decode(&spec); err != nil {
		panic(err)
	}
	handler, err := NewBare(spec)
	if err != nil {
		panic(err)
	}
	var served atomic.Int64
	panic(http.ListenAndServe(address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if served.Add(1) == 500 {
			fmt.Fprintln(os.Stderr, "mortal: enough")
			os.Exit(3)
		}
		handler.ServeHTTP(w, r)
	})))
}
