package lawtest

import (
	"go/ast"
	"path"
	"slices"
	"strings"
)

// The sizes that nothing reaches.
const (
	maxFileLines        = 500
	maxFunctionLines    = 80
	maxMainLines        = 150
	maxInterfaceMethods = 6
)

// noNames say nothing about what is inside.
var noNames = []string{"util", "utils", "common", "helper", "helpers", "manager", "managers", "misc", "shared", "base", "lib"}

func shapeLaws() []Law {
	return []Law{
		{
			Name:  "file-size",
			Why:   "A file is read in one sitting.",
			Check: checkFiles,
		},
		{
			Name:  "function-size",
			Why:   "A function is seen at once.",
			Check: checkFunctions,
		},
		{
			Name:  "interface-size",
			Why:   "A small interface can be implemented, and its callers be understood.",
			Check: checkInterfaces,
		},
		{
			Name:  "names",
			Why:   "A package is named after what it is about.",
			Check: checkNames,
		},
		{
			Name:  "package-comment",
			Why:   "Whoever opens a folder learns first what it is for.",
			Check: checkPackageComments,
		},
	}
}

func checkFiles(t *Tree, report func(string, int, string, ...any)) {
	for _, f := range t.files {
		limit, what := maxFileLines, "a file"
		if f.hasMain() {
			limit, what = maxMainLines, "the file of func main"
		}
		if !f.generated && f.lines >= limit {
			report(f.path, 0, "%d lines; %s stays under %d: find the seam along which it comes apart", f.lines, what, limit)
		}
	}
}

func (f *goFile) hasMain() bool {
	return f.syntax.Name.Name == "main" && slices.ContainsFunc(f.syntax.Decls, func(d ast.Decl) bool {
		fn, ok := d.(*ast.FuncDecl)
		return ok && fn.Recv == nil && fn.Name.Name == "main"
	})
}

func checkFunctions(t *Tree, report func(string, int, string, ...any)) {
	for _, f := range t.files {
		if f.test || f.generated {
			continue
		}
		for _, decl := range f.syntax.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if lines := f.line(fn.End()) - f.line(fn.Pos()) + 1; lines >= maxFunctionLines {
				report(f.path, f.line(fn.Pos()), "%s has %d lines; a function stays under %d: name its steps",
					fn.Name.Name, lines, maxFunctionLines)
			}
		}
	}
}

func checkInterfaces(t *Tree, report func(string, int, string, ...any)) {
	for _, f := range t.files {
		if f.generated {
			continue
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			iface, ok := spec.Type.(*ast.InterfaceType)
			if !ok {
				return true
			}
			if methods := iface.Methods.NumFields(); methods >= maxInterfaceMethods {
				report(f.path, f.line(spec.Pos()), "%s has %d methods; an interface has fewer than %d: ask for what is used",
					spec.Name.Name, methods, maxInterfaceMethods)
			}
			return true
		})
	}
}

func checkNames(t *Tree, report func(string, int, string, ...any)) {
	seen := make(map[string]bool)
	for _, f := range t.files {
		name := strings.TrimSuffix(f.syntax.Name.Name, "_test")
		if seen[f.dir+" "+name] {
			continue
		}
		seen[f.dir+" "+name] = true
		if slices.Contains(noNames, name) || slices.Contains(noNames, path.Base(f.dir)) {
			report(f.path, f.line(f.syntax.Name.Pos()), "%q says nothing about what is inside: name the package after what it is about",
				name)
		}
	}
}

func checkPackageComments(t *Tree, report func(string, int, string, ...any)) {
	first := make(map[string]*goFile) // of each folder: the file to complain about, no test if there is another
	said := make(map[string]bool)
	for _, f := range t.files {
		if before := first[f.dir]; before == nil || before.test && !f.test {
			first[f.dir] = f
		}
		if doc := f.syntax.Doc.Text(); !f.generated && isPackageComment(doc, f.syntax.Name.Name) {
			said[f.dir] = true
		}
	}
	for dir, f := range first {
		if !said[dir] {
			report(f.path, f.line(f.syntax.Package), "package %s has no comment: begin one file with \"// Package %[1]s …\" that says "+
				"what it is for", f.syntax.Name.Name)
		}
	}
}

// isPackageComment tells a package's comment from a licence or an empty word: it begins as Go's tools expect and goes on.
func isPackageComment(doc, name string) bool {
	if name == "main" {
		return strings.TrimSpace(doc) != ""
	}
	rest, ok := strings.CutPrefix(doc, "Package "+strings.TrimSuffix(name, "_test")+" ")
	return ok && len(strings.Fields(rest)) >= 3
}
