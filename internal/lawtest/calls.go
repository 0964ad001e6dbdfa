package lawtest

import (
	"go/ast"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// pure are the parts into which time and chance come as arguments, so that a test and a simulation decide them.
var pure = []string{"conversation", "actors", "state"}

// ban is something that must not be used in some parts.
type ban struct {
	law     string
	pkg     string   // import path
	names   []string // empty: the package as a whole
	in      []string // parts; empty: everywhere
	notIn   []string // dirs that are free
	instead string
}

var bans = []ban{
	{
		law: "clock", pkg: "time", in: pure,
		names:   []string{"Now", "Since", "Until", "Sleep"},
		instead: "take the time as an argument, or a clock from the caller; tests and simulation set it",
	},
	{law: "chance", pkg: "math/rand", in: pure, instead: "take the random source from the caller; a seed must repeat a run"},
	{law: "chance", pkg: "math/rand/v2", in: pure, instead: "take the random source from the caller; a seed must repeat a run"},
	{law: "chance", pkg: "crypto/rand", in: pure, instead: "take the random source from the caller; a seed must repeat a run"},
	{
		law: "mutex", pkg: "sync", in: []string{"actors"}, names: []string{"Mutex", "RWMutex"},
		instead: "an actor's fields belong to its turn: send a message instead of sharing them",
	},
	{
		law: "print", pkg: "fmt", notIn: []string{"cmd"}, names: []string{"Print", "Printf", "Println"},
		instead: "stdout belongs to cmd: return the text, write to an io.Writer, or log with the slog.Logger that was passed in",
	},
	{law: "print", pkg: "log", notIn: []string{"cmd"}, instead: "log with the slog.Logger that was passed in"},
	{
		law: "exit", pkg: "os", notIn: []string{"cmd", "examples/bots"}, names: []string{"Exit"},
		instead: "return an error: only cmd ends the process, after its children have ended",
	},
}

func callLaws() []Law {
	laws := []Law{
		{
			Name:  "panic",
			Why:   "An error is returned and handled; a panic takes a whole node of users down.",
			Check: checkPanics,
		},
		{
			Name:  "goroutine",
			Why:   "A goroutine that nobody ends leaks, and outlives what it works on.",
			Check: checkGoroutines,
		},
	}
	why := map[string]string{
		"clock":  "Time enters the pure parts as an argument, so that tests and simulation decide it.",
		"chance": "Chance enters the pure parts as an argument, so that a seed repeats a run.",
		"mutex":  "An actor's fields belong to its turn.",
		"print":  "Output belongs to cmd.",
		"exit":   "Only cmd ends the process.",
	}
	for _, name := range []string{"clock", "chance", "mutex", "print", "exit"} {
		laws = append(laws, Law{Name: name, Why: why[name], Check: func(t *Tree, report func(string, int, string, ...any)) {
			for _, b := range bans {
				if b.law == name {
					checkBan(t, b, report)
				}
			}
		}})
	}
	return laws
}

func checkBan(t *Tree, b ban, report func(string, int, string, ...any)) {
	for _, f := range t.files {
		if f.test || f.generated || len(b.in) > 0 && !slices.Contains(b.in, f.part()) || inDir(f.dir, b.notIn) {
			continue
		}
		name, line := f.importName(b.pkg)
		if name == "" {
			continue
		}
		if len(b.names) == 0 {
			report(f.path, line, "%s is not for %s: %s", b.pkg, f.part(), b.instead)
			continue
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok && slices.Contains(b.names, sel.Sel.Name) {
				if x, ok := sel.X.(*ast.Ident); ok && x.Name == name {
					report(f.path, f.line(sel.Pos()), "%s.%s is not for %s: %s", b.pkg, sel.Sel.Name, f.part(), b.instead)
				}
			}
			return true
		})
	}
}

// importName is the name under which the file knows a package, and the import's line; empty where it does not import it.
func (f *goFile) importName(pkg string) (name string, line int) {
	for _, spec := range f.syntax.Imports {
		if p, err := strconv.Unquote(spec.Path.Value); err != nil || p != pkg {
			continue
		}
		line = f.line(spec.Pos())
		if spec.Name != nil {
			return spec.Name.Name, line
		}
		return path.Base(pkg), line
	}
	return "", 0
}

func checkPanics(t *Tree, report func(string, int, string, ...any)) {
	for _, f := range t.files {
		if f.test || f.generated {
			continue
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				if fun, ok := call.Fun.(*ast.Ident); ok && fun.Name == "panic" && !abortsHandler(call) &&
					f.commentAbove(f.line(call.Pos())) == "" {
					report(f.path, f.line(call.Pos()), "panic: return an error; where it can only be a mistake in this program, say in a "+
						"comment beside it why it cannot happen")
				}
			}
			return true
		})
	}
}

// abortsHandler tells net/http's own way to end an exchange without an answer: panic(http.ErrAbortHandler).
func abortsHandler(call *ast.CallExpr) bool {
	if len(call.Args) != 1 {
		return false
	}
	sel, ok := call.Args[0].(*ast.SelectorExpr)
	return ok && sel.Sel.Name == "ErrAbortHandler"
}

// endsBy is what a comment above a go statement must say.
var endsBy = regexp.MustCompile(`(?i)\b(ends|ended|returns|stopped)\b`)

func checkGoroutines(t *Tree, report func(string, int, string, ...any)) {
	for _, f := range t.files {
		if f.test || f.generated {
			continue
		}
		for _, decl := range f.syntax.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if ok && fn.Name.Name == "Run" {
				continue // which returns after its children
			}
			doc := ""
			if ok {
				doc = fn.Doc.Text()
			}
			ast.Inspect(decl, func(n ast.Node) bool {
				if g, ok := n.(*ast.GoStmt); ok && !endsBy.MatchString(doc+f.commentAbove(f.line(g.Pos()))) {
					report(f.path, f.line(g.Pos()), "a go statement outside of Run must say in the comment above it, or above the "+
						"function, who ends the goroutine: \"ends when …\" or \"ended by …\"")
				}
				return true
			})
		}
	}
}

// commentAbove is the text of the comment that stands on the line or ends on the one before.
func (f *goFile) commentAbove(line int) string {
	var text strings.Builder
	for _, group := range f.syntax.Comments {
		if last := f.line(group.End()); last == line-1 || f.line(group.Pos()) == line {
			text.WriteString(group.Text())
		}
	}
	return text.String()
}
