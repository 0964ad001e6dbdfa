package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxFile is the largest configuration or secret file that is read.
const maxFile = 1 << 20

// Load reads the file at path and applies the environment (as os.Environ gives it). Ask the report's Err before using the
// configuration: it is complete only without faults, but never nil. Load touches nothing but the files it reads.
func Load(path string, environ []string) (*Config, *Report) {
	src, err := readFile(path)
	if err != nil {
		fix := "write one, or name another with -c"
		if !errors.Is(err, fs.ErrNotExist) {
			fix = "check the path and its permissions"
		}
		return Default(), &Report{
			Faults:   []Fault{{File: path, Message: "cannot read the configuration: " + reason(err), Fix: fix}},
			Warnings: []Fault{},
		}
	}
	cfg, report := Parse(path, src, environ)
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o004 != 0 {
		cfg.warnReadable(report)
	}
	return cfg, report
}

// warnReadable is for a file that every user of the machine can read. One key is enough to say so.
func (c *Config) warnReadable(report *Report) {
	for _, name := range slices.Sorted(maps.Keys(c.Bots)) {
		paths := []string{"bots." + name + ".api_key", "bots." + name + ".secret"}
		for i := range c.Bots[name].Endpoints {
			paths = append(paths, element("bots."+name+".endpoints", i)+".api_key")
		}
		for i := range c.Bots[name].Tools {
			paths = append(paths, element("bots."+name+".tools", i)+".secret")
		}
		for _, path := range paths {
			if c.origin.given[path] && c.origin.variables[path] == "" {
				report.Warnings = append(report.Warnings, c.origin.fault(path, "everybody on this machine can read the file, and so this key",
					"take the right away (chmod 600), or put the key into a file of its own: "+path[strings.LastIndexByte(path, '.')+1:]+"_file"))
				report.Sort()
				return
			}
		}
	}
}

// Parse is Load of a file whose bytes are given; path names it in faults and anchors relative paths.
func Parse(path string, src []byte, environ []string) (*Config, *Report) {
	cfg, report := Default(), &Report{Faults: []Fault{}, Warnings: []Fault{}} // lists, not null, in JSON
	src = bytes.TrimPrefix(src, []byte("\ufeff"))
	cfg.origin = origin{
		file:      path,
		lines:     splitLines(src),
		spots:     make(map[string]spot),
		given:     make(map[string]bool),
		variables: make(map[string]string),
	}
	if !utf8.Valid(src) {
		report.Faults = append(report.Faults, invalidUTF8(&cfg.origin, src))
		return cfg, report
	}
	d := &decoder{origin: &cfg.origin, dir: filepath.Dir(path), report: report, failed: make(map[string]bool)}
	if !d.file(cfg, src) {
		return cfg, report
	}
	d.environment(cfg, environ)
	cfg.Complete()
	anchorPaths(reflect.ValueOf(cfg).Elem(), d.dir)
	v := &validator{cfg: cfg, origin: &cfg.origin, report: report, failed: d.failed}
	v.all()
	cfg.origin.show(report.Faults)
	cfg.origin.show(report.Warnings)
	report.Sort()
	return cfg, report
}

// invalidUTF8 is the fault of a file that is no text.
func invalidUTF8(o *origin, src []byte) Fault {
	line := 1
	for len(src) > 0 {
		r, size := utf8.DecodeRune(src)
		if r == utf8.RuneError && size == 1 {
			break
		}
		if r == '\n' {
			line++
		}
		src = src[size:]
	}
	return Fault{File: o.file, Line: line, Column: 1, Message: "the line is not UTF-8", Fix: "save the file as UTF-8",
		source: o.shown(line)}
}

// anchorPaths joins every relative Path below v to dir.
func anchorPaths(v reflect.Value, dir string) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				anchorPaths(v.Field(i), dir)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			anchorPaths(v.Index(i), dir)
		}
	case reflect.Map:
		for _, key := range v.MapKeys() { // a map's values cannot be set in place
			element := reflect.New(v.Type().Elem()).Elem()
			element.Set(v.MapIndex(key))
			anchorPaths(element, dir)
			v.SetMapIndex(key, element)
		}
	case reflect.String:
		if v.Type() == reflect.TypeFor[Path]() && v.String() != "" && !filepath.IsAbs(v.String()) {
			v.SetString(filepath.Join(dir, v.String()))
		}
	default:
	}
}

// readFile reads a file of at most maxFile bytes.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, errors.New("it is a folder")
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		return nil, err
	case len(b) > maxFile:
		return nil, fmt.Errorf("it is larger than %s", Size(maxFile))
	}
	return b, nil
}

// readSecret reads a secret's file and drops the line ends at its end.
func readSecret(dir, name string) (string, error) {
	if !filepath.IsAbs(name) {
		name = filepath.Join(dir, name)
	}
	b, err := readFile(name)
	if err != nil {
		return "", &valueError{fmt.Sprintf("cannot read the secret's file %s: %s", name, reason(err)), "check the path and its permissions"}
	}
	secret := strings.TrimRight(string(b), "\r\n")
	if secret == "" {
		return "", &valueError{fmt.Sprintf("the secret's file %s is empty", name), "write the secret into it"}
	}
	return secret, nil
}

// reason is err without the operation and the path, which the message already has.
func reason(err error) string {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err.Error()
	}
	return err.Error()
}
