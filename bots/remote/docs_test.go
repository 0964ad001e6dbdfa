package remote

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// example is a JSON block of the documentation with the golden file that it shows.
var example = regexp.MustCompile("(?s)<!-- golden: ([a-z_-]+) -->\n```json\n(.*?)```\n")

// What docs/bots.md shows is what the golden files hold; with -update it is written there.
func TestDocumentationShowsGoldenFiles(t *testing.T) {
	t.Parallel()
	path := filepath.Join("..", "..", "docs", "bots.md")
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	shown := 0
	want := example.ReplaceAllFunc(page, func(block []byte) []byte {
		shown++
		name := example.FindSubmatch(block)[1]
		data, err := os.ReadFile(filepath.Join("testdata", "golden", string(name)+".json"))
		if err != nil {
			t.Error(err)
		}
		return []byte("<!-- golden: " + string(name) + " -->\n```json\n" + string(data) + "```\n")
	})
	if n := bytes.Count(page, []byte("```json")); n != shown || n == 0 {
		t.Errorf("%d JSON blocks, %d of them name their golden file", n, shown)
	}
	if *update {
		if err := os.WriteFile(path, want, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(page, want) {
		t.Error("docs/bots.md shows something else than the golden files: go test ./bots/remote -update")
	}
	for kind := range strings.FieldsSeq("text image voice video short_video location link file mini_program_page click scan subscribe") {
		if !bytes.Contains(page, []byte("`"+kind+"`")) {
			t.Errorf("docs/bots.md does not name the kind %s", kind)
		}
	}
}
