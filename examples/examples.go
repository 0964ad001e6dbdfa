// Package examples holds the files that people start from, as they stand in this folder, so that the program can write them
// out on a machine that has nothing but the program.
package examples

import _ "embed"

// Rules is rules.yaml: the rules file that a first run begins with.
//
//go:embed rules.yaml
var Rules []byte
