package simulator

import (
	"context"
	"fmt"
	"net/http"
	"strconv"

	"hongyan/wechat/crypt"
)

// Handshake makes the GET check of a callback URL: signature, timestamp, nonce and echostr in the query, and the reply must be
// status 200 with the echostr's bytes and nothing else, in every mode. It is tried once.
func (p *Platform) Handshake(ctx context.Context, account string) error {
	a, err := p.account(account)
	if err != nil {
		return err
	}
	if !p.begin() {
		return ErrClosed
	}
	defer p.run.Done()
	ctx, cancel := context.WithTimeout(ctx, p.cutoff)
	defer cancel()
	defer context.AfterFunc(p.ctx, cancel)()

	timestamp, nonce, echo := strconv.FormatInt(p.now().Unix(), 10), newNonce(), p.newMsgID()
	target, err := withQuery(a.CallbackURL, "signature="+crypt.Signature(a.Token, timestamp, nonce)+
		"&echostr="+echo+"&timestamp="+timestamp+"&nonce="+nonce)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return fmt.Errorf("handshake request: %w", err)
	}
	req.Header.Set("Accept", "*/*")
	req.Header.Set("User-Agent", "Mozilla/4.0")

	started := p.now()
	status, body, err := p.exchange(req)
	switch {
	case err != nil:
		err = fmt.Errorf("handshake of account %q: the callback cannot be reached: %w", account, err)
	case status != http.StatusOK:
		err = fmt.Errorf("handshake of account %q: status %d instead of 200; compare the token on both sides", account, status)
	case string(body) != echo:
		err = fmt.Errorf("handshake of account %q: the reply has %d bytes and is not the echostr (%d bytes)", account, len(body), len(echo))
	}
	ended := p.now()
	note := Record{At: ended, Kind: RecordHandshake, Account: account, Status: status, ElapsedMS: milliseconds(ended.Sub(started)), Outcome: OutcomeAnswered}
	if err != nil {
		note.Outcome, note.Detail = OutcomeMalformed, err.Error()
	}
	p.witness.add(note)
	return err
}
