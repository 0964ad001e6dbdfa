package lawtest

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// module is the module path; every import below it is one of ours.
const module = "hongyan"

// Violation is one place that breaks a law.
type Violation struct {
	File    string // slash-separated, from the tree's root
	Line    int    // 0: the whole file
	Law     string // the law's name, as an allowance gives it
	Message string // what is wrong, why it is a law, what to do
}

// String is "file:line: message (law)".
func (v Violation) String() string {
	where := v.File
	if v.Line > 0 {
		where = fmt.Sprintf("%s:%d", v.File, v.Line)
	}
	return fmt.Sprintf("%s: %s (%s)", where, v.Message, v.Law)
}

// Law is one rule of the house. Check reports every place that breaks it; allowances are left to the caller.
type Law struct {
	Name  string
	Why   string
	Check func(t *Tree, report func(file string, line int, format string, args ...any))
}

// Laws are all laws.
func Laws() []Law {
	return slices.Concat(importLaws(), callLaws(), shapeLaws(), paperLaws())
}

// Tree is the source of the project.
type Tree struct {
	files  []*goFile
	others map[string][]byte // every other text file worth reading, by path
}

// goFile is one parsed file.
type goFile struct {
	path      string // slash-separated, from the root
	dir       string // "" for the root
	test      bool   // _test.go
	generated bool
	source    []byte
	lines     int
	syntax    *ast.File
	positions *token.FileSet
}

func (f *goFile) line(p token.Pos) int { return f.positions.Position(p).Line }

// part is the file's part of the floor plan: the first element of its path.
func (f *goFile) part() string { return partOf(f.dir) }

func partOf(dir string) string {
	part, _, _ := strings.Cut(dir, "/")
	return part
}

// inDir tells whether dir is one of the homes or lies below one.
func inDir(dir string, homes []string) bool {
	return slices.ContainsFunc(homes, func(home string) bool {
		return dir == home || strings.HasPrefix(dir, home+"/")
	})
}

// skipped are folders that hold no source of ours.
var skipped = []string{".git", ".build", "testdata", "data", "vendor", "node_modules"}

// Load reads a tree. Go files that do not parse are an error.
func Load(root fs.FS) (*Tree, error) {
	t := &Tree{others: make(map[string][]byte)}
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains(skipped, d.Name()):
			return fs.SkipDir
		case !d.Type().IsRegular():
			return nil
		}
		return t.add(root, name)
	})
	if err != nil {
		return nil, fmt.Errorf("reading the tree: %w", err)
	}
	if len(t.files) == 0 {
		return nil, errors.New("reading the tree: there is no Go file in it")
	}
	return t, nil
}

// add reads one file, where any law looks at files of its kind.
func (t *Tree) add(root fs.FS, name string) error {
	isGo := path.Ext(name) == ".go"
	if !isGo && !isPaper(name) {
		return nil
	}
	source, err := fs.ReadFile(root, name)
	if err != nil {
		return err
	}
	if !isGo {
		t.others[name] = source
		return nil
	}
	positions := token.NewFileSet()
	syntax, err := parser.ParseFile(positions, name, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	dir := path.Dir(name)
	if dir == "." {
		dir = ""
	}
	t.files = append(t.files, &goFile{
		path: name, dir: dir, test: strings.HasSuffix(name, "_test.go"), generated: ast.IsGenerated(syntax),
		source: source, lines: bytes.Count(source, []byte("\n")), syntax: syntax, positions: positions,
	})
	return nil
}

// Judge holds the tree against the laws. What an allowance covers is left out; an allowance without a reason, of no known
// law, or without anything to allow is reported.
func Judge(t *Tree, laws []Law) []Violation {
	allowances := t.allowances()
	var found []Violation
	for _, law := range laws {
		law.Check(t, func(file string, line int, format string, args ...any) {
			v := Violation{File: file, Line: line, Law: law.Name, Message: fmt.Sprintf(format, args...)}
			if !covered(allowances, v) {
				found = append(found, v)
			}
		})
	}
	known := func(name string) bool {
		return slices.ContainsFunc(laws, func(l Law) bool { return l.Name == name })
	}
	for _, a := range allowances {
		if complaint := a.complaint(known); complaint != "" {
			found = append(found, Violation{File: a.file, Line: a.line, Law: "allow", Message: complaint})
		}
	}
	slices.SortStableFunc(found, func(a, b Violation) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	return found
}
