package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"hongyan/config"
	"hongyan/console"
	"hongyan/wechat/simulator"
)

// devSendPath takes a message on the platform of a running dev: only there the user is known to have written it, so that the account
// may push its answer.
const devSendPath = "/dev/send"

// devMessage is the body of POST /dev/send.
type devMessage struct {
	Account string            `json:"account"`
	OpenID  string            `json:"openid"`
	Message simulator.Message `json:"message"`
}

// devResult is what became of it: what the callback brought, and what came by customer-service messages until nothing more was to come.
type devResult struct {
	simulator.Result
	Pushed []*simulator.Answer `json:"pushed,omitempty"`
}

// Codes of the failures of POST /dev/send.
const (
	codeBadSend = "bad_request"
	codeSend    = "not_sent"
)

// pendingEvery is how often the engine is asked whether the user has something to come.
const pendingEvery = 100 * time.Millisecond

// devSendAPI serves POST /dev/send.
func devSendAPI(cfg *config.Config, platform *simulator.Platform) http.Handler {
	return onlyWith(cfg.Admin.Token.Reveal(), func(w http.ResponseWriter, r *http.Request) {
		var in devMessage
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&in); err != nil {
			refuse(w, http.StatusBadRequest, codeBadSend, "the body is not what hongyan send writes: "+err.Error())
			return
		}
		_ = http.NewResponseController(w).SetWriteDeadline(time.Time{}) // a model may take its time
		out, err := devSend(r.Context(), cfg, platform, in)
		if err != nil {
			refuse(w, http.StatusInternalServerError, codeSend, err.Error())
			return
		}
		answer(w, http.StatusOK, out)
	})
}

func devSend(ctx context.Context, cfg *config.Config, platform *simulator.Platform, in devMessage) (out devResult, err error) {
	seen := uint64(0)
	if records := platform.Witness(); len(records) > 0 {
		seen = records[len(records)-1].Seq
	}
	if out.Result, err = platform.Push(ctx, in.Account, in.OpenID, in.Message); err != nil {
		return out, err
	}
	for out.Silent { // which may mean that the answer follows
		pending, err := userPending(ctx, cfg, in.Account, in.OpenID)
		if err != nil || !pending {
			break
		}
		select {
		case <-ctx.Done():
			return out, nil
		case <-time.After(pendingEvery):
		}
	}
	for _, r := range platform.Witness() {
		if r.Seq > seen && r.Kind == simulator.RecordCustom && r.Account == in.Account && r.OpenID == in.OpenID {
			out.Pushed = append(out.Pushed, r.Answer)
		}
	}
	if len(out.Pushed) > 0 {
		out.Answered, out.Silent = true, false
	}
	return out, nil
}

// userPending tells whether the engine still works on something of the user.
func userPending(ctx context.Context, cfg *config.Config, account, openID string) (bool, error) {
	reply, err := askNode(ctx, cfg, http.MethodGet, "/api/v1/users/"+url.PathEscape(account)+"/"+url.PathEscape(openID))
	if err != nil {
		return false, err
	}
	var u console.User
	if reply.status != http.StatusOK {
		return false, fmt.Errorf("the node answered with status %d", reply.status)
	}
	if err := json.Unmarshal(reply.body, &u); err != nil {
		return false, err
	}
	return u.Queued > 0 || u.Running != "" || len(u.Pushes) > 0, nil
}

// errNoDev: no dev runs behind the configuration's admin address.
var errNoDev = errors.New("there is no dev at this address")

// sendByDev lets a running dev send the message. errNoDev: it is another node, or none.
func sendByDev(ctx context.Context, cfg *config.Config, m devMessage) (out devResult, err error) {
	base, err := adminBase(cfg.Listen.Admin)
	if err != nil {
		return out, errNoDev
	}
	body, err := json.Marshal(m)
	if err != nil {
		return out, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, base+devSendPath, bytes.NewReader(body))
	if err != nil {
		return out, err
	}
	request.Header.Set("Authorization", "Bearer "+cfg.Admin.Token.Reveal())
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // straight to the node, past any proxy
	response, err := client.Do(request)
	switch {
	case ctx.Err() != nil:
		return out, context.Cause(ctx)
	case err != nil:
		return out, errNoDev
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return out, errNoDev
	}
	return out, json.NewDecoder(response.Body).Decode(&out)
}
