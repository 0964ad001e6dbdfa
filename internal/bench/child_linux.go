package bench

import "syscall"

// childAttributes puts a child into a process group of its own, so that Ctrl-C reaches this process alone, which then
// stops its children in order; and lets the kernel kill it when this process dies without doing so.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
