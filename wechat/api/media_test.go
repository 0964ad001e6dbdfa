package api

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// form is the one file of an upload.
func form(t *testing.T, r seen) (field, name, contentType, content string) {
	t.Helper()
	_, params, err := mime.ParseMediaType(r.contentType)
	must(t, err)
	parts := multipart.NewReader(bytes.NewReader(r.body), params["boundary"])
	part, err := parts.NextPart()
	must(t, err)
	data, err := io.ReadAll(part)
	must(t, err)
	if _, err := parts.NextPart(); !errors.Is(err, io.EOF) {
		t.Errorf("more than one part: %v", err)
	}
	return part.FormName(), part.FileName(), part.Header.Get("Content-Type"), string(data)
}

func TestUploadMedia(t *testing.T) {
	t.Parallel()
	answer, err := os.ReadFile("testdata/skit/CgibinMediaUploadResponse.json")
	must(t, err)
	p := serve(t, says(string(answer)))
	c := newTestClient(t, p.URL)
	file := strings.NewReader("before GIF89a… behind")
	file.Seek(7, io.SeekStart)
	got, err := c.UploadMedia(t.Context(), testToken, MediaImage, `some where/图"片.png`, file, 9)
	must(t, err)
	if want := (Uploaded{MediaID: "MEDIA_ID", Kind: "TYPE", CreatedAt: time.Unix(123456789, 0)}); got != want {
		t.Errorf("got %+v", got)
	}
	r := p.requests()[0]
	field, name, contentType, content := form(t, r)
	if field != "media" || name != `图"片.png` || contentType != "image/png" || content != "GIF89a…" {
		t.Errorf("got %q %q %q %q", field, name, contentType, content)
	}
	if r.query["type"][0] != "image" || r.query["access_token"][0] != testToken || r.length != strconv.Itoa(len(r.body)) {
		t.Errorf("got %+v", r)
	}
}

func TestUploadThumb(t *testing.T) {
	t.Parallel()
	p := serve(t, says(`{"type":"thumb","thumb_media_id":"T","created_at":"1"}`))
	got, err := newTestClient(t, p.URL).UploadMedia(t.Context(), testToken, MediaThumb, "t.unheard-of", strings.NewReader("x"), 1)
	if err != nil || got.MediaID != "T" {
		t.Errorf("got %+v, %v", got, err)
	}
}

// TestUploadFallback: the next host gets the whole file, from wherever it begins.
func TestUploadFallback(t *testing.T) {
	t.Parallel()
	p := serve(t, says(`{"media_id":"M"}`))
	c := newTestClient(t, unused(t), func(o *Options) { o.Hosts = []string{p.URL} })
	for name, source := range map[string]io.Reader{"seeks": strings.NewReader("file"), "does not": iotest.OneByteReader(strings.NewReader("file"))} {
		_, err := c.UploadMedia(t.Context(), testToken, MediaVoice, "v.mp3", source, 4)
		must(t, err)
		r := p.requests()
		if _, _, _, content := form(t, r[len(r)-1]); content != "file" {
			t.Errorf("%s: got %q", name, content)
		}
	}
	u, err := newUpload("v.mp3", iotest.OneByteReader(strings.NewReader("file")), 4)
	must(t, err)
	if !u.rewind() {
		t.Error("nothing was read: it stands at its start")
	}
	io.CopyN(io.Discard, u.open(), int64(len(u.head))+1)
	if u.rewind() {
		t.Error("what was read cannot be had again")
	}
	file := strings.NewReader("behind: file")
	file.Seek(8, io.SeekStart)
	u, err = newUpload("v.mp3", file, 4)
	must(t, err)
	first, err := io.ReadAll(u.open())
	must(t, err)
	if second, err := io.ReadAll(u.open()); err != nil || bytes.Equal(first, second) || !u.rewind() {
		t.Errorf("a file that was read is not there again by itself: %v", err)
	}
	if again, err := io.ReadAll(u.open()); err != nil || !bytes.Equal(first, again) {
		t.Errorf("got %q again, %v", again, err)
	}
}

// TestUploadOverKeptConnection: a file whose kept connection turns out to be closed arrives in whole all the same: net/http itself
// sends what can be sought again, and the rest goes to the next host, as nothing of it was read.
func TestUploadOverKeptConnection(t *testing.T) {
	t.Parallel()
	content := strings.Repeat("file ", 10_000)
	for _, seeks := range []bool{true, false} {
		p := serve(t, says(`{"errcode":0,"media_id":"M"}`))
		other := serve(t, says(`{"errcode":0,"media_id":"M"}`))
		c := newTestClient(t, p.URL, func(o *Options) { o.Hosts = []string{other.URL} })
		flakily(c, 2, 0, 0)
		must(t, sendText(t.Context(), c, "one"))
		var file io.Reader = strings.NewReader(content)
		if !seeks {
			file = io.MultiReader(file)
		}
		_, err := c.UploadMedia(t.Context(), testToken, MediaVoice, "v.mp3", file, int64(len(content)))
		must(t, err)
		uploads := slices.Concat(p.requests()[1:], other.requests())
		if len(uploads) != 1 {
			t.Fatalf("%d uploads", len(uploads))
		}
		if _, _, _, got := form(t, uploads[0]); got != content {
			t.Errorf("%d bytes arrived of %d", len(got), len(content))
		}
	}
}

func TestUploadErrors(t *testing.T) {
	t.Parallel()
	p := serve(t, says(`{"errcode":40009,"errmsg":"invalid image size"}`))
	c := newTestClient(t, p.URL)
	for name, u := range map[string]struct {
		source io.Reader
		size   int64
		class  Class
	}{
		"empty":            {strings.NewReader(""), 0, BadMessage},
		"refused":          {strings.NewReader("x"), 1, BadMessage},
		"shorter":          {strings.NewReader("x"), 2, Unknown},
		"fails":            {iotest.ErrReader(errors.New("the disk is gone")), 2, Unknown},
		"cannot be sought": {brokenSeeker{}, 2, BadMessage},
	} {
		_, err := c.UploadMedia(t.Context(), testToken, MediaImage, "x.jpg", u.source, u.size)
		if e := asError(t, err); e.Class != u.class && (u.class != Unknown || e.Class != Unsent) {
			t.Errorf("%s: got %v", name, e)
		}
	}
}

type brokenSeeker struct{ io.Reader }

func (brokenSeeker) Seek(int64, int) (int64, error) { return 0, errors.New("it is a pipe") }

func TestGetMedia(t *testing.T) {
	t.Parallel()
	picture := strings.Repeat("\xFF\xD8 picture", 100_000)
	p := serve(t, func(w http.ResponseWriter, r *http.Request) {
		id := r.URL.Query().Get("media_id")
		switch id {
		case "picture":
			w.Header().Set("Content-Type", "image/jpeg")
			w.Header().Set("Content-Disposition", `attachment; filename="../../etc\pic.jpg"`)
			w.Header().Set("Content-Length", strconv.Itoa(len(picture)))
			io.WriteString(w, picture)
		case "text":
			w.Header().Set("Content-Type", "text/plain")
			w.Header().Set("Content-disposition", `attachment; filename="a.txt"`)
			io.WriteString(w, `{"errcode":40007}`)
		case "nameless":
			w.Header().Set("Content-Type", "audio/amr")
			io.WriteString(w, "#!AMR")
		case "video":
			says(`{"video_url":"http://v/1?a=b&c=d"}`)(w, r)
		case "cut":
			w.Header().Set("Content-Type", "image/jpeg")
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "only this")
		case "huge":
			w.Header().Set("Content-Type", "video/mp4")
			w.Header().Set("Content-Length", strconv.Itoa(MaxMediaBytes+1))
			io.WriteString(w, "and so on")
		case "page":
			w.Header().Set("Content-Type", "image/png")
			w.WriteHeader(http.StatusForbidden)
		case "neither":
			says(`{}`)(w, r)
		default:
			says(`{"errcode":40007,"errmsg":"invalid media_id rid: 1-2"}`)(w, r)
		}
	})
	c := newTestClient(t, p.URL)
	for id, want := range map[string]Media{
		"picture":  {Name: "pic.jpg", ContentType: "image/jpeg", Size: int64(len(picture))},
		"text":     {Name: "a.txt", ContentType: "text/plain", Size: 17},
		"nameless": {ContentType: "audio/amr", Size: 5},
	} {
		m, err := c.GetMedia(t.Context(), testToken, id)
		must(t, err)
		data, err := io.ReadAll(m.Body)
		must(t, err)
		must(t, m.Body.Close())
		if m.Body = nil; *m != want || int64(len(data)) != want.Size || id == "picture" && string(data) != picture {
			t.Errorf("%s: got %+v with %d bytes", id, m, len(data))
		}
	}
	m, err := c.GetMedia(t.Context(), testToken, "video")
	if err != nil || m.URL != "http://v/1?a=b&c=d" || m.Body != nil {
		t.Errorf("video: got %+v, %v", m, err)
	}
	m, err = c.GetMedia(t.Context(), testToken, "cut")
	must(t, err)
	if _, err := io.ReadAll(m.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a file that is cut off reads as whole: %v", err)
	}
	m.Body.Close()
	for id, class := range map[string]Class{"gone": BadMessage, "huge": Unknown, "neither": Unknown, "page": Refused} {
		_, err := c.GetMedia(t.Context(), testToken, id)
		if e := asError(t, err); e.Class != class {
			t.Errorf("%s: got %v", id, e)
		}
	}
}

// TestGetMediaEnds: the bytes end with the caller's context and with the time limit, and a body without end at MaxMediaBytes.
func TestGetMediaEnds(t *testing.T) {
	t.Parallel()
	p := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "video/mp4")
		if r.URL.Query().Get("media_id") == "endless" {
			for block := make([]byte, 1<<20); r.Context().Err() == nil; {
				w.Write(block)
			}
			return
		}
		io.WriteString(w, "begin")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	two := func(o *Options) { o.Hosts = []string{unused(t)} } // whose share of the time is over once bytes come
	m, err := impatient(newTestClient(t, p.URL, two), 40*time.Millisecond).GetMedia(t.Context(), testToken, "slow")
	must(t, err)
	if data, err := io.ReadAll(m.Body); err == nil || string(data) != "begin" || err.Error() != "no answer within 480ms" {
		t.Errorf("got %q, %v", data, err)
	}
	m.Body.Close()
	m, err = newTestClient(t, p.URL).GetMedia(t.Context(), testToken, "endless")
	must(t, err)
	n, err := io.Copy(io.Discard, m.Body)
	if n != MaxMediaBytes || err == nil {
		t.Errorf("got %d bytes, %v", n, err)
	}
	m.Body.Close()
}
