//go:build !linux

package servers

import "syscall"

// processAttributes are none where the kernel knows no parent-death signal: a test that is killed leaves its servers behind.
func processAttributes() *syscall.SysProcAttr { return nil }
