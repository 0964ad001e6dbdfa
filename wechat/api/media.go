package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"path"
	"strings"
	"time"
)

// MaxMediaBytes is the longest file that GetMedia hands over. WeChat's own limits are below it (10 MB, wechat-protocol §5.3).
const MaxMediaBytes = 64 << 20

// MediaKind is a kind of temporary media.
type MediaKind string

// The kinds, with WeChat's limits (wechat-protocol §5.3).
const (
	MediaImage MediaKind = "image" // 10 MB
	MediaVoice MediaKind = "voice" // 2 MB, 60 s; amr, mp3
	MediaVideo MediaKind = "video" // 10 MB; mp4
	MediaThumb MediaKind = "thumb" // 64 KB; jpg
)

// Uploaded is a temporary media file at WeChat. It is kept for three days.
type Uploaded struct {
	MediaID   string
	Kind      MediaKind
	CreatedAt time.Time // on WeChat's clock
}

// UploadMedia sends size bytes of r as a file of the given name, from whose ending WeChat tells the format. Where r is an io.Seeker
// the call can go to another host after a connection that was not made; from others it can as long as nothing was read of it.
func (c *Client) UploadMedia(ctx context.Context, token string, kind MediaKind, name string, r io.Reader, size int64) (Uploaded, error) {
	u, err := newUpload(name, r, size)
	if err != nil {
		return Uploaded{}, &Error{Call: callUpload, Class: BadMessage, Unsent: true, Msg: c.clean(call{token: token}, err.Error())}
	}
	var a uploadAnswer
	err = c.do(ctx, call{
		path: callUpload, token: token, query: url.Values{"type": {string(kind)}}, upload: u, long: true, result: &a,
	})
	if err != nil {
		return Uploaded{}, err
	}
	return Uploaded{MediaID: a.id(), Kind: MediaKind(a.Kind), CreatedAt: time.Unix(a.CreatedAt.value, 0)}, nil
}

type uploadAnswer struct {
	Kind      words  `json:"type"`
	MediaID   words  `json:"media_id"`
	ThumbID   words  `json:"thumb_media_id"` // instead of media_id with thumb
	CreatedAt number `json:"created_at"`
}

func (a *uploadAnswer) id() string {
	if a.MediaID != "" {
		return string(a.MediaID)
	}
	return string(a.ThumbID)
}

func (a *uploadAnswer) complete() error {
	if a.id() == "" {
		return errors.New("no media_id in it")
	}
	return nil
}

// upload is the body of a call that sends a file: a form with the one field "media", of a length that is known before, because
// WeChat refuses chunked bodies.
type upload struct {
	head, tail  []byte
	contentType string
	source      io.Reader
	start       int64 // of source, where it can be sought
	size        int64
	used        bool // something was read of source since it stood at its start
}

func newUpload(name string, r io.Reader, size int64) (*upload, error) {
	if size <= 0 {
		return nil, fmt.Errorf("the file has %d bytes: WeChat takes no empty file, and needs the size before", size)
	}
	u := &upload{source: r, size: size}
	if s, ok := r.(io.Seeker); ok {
		start, err := s.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, fmt.Errorf("the file cannot be sought: %w", err)
		}
		u.start = start
	}
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	contentType := mime.TypeByExtension(path.Ext(name))
	if contentType == "" {
		contentType = "application/octet-stream"
	}
	header := textproto.MIMEHeader{
		"Content-Disposition": {multipart.FileContentDisposition("media", path.Base(name))}, "Content-Type": {contentType},
	}
	if _, err := w.CreatePart(header); err != nil {
		return nil, err
	}
	u.head = bytes.Clone(form.Bytes())
	form.Reset()
	if err := w.Close(); err != nil {
		return nil, err
	}
	u.tail, u.contentType = form.Bytes(), w.FormDataContentType()
	return u, nil
}

// attach makes the upload the body of the request.
func (u *upload) attach(req *http.Request) {
	req.Header.Set("Content-Type", u.contentType)
	req.ContentLength = int64(len(u.head)) + u.size + int64(len(u.tail))
	req.Body = u.open()
	if _, ok := u.source.(io.Seeker); ok {
		req.GetBody = func() (io.ReadCloser, error) {
			if !u.rewind() {
				return nil, errors.New("the file cannot be read from its start again")
			}
			return u.open(), nil
		}
	}
}

func (u *upload) open() io.ReadCloser {
	file := io.LimitReader(readerFunc(func(p []byte) (int, error) {
		u.used = true
		return u.source.Read(p)
	}), u.size)
	return io.NopCloser(io.MultiReader(bytes.NewReader(u.head), file, bytes.NewReader(u.tail)))
}

// rewind makes the source ready to be read from its start. It returns false where that cannot be; nil can.
func (u *upload) rewind() bool {
	if u == nil || !u.used {
		return true
	}
	s, ok := u.source.(io.Seeker)
	if !ok {
		return false
	}
	if _, err := s.Seek(u.start, io.SeekStart); err != nil {
		return false
	}
	u.used = false
	return true
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// Media is a file that a user sent, or that was uploaded.
type Media struct {
	URL         string // of a video, which WeChat does not send itself; then Body is nil
	Name        string // the file's name as WeChat says; may be empty; never with a directory
	ContentType string
	Size        int64         // bytes; -1 where WeChat does not say
	Body        io.ReadCloser // the caller must close it; ends with an error after MaxMediaBytes
}

// GetMedia opens a temporary media file (wechat-protocol §5.3). The bytes are streamed: reading them ends with ctx, and twelve times
// a call's time limit after the beginning at the latest.
func (c *Client) GetMedia(ctx context.Context, token, mediaID string) (*Media, error) {
	within, cancel := c.limit(ctx, call{long: true})
	m := &Media{}
	var a videoAnswer
	err := c.run(within, call{
		path: callGetMedia, token: token, query: url.Values{"media_id": {mediaID}}, long: true, repeatable: true, result: &a,
		take: m.take,
	})
	if err != nil || m.Body == nil {
		cancel()
		if err != nil {
			return nil, err
		}
		return &Media{URL: string(a.URL), Size: -1}, nil
	}
	m.Body = &body{ReadCloser: m.Body, end: cancel}
	return m, nil
}

type videoAnswer struct {
	URL words `json:"video_url"`
}

func (a *videoAnswer) complete() error {
	if a.URL == "" {
		return errors.New("neither a file nor a video_url")
	}
	return nil
}

// take keeps an answer that is a file. Errors and videos come as JSON with the same status, as application/json or text/plain, and
// without a file name.
func (m *Media) take(resp *http.Response) (bool, error) {
	contentType, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	disposition := resp.Header.Get("Content-Disposition")
	if disposition == "" && (contentType == "" || contentType == "application/json" || strings.HasPrefix(contentType, "text/")) {
		return false, nil
	}
	if resp.ContentLength > MaxMediaBytes {
		return false, fmt.Errorf("the file has %d bytes, more than %d", resp.ContentLength, MaxMediaBytes)
	}
	if _, params, err := mime.ParseMediaType(disposition); err == nil && params["filename"] != "" {
		m.Name = path.Base(strings.ReplaceAll(params["filename"], `\`, "/"))
	}
	m.ContentType, m.Size = contentType, resp.ContentLength
	m.Body = &body{ReadCloser: http.MaxBytesReader(nil, resp.Body, MaxMediaBytes), end: func() {}}
	return true, nil
}
