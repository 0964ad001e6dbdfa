package bench

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// Bounds of one response. An answer is well under 8 KB; what is larger is not an answer.
const (
	maxHeader  = 16 << 10
	maxAnswer  = 1 << 20
	maxHeaders = 100
)

var errResponse = errors.New("malformed HTTP response")

// conn is one keep-alive connection of the load generator. It writes requests that are complete bytes already and parses
// just enough of HTTP/1.1 (RFC 9112): status, Content-Length, chunked, Connection: close. It exists so that the measured
// servers, not the client, use the processor.
type conn struct {
	address string
	stream  net.Conn // nil while not connected
	reader  *bufio.Reader
	body    []byte // reused from answer to answer
}

func newConn(address string) *conn {
	return &conn{address: address, reader: bufio.NewReaderSize(nil, maxHeader)}
}

// dial connects if the connection is not up.
func (c *conn) dial(timeout time.Duration) error {
	if c.stream != nil {
		return nil
	}
	stream, err := net.DialTimeout("tcp", c.address, timeout)
	if err != nil {
		return err
	}
	c.stream = stream
	c.reader.Reset(stream)
	return nil
}

// exchange sends one request and reads its response until deadline. The body is valid until the next exchange. After an
// error, or when the server closes, the next exchange connects anew.
func (c *conn) exchange(request []byte, deadline time.Time) (status int, body []byte, err error) {
	if err := c.dial(time.Until(deadline)); err != nil {
		return 0, nil, err
	}
	if err := c.stream.SetDeadline(deadline); err != nil {
		c.close()
		return 0, nil, err
	}
	if _, err := c.stream.Write(request); err != nil {
		c.close()
		return 0, nil, err
	}
	status, body, reusable, err := readResponse(c.reader, c.body[:0])
	c.body = body
	if err != nil || !reusable {
		c.close()
	}
	return status, body, err
}

func (c *conn) close() {
	if c.stream != nil {
		_ = c.stream.Close()
		c.stream = nil
	}
}

// readResponse reads one response to a POST and appends its body to buffer. reusable says that the connection may carry
// the next request. Interim responses (1xx) are skipped.
func readResponse(r *bufio.Reader, buffer []byte) (status int, body []byte, reusable bool, err error) {
	for {
		head, err := readHead(r)
		if err != nil {
			return 0, buffer, false, err
		}
		if head.status/100 == 1 {
			continue
		}
		reusable = !head.close
		switch {
		case head.status == 204 || head.status == 304:
			body = buffer
		case head.chunked:
			body, err = readChunks(r, buffer)
		case head.length >= 0:
			body, err = readFull(r, buffer, head.length)
		default:
			reusable = false
			body, err = readRest(r, buffer)
		}
		return head.status, body, reusable && err == nil, err
	}
}

type responseHead struct {
	status  int
	length  int // -1 when not said
	chunked bool
	close   bool
}

func readHead(r *bufio.Reader) (responseHead, error) {
	head := responseHead{length: -1}
	line, err := readLine(r)
	if err != nil {
		return head, err
	}
	version, rest, _ := bytes.Cut(line, []byte(" "))
	code, _, _ := bytes.Cut(rest, []byte(" "))
	switch string(version) {
	case "HTTP/1.1":
	case "HTTP/1.0":
		head.close = true
	default:
		return head, fmt.Errorf("%w: status line", errResponse)
	}
	status, ok := parseDecimal(code)
	if !ok || len(code) != 3 || status < 100 {
		return head, fmt.Errorf("%w: status code", errResponse)
	}
	head.status = status
	for range maxHeaders {
		line, err := readLine(r)
		if err != nil {
			return head, err
		}
		if len(line) == 0 {
			return head, nil
		}
		if err := head.field(line); err != nil {
			return head, err
		}
	}
	return head, fmt.Errorf("%w: more than %d header lines", errResponse, maxHeaders)
}

func (h *responseHead) field(line []byte) error {
	name, value, ok := bytes.Cut(line, []byte(":"))
	if !ok || len(name) == 0 || bytes.ContainsAny(name, " \t") {
		return fmt.Errorf("%w: header line", errResponse)
	}
	value = bytes.Trim(value, " \t")
	switch {
	case bytes.EqualFold(name, []byte("Content-Length")):
		n, ok := parseDecimal(value)
		if !ok || n > maxAnswer || h.length >= 0 && h.length != n {
			return fmt.Errorf("%w: Content-Length", errResponse)
		}
		h.length = n
	case bytes.EqualFold(name, []byte("Transfer-Encoding")):
		if !bytes.EqualFold(value, []byte("chunked")) || h.chunked {
			return fmt.Errorf("%w: Transfer-Encoding", errResponse)
		}
		h.chunked = true
	case bytes.EqualFold(name, []byte("Connection")):
		h.close = h.close || bytes.EqualFold(value, []byte("close"))
	}
	return nil
}

func readLine(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		if errors.Is(err, io.EOF) && len(line) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return bytes.TrimSuffix(line[:len(line)-1], []byte("\r")), nil
}

func readChunks(r *bufio.Reader, body []byte) ([]byte, error) {
	for {
		line, err := readLine(r)
		if err != nil {
			return body, unexpected(err)
		}
		size, _, _ := bytes.Cut(line, []byte(";"))
		n, err := strconv.ParseUint(string(bytes.TrimRight(size, " \t")), 16, 31)
		if err != nil || len(body)+int(n) > maxAnswer {
			return body, fmt.Errorf("%w: chunk size", errResponse)
		}
		if n == 0 {
			break
		}
		if body, err = readFull(r, body, int(n)); err != nil {
			return body, err
		}
		if line, err = readLine(r); err != nil || len(line) != 0 {
			return body, fmt.Errorf("%w: end of chunk", errResponse)
		}
	}
	for range maxHeaders { // trailers
		line, err := readLine(r)
		if err != nil {
			return body, unexpected(err)
		}
		if len(line) == 0 {
			return body, nil
		}
	}
	return body, fmt.Errorf("%w: more than %d trailers", errResponse, maxHeaders)
}

func readFull(r *bufio.Reader, body []byte, n int) ([]byte, error) {
	start := len(body)
	if cap(body)-start < n {
		grown := make([]byte, start, max(2*cap(body), start+n))
		copy(grown, body)
		body = grown
	}
	body = body[:start+n]
	got, err := io.ReadFull(r, body[start:])
	return body[:start+got], unexpected(err)
}

func readRest(r *bufio.Reader, body []byte) ([]byte, error) {
	rest, err := io.ReadAll(io.LimitReader(r, maxAnswer+1))
	body = append(body, rest...)
	if err == nil && len(body) > maxAnswer {
		err = fmt.Errorf("%w: body over %d bytes", errResponse, maxAnswer)
	}
	return body, err
}

// unexpected turns an end inside a message into what it is.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// parseDecimal reads digits only: no sign, no blank, at most nine of them.
func parseDecimal(text []byte) (int, bool) {
	if len(text) == 0 || len(text) > 9 {
		return 0, false
	}
	n := 0
	for _, b := range text {
		if b < '0' || b > '9' {
			return 0, false
		}
		n = n*10 + int(b-'0')
	}
	return n, true
}
