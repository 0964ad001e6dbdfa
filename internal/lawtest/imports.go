package lawtest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// rank orders the parts: a file imports only parts of a lower rank than its own. Parts of one rank do not know each other.
// Everything under a part counts as the part. internal/… and examples are cmd's own tools and files.
var rank = map[string]int{
	"messages":     0,
	"wechat":       1,
	"conversation": 2,
	"state":        3,
	"stream":       3,
	"bots":         4,
	"actors":       5,
	"ingress":      6,
	"cluster":      7,
	"console":      8,
	"config":       9,
	"examples":     9,
	"internal":     9,
	"cmd":          10,
}

// onlyByCmd are parts that nothing but cmd may import: what others need of them is handed over as arguments.
var onlyByCmd = []string{"config", "examples", "internal"}

// serversPackage starts real servers for tests, the bench and the chaos runs.
const serversPackage = module + "/internal/servers"

// home says where a library may be imported.
type home struct {
	library string // import path, and everything below it
	dirs    []string
	tests   []string // where tests may import it besides
}

var homes = []home{
	{library: "github.com/asynkron/protoactor-go", dirs: []string{"actors", "cluster"}},
	{
		library: "github.com/nats-io", dirs: []string{"stream", "cluster", "state/jetstream", "bots/remote", "examples/bots"},
		tests: []string{"actors", "state", "internal"}, // which need a real server, or look into one
	},
	{library: "github.com/redis/go-redis", dirs: []string{"state/redis"}, tests: []string{"state", "internal"}},
	{library: "go.uber.org/zap", dirs: []string{"cmd"}},
	{library: "github.com/spf13/cobra", dirs: []string{"cmd"}},
	{library: "github.com/openai/openai-go", dirs: []string{"bots/model"}},
	{library: "github.com/sony/gobreaker", dirs: []string{"bots/upstream"}},
	{library: "github.com/fsnotify/fsnotify", dirs: []string{"bots/watch"}},
	{library: "github.com/maypok86/otter", dirs: []string{"ingress"}},
	{library: "github.com/goccy/go-yaml", dirs: []string{"config", "bots/rules", "wechat/simulator/script"}, tests: []string{"cmd", "internal"}},
}

func importLaws() []Law {
	return []Law{
		{
			Name:  "layers",
			Why:   "Imports go down only, so that each part can be read and tested without those above it (DESIGN, floor plan).",
			Check: checkLayers,
		},
		{
			Name:  "home",
			Why:   "Each library has one home, so that it can be replaced, and its traps be known, in one place.",
			Check: checkHomes,
		},
	}
}

// ownPart is the part that an import path of ours leads to; false for other modules' paths.
func ownPart(importPath string) (string, bool) {
	dir, ok := strings.CutPrefix(importPath, module+"/")
	return partOf(dir), ok
}

// imported calls f for each import of each file.
func (t *Tree) imported(f func(file *goFile, importPath string, line int)) {
	for _, file := range t.files {
		for _, spec := range file.syntax.Imports {
			if p, err := strconv.Unquote(spec.Path.Value); err == nil {
				f(file, p, file.line(spec.Pos()))
			}
		}
	}
}

func checkLayers(t *Tree, report func(string, int, string, ...any)) {
	for _, f := range t.files {
		if _, ok := rank[f.part()]; !ok {
			report(f.path, f.line(f.syntax.Package), "%q is not on the floor plan: put the file where it belongs, or give the part "+
				"its place in the design and in lawtest's ranks", f.part())
		}
	}
	t.imported(func(f *goFile, importPath string, line int) {
		target, ours := ownPart(importPath)
		if !ours || target == f.part() || f.test && (target == "examples" || importPath == serversPackage) {
			return // a test may read the files that are shipped, and start the real servers that it needs
		}
		from, to := rank[f.part()], rank[target]
		switch {
		case slices.Contains(onlyByCmd, target) && f.part() != "cmd":
			report(f.path, line, "%s imports %s, which belongs to cmd alone: let cmd hand over what is needed as an argument",
				f.part(), importPath)
		case to > from:
			report(f.path, line, "%s imports %s, but imports go down only: declare here the small interface that it needs and let "+
				"the upper part implement it", f.part(), importPath)
		case to == from:
			report(f.path, line, "%s imports %s, but the two do not know each other: what both need goes into a part below, what "+
				"joins them into one above", f.part(), importPath)
		}
	})
}

func checkHomes(t *Tree, report func(string, int, string, ...any)) {
	t.imported(func(f *goFile, importPath string, line int) {
		for _, h := range homes {
			if importPath != h.library && !strings.HasPrefix(importPath, h.library+"/") {
				continue
			}
			if inDir(f.dir, h.dirs) || f.test && inDir(f.dir, h.tests) {
				continue
			}
			allowed := strings.Join(h.dirs, ", ")
			if len(h.tests) > 0 {
				allowed += fmt.Sprintf(" (and in tests of %s)", strings.Join(h.tests, ", "))
			}
			report(f.path, line, "%s is at home in %s; use what that part offers, or let it offer what is missing",
				importPath, allowed)
		}
	})
}
