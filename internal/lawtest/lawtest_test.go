package lawtest

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

// TestLaws holds the project itself against every law.
func TestLaws(t *testing.T) {
	t.Parallel()
	tree, err := Load(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	if len(tree.files) < 10 {
		t.Fatalf("only %d Go files were found: is this the project's root?", len(tree.files))
	}
	laws := Laws()
	for _, v := range Judge(tree, laws) {
		why := "An allowance is for a breach that is there, and says why."
		if i := slices.IndexFunc(laws, func(l Law) bool { return l.Name == v.Law }); i >= 0 {
			why = laws[i].Why
		}
		t.Errorf("%s\n\twhy: %s", v, why)
	}
}

// TestEachLawCanFail holds tiny trees that break laws against the list of violations that stands in their file "want". Every
// law must be broken somewhere.
func TestEachLawCanFail(t *testing.T) {
	t.Parallel()
	cases, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(cases) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	laws := Laws()
	broken := make(map[string]bool)
	for _, name := range cases {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		root, err := txtar.FS(grown(archive))
		if err != nil {
			t.Fatal(err)
		}
		want, err := fs.ReadFile(root, "want")
		if err != nil {
			t.Fatalf("%s has no file want: %v", name, err)
		}
		tree, err := Load(root)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var got strings.Builder
		for _, v := range Judge(tree, laws) {
			broken[v.Law] = true
			fmt.Fprintln(&got, v)
		}
		if got.String() != string(want) {
			t.Errorf("%s: got\n%swant\n%s", name, got.String(), want)
		}
	}
	for _, law := range laws {
		if !broken[law.Name] {
			t.Errorf("no tree in testdata breaks the law %q, so nothing shows that it can fail", law.Name)
		}
		if law.Why == "" {
			t.Errorf("the law %q does not say why it is there", law.Name)
		}
	}
}

// grown replaces each line "//lines N" of the archive's Go files by N empty lines, so that trees of large things stay small.
func grown(a *txtar.Archive) *txtar.Archive {
	for i := range a.Files {
		var b strings.Builder
		for line := range strings.Lines(string(a.Files[i].Data)) {
			var n int
			if _, err := fmt.Sscanf(strings.TrimSpace(line), "//lines %d", &n); err == nil {
				b.WriteString(strings.Repeat("\n", n))
				continue
			}
			b.WriteString(line)
		}
		a.Files[i].Data = []byte(b.String())
	}
	return a
}

// TestLoadRefuses shows that a tree that cannot be judged is an error and not a tree without violations.
func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"nothing":        "-- README.md --\nhello\n",
		"broken go":      "-- messages/a.go --\npackage messages\nfunc {\n",
		"only test data": "-- messages/testdata/a.go --\npackage messages\n",
	} {
		root, err := txtar.FS(txtar.Parse([]byte(text)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Load(root); err == nil {
			t.Errorf("%s: loaded without an error", name)
		}
	}
}
