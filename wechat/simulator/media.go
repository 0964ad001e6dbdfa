package simulator

import (
	"errors"
	"net/http"
	"strings"
)

// Bounds of the pictures that a phone may send: bytes of one, and how many are kept (the newest).
const (
	maxPicture  = 2 << 20
	maxPictures = 32
)

var errPicture = errors.New("that is no PNG, JPEG, GIF or WebP picture of at most 2 MiB")

type picture struct {
	id, contentType string
	data            []byte
}

// mediaShelf keeps the pictures that phones sent, so that PicUrl leads somewhere. The phone's lock guards it.
type mediaShelf struct {
	pictures []picture
}

// keepPicture takes a picture and returns its media id; it is served under media/<id>.
func (p *Platform) keepPicture(data []byte) (string, error) {
	contentType := http.DetectContentType(data)
	switch {
	case len(data) > maxPicture:
		return "", errPicture
	case !strings.HasPrefix(contentType, "image/"):
		return "", errPicture
	}
	id := "media_" + p.newMsgID()
	ph := p.phone
	ph.mu.Lock()
	defer ph.mu.Unlock()
	ph.media.pictures = append(ph.media.pictures, picture{id: id, contentType: contentType, data: data})
	if over := len(ph.media.pictures) - maxPictures; over > 0 {
		ph.media.pictures = append([]picture(nil), ph.media.pictures[over:]...)
	}
	return id, nil
}

func (p *Platform) picture(id string) (picture, bool) {
	ph := p.phone
	ph.mu.Lock()
	defer ph.mu.Unlock()
	for _, pic := range ph.media.pictures {
		if pic.id == id {
			return pic, true
		}
	}
	return picture{}, false
}
