package bench

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"hongyan/wechat/crypt"
)

// Bare is the yardstick: a handler as one would write it with net/http and encoding/xml and nothing else. It does what
// every callback needs (signature, time window, decryption, decoding, encryption of the answer) and keeps nothing: no log,
// no state, no order, no duplicates.
type Bare struct {
	account Account
	codec   *crypt.Codec // nil in plain mode
	answers map[string]string
	skew    time.Duration
	now     func() time.Time
}

// BareSpec is what the bare handler serves; it reads it as JSON from its standard input.
type BareSpec struct {
	Account      Account       `json:"account"`
	Rules        []Rule        `json:"rules"`
	MaxClockSkew time.Duration `json:"max_clock_skew_ns"`
}

const maxCallback = 1 << 20 // bytes of a callback's body, as protocol §1.5 advises

// NewBare returns the handler for the spec; it fails when the key is not an EncodingAESKey.
func NewBare(spec BareSpec) (*Bare, error) {
	b := &Bare{
		account: spec.Account,
		answers: make(map[string]string, len(spec.Rules)),
		skew:    spec.MaxClockSkew,
		now:     time.Now,
	}
	for _, r := range spec.Rules {
		b.answers[r.Text] = r.Reply
	}
	if spec.Account.Mode == ModeSafe {
		codec, err := crypt.NewCodec(spec.Account.Token, spec.Account.AESKey, spec.Account.AppID)
		if err != nil {
			return nil, fmt.Errorf("bench: bare handler: %w", err)
		}
		b.codec = codec
	}
	return b, nil
}

// ServeBare serves the spec that it reads from control on address until ctx ends or control does: whoever started the
// process keeps its standard input open, so a bare handler never outlives its parent. While nothing comes on control, a
// goroutine waits on it; it ends with the process.
func ServeBare(ctx context.Context, address string, control io.Reader) error {
	decoder := json.NewDecoder(control)
	var spec BareSpec
	if err := decoder.Decode(&spec); err != nil {
		return fmt.Errorf("bench: bare handler: reading what to serve from standard input: %w", err)
	}
	handler, err := NewBare(spec)
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("bench: bare handler: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, control)
		cancel()
	}()
	mux := http.NewServeMux()
	mux.Handle(spec.Account.path(), handler)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("bench: bare handler: %w", err)
	}
	return nil
}

type inboundXML struct {
	ToUserName   string
	FromUserName string
	CreateTime   int64
	MsgType      string
	Content      string
	MsgId        string
	Encrypt      string
}

type cdata struct {
	Text string `xml:",cdata"`
}

type replyXML struct {
	XMLName      xml.Name `xml:"xml"`
	ToUserName   cdata
	FromUserName cdata
	CreateTime   int64
	MsgType      cdata
	Content      cdata
}

type envelopeXML struct {
	XMLName      xml.Name `xml:"xml"`
	Encrypt      cdata
	MsgSignature cdata
	TimeStamp    int64
	Nonce        cdata
}

// ServeHTTP answers the handshake and text messages. What is not genuine gets 403, a text without a rule `success`.
func (b *Bare) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	timestamp, nonce := query.Get("timestamp"), query.Get("nonce")
	now := b.now()
	if !b.fresh(timestamp, now) {
		refuse(w)
		return
	}
	if r.Method == http.MethodGet {
		if !crypt.Equal(query.Get("signature"), crypt.Signature(b.account.Token, timestamp, nonce)) {
			refuse(w)
			return
		}
		_, _ = io.WriteString(w, query.Get("echostr")) //nolint:gosec // the signature was checked, and no browser is there
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxCallback))
	if err != nil {
		refuse(w)
		return
	}
	message, ok := b.open(body, query.Get("signature"), query.Get("msg_signature"), timestamp, nonce)
	if !ok {
		refuse(w)
		return
	}
	answer, found := b.answers[message.Content]
	if message.MsgType != "text" || !found {
		_, _ = io.WriteString(w, "success")
		return
	}
	reply, err := b.seal(message, answer, nonce, now)
	if err != nil {
		http.Error(w, "", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/xml; charset=utf-8")
	_, _ = w.Write(reply)
}

// open verifies and decodes a callback: signature over the ciphertext in safe mode, over the query in plain mode.
func (b *Bare) open(body []byte, signature, msgSignature, timestamp, nonce string) (inboundXML, bool) {
	var message inboundXML
	if b.codec == nil {
		genuine := crypt.Equal(signature, crypt.Signature(b.account.Token, timestamp, nonce))
		return message, genuine && xml.Unmarshal(body, &message) == nil
	}
	var envelope inboundXML
	if xml.Unmarshal(body, &envelope) != nil {
		return message, false
	}
	if !b.codec.VerifyMessage(msgSignature, timestamp, nonce, envelope.Encrypt) {
		return message, false
	}
	plain, err := b.codec.Decrypt(envelope.Encrypt)
	return message, err == nil && xml.Unmarshal(plain, &message) == nil
}

// seal renders the answer, encrypted and signed in safe mode.
func (b *Bare) seal(message inboundXML, answer, nonce string, now time.Time) ([]byte, error) {
	plain, err := xml.Marshal(replyXML{
		ToUserName:   cdata{message.FromUserName},
		FromUserName: cdata{message.ToUserName},
		CreateTime:   now.Unix(),
		MsgType:      cdata{"text"},
		Content:      cdata{answer},
	})
	if err != nil || b.codec == nil {
		return plain, err
	}
	var prefix [16]byte
	rand.Read(prefix[:])
	encrypted := b.codec.Encrypt(plain, prefix)
	return xml.Marshal(envelopeXML{
		Encrypt:      cdata{encrypted},
		MsgSignature: cdata{b.codec.Sign(strconv.FormatInt(now.Unix(), 10), nonce, encrypted)},
		TimeStamp:    now.Unix(),
		Nonce:        cdata{nonce},
	})
}

func (b *Bare) fresh(timestamp string, now time.Time) bool {
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil {
		return false
	}
	return b.skew == 0 || now.Sub(time.Unix(seconds, 0)).Abs() <= b.skew
}

func refuse(w http.ResponseWriter) { http.Error(w, "forbidden", http.StatusForbidden) }
