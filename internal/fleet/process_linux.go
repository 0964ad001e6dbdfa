package fleet

import "syscall"

// attributes put the child into a process group of its own, so that Ctrl-C reaches the parent alone, which then stops its children in
// order; and let the kernel kill the child when the parent dies without doing so, also while it is paused.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
