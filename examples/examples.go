// Package examples holds the files that people start from, as they stand in this folder, so that the program can write them
// out on a machine that has nothing but the program.
package examples

import (
	"bytes"
	_ "embed"
)

// Rules is rules.yaml: the rules file that a first run begins with.
//
//go:embed rules.yaml
var Rules []byte

// OpenRules is Rules without the default rule at the end: what they do not answer is left to the next bot of the chain.
func OpenRules() []byte {
	rules, _, _ := bytes.Cut(Rules, []byte("  # 其他消息"))
	return append(bytes.Clone(rules), "  # 以上都不匹配的消息，包括图片和语音，交给下一个机器人：内置的示例模型\n"...)
}
