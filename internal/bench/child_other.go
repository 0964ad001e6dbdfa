//go:build !linux

package bench

import "syscall"

// childAttributes are the defaults: without a parent-death signal a child shares this process's group and its Ctrl-C.
func childAttributes() *syscall.SysProcAttr { return nil }
