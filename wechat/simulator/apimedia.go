package simulator

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"
)

// Temporary media: how long they live, and how many bytes of them an account's shelf holds (the newest).
const (
	mediaLife       = 3 * 24 * time.Hour
	mediaShelfBytes = 64 << 20
	maxKnownMedia   = 100_000                 // ids of what users sent, per account
	videoPath       = "/cgi-bin/media/video/" // where video_url leads
)

// mediaKind is what may be uploaded as one type.
type mediaKind struct {
	limit int64
	files []string // extensions
}

var mediaKinds = map[string]mediaKind{
	"image": {10 << 20, []string{".png", ".jpg", ".jpeg", ".gif", ".bmp"}},
	"voice": {2 << 20, []string{".amr", ".mp3"}},
	"video": {10 << 20, []string{".mp4"}},
	"thumb": {64 << 10, []string{".jpg", ".jpeg"}},
}

// storedMedia is one temporary medium. Of what users sent only the id is known, where the phone did not keep the bytes.
type storedMedia struct {
	kind, name, contentType string
	data                    []byte
	until                   time.Time
}

// mediaStore holds an account's temporary media.
type mediaStore struct {
	items map[string]*storedMedia
	order []string // uploads, oldest first
	bytes int
	known []string // ids without bytes, oldest first
}

func newMediaStore() mediaStore { return mediaStore{items: map[string]*storedMedia{}} }

// know notes an id without bytes.
func (s *mediaStore) know(id string, until time.Time) {
	if s.items[id] != nil {
		return
	}
	s.items[id] = &storedMedia{until: until}
	if s.known = append(s.known, id); len(s.known) > maxKnownMedia {
		delete(s.items, s.known[0])
		s.known = s.known[1:]
	}
}

func (s *mediaStore) knows(id string, now time.Time) bool {
	m := s.items[id]
	return m != nil && now.Before(m.until)
}

// keep stores an upload; the oldest ones go where the shelf is full.
func (s *mediaStore) keep(id string, m *storedMedia) {
	s.items[id] = m
	s.order = append(s.order, id)
	s.bytes += len(m.data)
	for s.bytes > mediaShelfBytes && len(s.order) > 1 {
		s.bytes -= len(s.items[s.order[0]].data)
		delete(s.items, s.order[0])
		s.order = s.order[1:]
	}
}

// upload is POST /cgi-bin/media/upload?type=: a form with the field media.
func (c *call) upload() (any, error) {
	kind := c.r.URL.Query().Get("type")
	rules, ok := mediaKinds[kind]
	if !ok {
		return nil, fail(CodeMediaType)
	}
	name, contentType, data, err := c.formFile()
	if err != nil {
		return nil, err
	}
	switch {
	case len(data) == 0:
		return nil, fail(CodeNoMedia)
	case int64(len(data)) > rules.limit:
		return nil, fail(CodeMediaSize)
	case !slices.Contains(rules.files, strings.ToLower(path.Ext(name))):
		return nil, fail(CodeFileType)
	}
	id := "media_" + c.p.newMsgID()
	if contentType == "" || contentType == "application/octet-stream" {
		contentType = http.DetectContentType(data)
	}
	c.ledger.media.keep(id, &storedMedia{kind: kind, name: name, contentType: contentType, data: data, until: c.now.Add(mediaLife)})
	c.note.Effect, c.note.Type, c.note.Detail = true, kind, id
	out := map[string]any{"type": kind, "media_id": id, "created_at": c.now.Unix()}
	if kind == "thumb" {
		out["thumb_media_id"] = id // this is how WeChat's older pages name it
	}
	return out, nil
}

// formFile is the field media of a multipart form.
func (c *call) formFile() (name, contentType string, data []byte, err error) {
	kind, parameters, err := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/form-data" {
		return "", "", nil, fail(CodeNoMedia)
	}
	form := multipart.NewReader(bytes.NewReader(c.body), parameters["boundary"])
	for {
		part, err := form.NextPart()
		if errors.Is(err, io.EOF) {
			return "", "", nil, fail(CodeNoMedia)
		}
		if err != nil {
			return "", "", nil, failText(CodeNoMedia, err.Error())
		}
		if part.FormName() != "media" {
			continue
		}
		if data, err = io.ReadAll(part); err != nil {
			return "", "", nil, failText(CodeNoMedia, err.Error())
		}
		return part.FileName(), part.Header.Get("Content-Type"), data, nil
	}
}

// download is GET /cgi-bin/media/get?media_id=: the bytes, of a video an address.
func (c *call) download() (any, error) {
	id := c.r.URL.Query().Get("media_id")
	if pic, ok := c.p.picture(id); ok {
		return &rawReply{contentType: pic.contentType, name: id + extension(pic.contentType), body: pic.data}, nil
	}
	m := c.ledger.media.items[id]
	if m == nil || !c.now.Before(m.until) || m.data == nil {
		return nil, fail(CodeBadMedia)
	}
	if m.kind == "video" {
		scheme := "http://"
		if c.r.TLS != nil {
			scheme = "https://"
		}
		return map[string]any{"video_url": scheme + c.r.Host + videoPath + id}, nil
	}
	return &rawReply{contentType: m.contentType, name: id + strings.ToLower(path.Ext(m.name)), body: m.data}, nil
}

func extension(contentType string) string {
	return "." + strings.TrimPrefix(contentType, "image/")
}

// serveVideo is where a video_url leads. It needs no token, as WeChat's.
func (p *Platform) serveVideo(w http.ResponseWriter, id string) {
	p.api.mu.Lock()
	var found *storedMedia
	for _, l := range p.api.ledgers {
		if m := l.media.items[id]; m != nil && m.kind == "video" {
			found = m
		}
	}
	p.api.mu.Unlock()
	if found == nil {
		http.Error(w, "there is no such video", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", found.contentType)
	_, _ = w.Write(found.data) // never changed once it is kept
}
