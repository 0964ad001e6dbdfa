//go:build unix && !linux

package fleet

import "syscall"

// attributes put the child into a process group of its own, so that Ctrl-C reaches the parent alone. There is no parent-death signal: a
// child whose parent was killed sees the end of its standard input, a paused one when somebody wakes it.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
