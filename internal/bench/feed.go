package bench

import (
	"encoding/binary"
	"math/rand/v2"
	"net/url"
	"strconv"
	"time"

	"hongyan/wechat/crypt"
)

// How users take turns.
const (
	UsersUniform = "uniform" // everybody of a connection in turn
	UsersZipf    = "zipf"    // few users write most (exponent 1.1)
)

// expectation says which answer belongs to a request.
type expectation struct {
	user uint32 // index for openID
	rule int    // index into rules()
}

// renderer turns a message into the bytes of a whole HTTP request, as WeChat would sign and encrypt it.
type renderer struct {
	account Account
	codec   *crypt.Codec // nil in plain mode
	rules   []Rule
	random  *rand.ChaCha8
}

func newRenderer(account Account, seed [32]byte) (*renderer, error) {
	r := &renderer{account: account, rules: rules(), random: rand.NewChaCha8(seed)}
	if account.Mode == ModeSafe {
		codec, err := crypt.NewCodec(account.Token, account.AESKey, account.AppID)
		if err != nil {
			return nil, err
		}
		r.codec = codec
	}
	return r, nil
}

// render appends the request for one text message to wire. at is both the message's CreateTime and the callback's
// timestamp.
func (r *renderer) render(wire []byte, want expectation, id uint64, at time.Time) []byte {
	user, unix := openID(want.user), strconv.FormatInt(at.Unix(), 10)
	body := "<xml><ToUserName><![CDATA[" + r.account.OriginalID + "]]></ToUserName>\n<FromUserName><![CDATA[" + user +
		"]]></FromUserName>\n<CreateTime>" + unix + "</CreateTime>\n<MsgType><![CDATA[text]]></MsgType>\n<Content><![CDATA[" +
		r.rules[want.rule].Text + "]]></Content>\n<MsgId>" + strconv.FormatUint(id, 10) + "</MsgId>\n</xml>"
	nonce := strconv.FormatUint(uint64(uint32(r.random.Uint64())), 10)
	query := "?signature=" + crypt.Signature(r.account.Token, unix, nonce) + "&timestamp=" + unix + "&nonce=" + nonce +
		"&openid=" + user
	if r.codec != nil {
		var prefix [16]byte
		binary.LittleEndian.PutUint64(prefix[:8], r.random.Uint64())
		binary.LittleEndian.PutUint64(prefix[8:], r.random.Uint64())
		encrypted := r.codec.Encrypt([]byte(body), prefix)
		query += "&encrypt_type=aes&msg_signature=" + r.codec.Sign(unix, nonce, encrypted)
		body = "<xml>\n    <ToUserName><![CDATA[" + r.account.OriginalID + "]]></ToUserName>\n    <Encrypt><![CDATA[" + encrypted +
			"]]></Encrypt>\n</xml>\n"
	}
	wire = append(wire, "POST "...)
	wire = append(wire, r.account.path()...)
	wire = append(wire, query...)
	wire = append(wire, " HTTP/1.1\r\nHost: bench.invalid\r\nUser-Agent: Mozilla/4.0\r\nAccept: */*\r\n"+
		"Content-Type: text/xml\r\nContent-Length: "...)
	wire = strconv.AppendInt(wire, int64(len(body)), 10)
	wire = append(wire, "\r\n\r\n"...)
	return append(wire, body...)
}

// handshake is the URL of WeChat's GET check on a server at address, with an echo text to expect.
func (r *renderer) handshake(address string, at time.Time) (link, echo string) {
	unix := strconv.FormatInt(at.Unix(), 10)
	nonce := strconv.FormatUint(r.random.Uint64(), 10)
	echo = strconv.FormatUint(r.random.Uint64(), 10)
	query := url.Values{
		"signature": {crypt.Signature(r.account.Token, unix, nonce)}, "timestamp": {unix}, "nonce": {nonce}, "echostr": {echo},
	}
	return "http://" + address + r.account.path() + "?" + query.Encode(), echo
}

// feed is what one connection sends: the messages of the users that are this connection's alone, so that every user's
// order is defined. The messages of a round are rendered before its clock starts, into one slab without pointers; should
// the round outrun them, the rest is rendered in passing and counted as late.
type feed struct {
	render *renderer
	first  uint32 // users are first, first+stride, …
	stride uint32
	count  uint32
	zipf   *rand.Zipf
	random *rand.Rand
	turn   uint64 // messages so far: decides whose turn it is
	id     uint64 // MsgId of the next message
	late   int    // rendered while the clock ran, in this round

	slab  []byte
	ready []rendered
	next  int
}

type rendered struct {
	end  int // offset behind the request in slab; it begins where the one before ended
	want expectation
}

// newFeed returns the feed of connection number of connections, over users altogether; firstID begins the run's MsgIds.
// The renderer is this feed's alone.
func newFeed(render *renderer, number, connections, users int, spread string, firstID, seed uint64) *feed {
	f := &feed{
		render: render,
		first:  uint32(number),
		stride: uint32(connections),
		count:  uint32((users - number + connections - 1) / connections),
		random: rand.New(rand.NewPCG(seed, uint64(number))),
		id:     firstID + uint64(number),
	}
	if spread == UsersZipf {
		f.zipf = rand.NewZipf(f.random, 1.1, 1, uint64(f.count-1))
	}
	return f
}

// everybody is how many messages visit each user once. The first that many messages of a feed do.
func (f *feed) everybody() int { return int(f.count) }

// fill renders n messages for a round that begins at start and is expected to send one each gap, so that a message's
// CreateTime is about when it is sent. It stops early at limit bytes.
func (f *feed) fill(n int, start time.Time, gap time.Duration, limit int) {
	f.slab, f.ready, f.next, f.late = f.slab[:0], f.ready[:0], 0, 0
	for i := range n {
		if len(f.slab) >= limit {
			return
		}
		want := f.choose()
		f.slab = f.render.render(f.slab, want, f.takeID(), start.Add(time.Duration(i)*gap))
		f.ready = append(f.ready, rendered{len(f.slab), want})
	}
}

// take returns the next request; it is valid until the next call.
func (f *feed) take(now time.Time) ([]byte, expectation) {
	if f.next < len(f.ready) {
		begin := 0
		if f.next > 0 {
			begin = f.ready[f.next-1].end
		}
		entry := f.ready[f.next]
		f.next++
		return f.slab[begin:entry.end], entry.want
	}
	f.late++
	want := f.choose()
	f.slab = f.render.render(f.slab[:0], want, f.takeID(), now)
	f.ready, f.next = f.ready[:0], 0
	return f.slab, want
}

func (f *feed) choose() expectation {
	pick := uint32(f.turn % uint64(f.count))
	if f.zipf != nil && f.turn >= uint64(f.count) {
		pick = uint32(f.zipf.Uint64())
	}
	f.turn++
	return expectation{user: f.first + pick*f.stride, rule: f.random.IntN(len(f.render.rules))}
}

func (f *feed) takeID() uint64 {
	id := f.id
	f.id += uint64(f.stride)
	return id
}
