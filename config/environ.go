package config

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
)

const envPrefix = "HONGYAN_"

// leaf is one key that the environment can set.
type leaf struct {
	path   string
	field  reflect.Value // where the value goes
	target any           // pointer to the structure that env fills
	prefix string        // what that structure's tags stand behind
}

// environment applies the variables in environ to cfg, one by one, so that a fault names its variable.
func (d *decoder) environment(cfg *Config, environ []string) {
	variables := make(map[string]string)
	for name, value := range env.ToMap(environ) {
		if strings.HasPrefix(name, envPrefix) && value != "" { // an empty variable counts as not set
			variables[name] = value
		}
	}
	if len(variables) == 0 {
		return
	}
	leaves, writeBack := d.leaves(cfg)
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		if l, ok := leaves[name]; ok {
			if d.onlyForm(leaves, name, variables) {
				d.variable(l, name, name, variables[name])
			}
			continue
		}
		key := strings.TrimSuffix(name, "_FILE")
		if l, ok := leaves[key]; ok && key != name && l.field.Type() == reflect.TypeFor[Secret]() {
			d.secretVariable(l, name, key, variables)
			continue
		}
		if !isServiceLink(name) {
			d.report.Warnings = append(d.report.Warnings, Fault{Variable: name, Message: "no key has this variable; it has no effect",
				Fix: didYouMeanVariable(name, leaves)})
		}
	}
	writeBack()
}

// isServiceLink tells the variables that Kubernetes makes for a service named hongyan.
func isServiceLink(name string) bool {
	rest := strings.TrimPrefix(name, envPrefix)
	return strings.HasPrefix(rest, "SERVICE_") || rest == "PORT" || strings.HasPrefix(rest, "PORT_")
}

func didYouMeanVariable(name string, leaves map[string]leaf) string {
	if s := suggest(name, slices.Sorted(maps.Keys(leaves))); s != "" {
		return fmt.Sprintf("did you mean %s?", s)
	}
	return "remove it, or see the configuration reference for the names"
}

// onlyForm settles a secret of which the configuration keeps both forms, api_key and api_key_file: what the variable gives
// replaces the other form of the file. It reports false where both forms are variables, which is a fault of the one with _FILE.
func (d *decoder) onlyForm(leaves map[string]leaf, name string, variables map[string]string) bool {
	other, isFile := strings.CutSuffix(name, "_FILE")
	if !isFile {
		other = name + "_FILE"
	}
	o, ok := leaves[other]
	switch {
	case !ok:
		return true
	case variables[other] == "":
		o.field.SetZero()
		return true
	case isFile:
		d.origin.variables[leaves[name].path] = name
		d.fail(d.origin.fault(leaves[name].path, "the secret is given twice, here and as "+other, "keep one of the two"))
		return false
	default:
		return true
	}
}

func (d *decoder) secretVariable(l leaf, name, key string, variables map[string]string) {
	d.origin.variables[l.path] = name
	if variables[key] != "" {
		d.fail(d.origin.fault(l.path, "the secret is given twice, here and as "+key, "keep one of the two"))
		return
	}
	secret, err := readSecret(d.dir, variables[name])
	if err != nil {
		d.valueFault(l.path, err)
		return
	}
	d.variable(l, name, key, secret)
}

// variable sets one key through env. name is the variable that people set, key the one that the structure's tags spell.
func (d *decoder) variable(l leaf, name, key, value string) {
	d.origin.variables[l.path] = name
	if l.field.Kind() == reflect.Slice {
		parts := strings.Split(value, ",")
		for i := range parts {
			parts[i] = strings.TrimSpace(parts[i])
		}
		value = strings.Join(parts, ",")
	}
	err := env.ParseWithOptions(l.target, env.Options{
		Prefix:      l.prefix,
		Environment: map[string]string{key: value},
		FuncMap: map[reflect.Type]env.ParserFunc{
			reflect.TypeFor[time.Duration](): func(s string) (any, error) { return parseDuration(s) },
			reflect.TypeFor[int]():           parseWith[int],
			reflect.TypeFor[int64]():         parseWith[int64],
			reflect.TypeFor[float64]():       parseWith[float64],
			reflect.TypeFor[bool]():          parseWith[bool],
		},
	})
	var parseErr env.ParseError
	switch {
	case err == nil:
	case errors.As(err, &parseErr):
		d.valueFault(l.path, parseErr.Err)
	default:
		d.valueFault(l.path, err)
	}
}

// parseWith reads a T as the file's decoder does, so that both speak alike.
func parseWith[T any](text string) (any, error) {
	var v T
	err := setScalar(reflect.ValueOf(&v).Elem(), text)
	return v, err
}

// leaves are all variables that cfg has, by name. Bots live in a map and are set in copies: writeBack brings them home.
func (d *decoder) leaves(cfg *Config) (leaves map[string]leaf, writeBack func()) {
	leaves = make(map[string]leaf)
	addLeaves(leaves, reflect.ValueOf(cfg).Elem(), cfg, "", envPrefix, envPrefix)
	for i := range cfg.Accounts {
		prefix := envPrefix + "ACCOUNTS_" + capitals(cfg.Accounts[i].ID) + "_"
		addLeaves(leaves, reflect.ValueOf(&cfg.Accounts[i]).Elem(), &cfg.Accounts[i], fmt.Sprintf("accounts[%d]", i), prefix, prefix)
	}
	for i := range cfg.APIKeys {
		prefix := envPrefix + "API_KEYS_" + capitals(cfg.APIKeys[i].ID) + "_"
		addLeaves(leaves, reflect.ValueOf(&cfg.APIKeys[i]).Elem(), &cfg.APIKeys[i], fmt.Sprintf("api_keys[%d]", i), prefix, prefix)
	}
	copies := make(map[string]*Bot)
	for _, name := range slices.Sorted(maps.Keys(cfg.Bots)) {
		b := cfg.Bots[name]
		copies[name] = &b
		prefix := envPrefix + "BOTS_" + capitals(name) + "_"
		addLeaves(leaves, reflect.ValueOf(&b).Elem(), &b, "bots."+name, prefix, prefix)
	}
	return leaves, func() {
		for name, b := range copies {
			cfg.Bots[name] = *b
		}
	}
}

// addLeaves adds the keys of the structure v at path. root is the prefix of the structure that target points to.
func addLeaves(leaves map[string]leaf, v reflect.Value, target any, path, prefix, root string) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch nested, tag := f.Tag.Get("envPrefix"), f.Tag.Get("env"); {
		case nested != "":
			addLeaves(leaves, v.Field(i), target, join(path, name), prefix+nested, root)
		case tag != "" && tag != "-":
			leaves[prefix+tag] = leaf{path: join(path, name), field: v.Field(i), target: target, prefix: root}
		}
	}
}

// capitals is a name as it stands in a variable.
func capitals(name string) string { return strings.ToUpper(strings.ReplaceAll(name, "-", "_")) }
