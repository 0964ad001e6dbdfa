package main

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// build is what this binary was made of.
type build struct {
	Version  string            `json:"version"`
	Revision string            `json:"revision,omitempty"` // of the source
	Time     string            `json:"time,omitempty"`     // of that revision, RFC 3339
	Modified bool              `json:"modified"`           // the source differed from the revision
	Go       string            `json:"go"`
	Platform string            `json:"platform"`
	Modules  map[string]string `json:"modules"` // path → version
}

// shownModules are the libraries that matter when behaviour is compared, in the order of the text output.
var shownModules = []struct{ name, path string }{
	{"proto.actor", "github.com/asynkron/protoactor-go"},
	{"nats-server", "github.com/nats-io/nats-server/v2"},
	{"nats.go", "github.com/nats-io/nats.go"},
	{"protobuf", "google.golang.org/protobuf"},
	{"zap", "go.uber.org/zap"},
}

// stamped is the version that a build without a repository was given (-ldflags "-X main.stamped=1.0.0"): in a container image.
var stamped string

// thisBuild reads what the Go tool wrote into the binary.
func thisBuild() build {
	b := build{Version: "unknown", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH, Modules: map[string]string{}}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if info.Main.Version != "" {
		b.Version = info.Main.Version
	}
	if stamped != "" {
		b.Version = stamped
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		b.Modules[m.Path] = m.Version
	}
	return b
}

// newVersionCommand is `hongyan version`.
func newVersionCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "version", Short: "Show version, source revision and libraries 版本信息", Args: cobra.NoArgs}
	asJSON := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		inJSON, err := asJSON()
		switch {
		case err != nil:
			return err
		case inJSON:
			return writeJSON(cmd.OutOrStdout(), thisBuild())
		default:
			return thisBuild().write(cmd.OutOrStdout())
		}
	}
	return cmd
}

func (b build) write(w io.Writer) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(out, "hongyan\t%s\n", b.Version)
	if b.Revision != "" {
		note := ""
		if b.Modified {
			note = ", with changes"
		}
		fmt.Fprintf(out, "revision\t%s (%s%s)\n", b.Revision, b.Time, note)
	}
	fmt.Fprintf(out, "go\t%s %s\n", b.Go, b.Platform)
	for _, m := range shownModules {
		if v := b.Modules[m.path]; v != "" {
			fmt.Fprintf(out, "%s\t%s\n", m.name, v)
		}
	}
	return out.Flush()
}

// writeJSON writes value as indented JSON and a line end.
func writeJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}
