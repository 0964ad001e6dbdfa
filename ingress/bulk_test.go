package ingress

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hongyan/messages"
)

// A crowd of events without a user goes into the log a few at a time: people's messages pass it by. Nothing of it is refused, and none
// waits for long.
func TestCrowdOfEvents(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, ModeSafe, nil)
		var under atomic.Int64
		release := make(chan struct{})
		b.log.hook = func(_ context.Context, e *messages.Entry) error {
			if e.GetInbound().GetKind() == messages.Kind_KIND_TEMPLATE_JOB_FINISH {
				under.Add(1)
				<-release
			}
			return nil
		}
		event := func(name, more string) call {
			now := time.Now()
			return pushCall(t, ModeSafe, testToken, testAESKey, `<xml><ToUserName>gh</ToUserName><FromUserName>`+openID+`</FromUserName><CreateTime>`+
				fmt.Sprint(now.Unix())+`</CreateTime><MsgType>event</MsgType><Event>`+name+`</Event>`+more+`</xml>`, now)
		}
		most := int64(bulkPerCore * runtime.GOMAXPROCS(0))
		crowd := int(most) + 20
		var group sync.WaitGroup
		for i := range crowd {
			c := event("TEMPLATESENDJOBFINISH", fmt.Sprintf("<MsgID>%d</MsgID><Status>success</Status>", i))
			group.Go(func() { // ended by release
				if w := b.do(c); w.Code != http.StatusOK || w.Body.String() != "success" {
					t.Errorf("one of the crowd got %d %q", w.Code, w.Body)
				}
			})
		}
		synctest.Wait()
		if n := under.Load(); n != most {
			t.Errorf("%d events on their way into the log at once, want %d", n, most)
		}
		began := time.Now()
		if w := b.do(event("unsubscribe", "")); w.Code != http.StatusOK || time.Since(began) > 0 {
			t.Errorf("a person's event got %d after %v", w.Code, time.Since(began))
		}
		time.Sleep(bulkWait + time.Millisecond)
		if n := under.Load(); n != int64(crowd) {
			t.Errorf("%d events on their way after %v, want all %d", n, bulkWait, crowd)
		}
		close(release)
		group.Wait()
	})
}
