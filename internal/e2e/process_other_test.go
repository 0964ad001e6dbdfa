//go:build !linux

package e2e

import "syscall"

// processAttributes are none where the kernel knows no parent-death signal: a test that is killed leaves its process behind.
func processAttributes() *syscall.SysProcAttr { return nil }
