package config

import (
	"bytes"
	_ "embed"

	"github.com/goccy/go-yaml"
)

//go:embed reference.yaml
var reference []byte

// Reference is a commented configuration file with every key at its default and one example account.
func Reference() []byte { return bytes.Clone(reference) }

// Marshal writes cfg as a file that Load reads back to the same values. It holds the secrets in clear: keep it to its owner
// (mode 0600). Paths are written as they are, so give absolute ones.
func Marshal(cfg *Config) ([]byte, error) {
	return yaml.MarshalWithOptions(cfg, yaml.IndentSequence(true), yaml.UseSingleQuote(false))
}
