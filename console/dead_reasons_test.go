package console_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"hongyan/console"
)

// Every reason that the source gives a dead letter is explained by the API and in the manual.
func TestEveryReasonIsExplained(t *testing.T) {
	t.Parallel()
	manual, err := os.ReadFile("../docs/dead-letters.md")
	if err != nil {
		t.Fatal(err)
	}
	unknown, _ := console.Explain("no such reason")
	found := reasonsOf(t, "../actors", "../conversation")
	if len(found) < 10 {
		t.Fatalf("only %v", found)
	}
	for name, reason := range found {
		meaning, advice := console.Explain(reason)
		if meaning == unknown || meaning == "" || advice == "" {
			t.Errorf("%s (%q) has no explanation", name, reason)
		}
		if !strings.Contains(string(manual), "| `"+reason+"` |") {
			t.Errorf("%s (%q) is not in docs/dead-letters.md", name, reason)
		}
	}
}

// reasonsOf are the values of all string constants Reason… in the packages.
func reasonsOf(t *testing.T, dirs ...string) map[string]string {
	t.Helper()
	out := make(map[string]string)
	for _, dir := range dirs {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(tree, func(n ast.Node) bool {
				spec, ok := n.(*ast.ValueSpec)
				if !ok {
					return true
				}
				for i, name := range spec.Names {
					if !strings.HasPrefix(name.Name, "Reason") || i >= len(spec.Values) {
						continue
					}
					if value, ok := spec.Values[i].(*ast.BasicLit); ok && value.Kind == token.STRING {
						text, err := strconv.Unquote(value.Value)
						if err != nil {
							t.Fatal(err)
						}
						out[dir+"."+name.Name] = text
					}
				}
				return true
			})
		}
	}
	return out
}
