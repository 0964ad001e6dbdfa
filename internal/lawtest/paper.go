package lawtest

import (
	"bytes"
	"path"
	"regexp"
	"slices"
	"strings"
)

// dependenciesPage is where every direct dependency has its line.
const dependenciesPage = "docs/decisions/0002-dependencies.md"

func paperLaws() []Law {
	return []Law{
		{
			Name:  "machine-path",
			Why:   "A path of one machine means nothing on another.",
			Check: checkMachinePaths,
		},
		{
			Name:  "dependencies",
			Why:   "Whoever adds a module says why, where all are listed.",
			Check: checkDependencies,
		},
	}
}

// isPaper tells whether a file that is not Go is one that people read or that the tasks run.
func isPaper(name string) bool {
	switch path.Ext(name) {
	case ".md", ".yaml", ".yml", ".proto", ".sh", ".mod", ".html", ".js", ".css":
		return true
	default:
		return name == "Makefile" || path.Dir(name) == ".ci"
	}
}

// machinePath finds the folders of the machine on which something was written; the character before must not be part of a
// longer path or of a URL. The expression does not match itself.
var machinePath = regexp.MustCompile(`(^|[^\w./-])/(workspace|work|srv|root|tmp|home/\w+|Users/\w+)/`)

func checkMachinePaths(t *Tree, report func(string, int, string, ...any)) {
	check := func(name string, source []byte) {
		for i, line := range bytes.Split(source, []byte("\n")) {
			if at := machinePath.Find(line); at != nil {
				report(name, i+1, "%q is a path of one machine; use one relative to the project, a temporary folder, or a setting",
					strings.TrimSpace(string(at)))
			}
		}
	}
	for _, f := range t.files {
		if !f.test && !f.generated {
			check(f.path, f.source)
		}
	}
	for name, source := range t.others {
		check(name, source)
	}
}

// checkDependencies holds the modules whose packages the tree imports, and the tools that go.mod names, against the page.
func checkDependencies(t *Tree, report func(string, int, string, ...any)) {
	modules, tools := requirements(t.others["go.mod"])
	used := make(map[string]bool)
	note := func(importPath string) {
		longest := ""
		for _, m := range modules {
			if (importPath == m || strings.HasPrefix(importPath, m+"/")) && len(m) > len(longest) {
				longest = m
			}
		}
		if longest != "" {
			used[longest] = true
		}
	}
	t.imported(func(_ *goFile, importPath string, _ int) { note(importPath) })
	for _, tool := range tools {
		note(tool)
	}
	page := t.others[dependenciesPage]
	for _, m := range modules {
		named := bytes.Contains(page, []byte("`"+m+"`"))
		if used[m] && !named {
			report(dependenciesPage, 0, "`%s` is used and not named: add its line, with the reason for it", m)
		}
	}
	for _, m := range namedModules(page) {
		if !slices.Contains(modules, m) {
			report(dependenciesPage, 0, "`%s` is named and not in go.mod: remove its line", m)
		}
	}
}

// requirements are the modules that a go.mod requires and the packages that it names as tools.
func requirements(gomod []byte) (modules, tools []string) {
	block := ""
	for line := range strings.Lines(string(gomod)) {
		line, _, _ = strings.Cut(line, "//")
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
		case words[0] == ")":
			block = ""
		case len(words) == 2 && words[1] == "(":
			block = words[0]
		default:
			directive := block
			if directive == "" {
				directive, words = words[0], words[1:]
			}
			switch {
			case directive == "require" && len(words) == 2:
				modules = append(modules, words[0])
			case directive == "tool" && len(words) == 1:
				tools = append(tools, words[0])
			}
		}
	}
	return modules, tools
}

// listed is a line of the page's table: a module in its first column.
var listed = regexp.MustCompile("(?m)^\\| `([^`]+)` \\|")

func namedModules(page []byte) []string {
	var names []string
	for _, m := range listed.FindAllSubmatch(page, -1) {
		names = append(names, string(m[1]))
	}
	return names
}
