package servers

import "syscall"

// processAttributes lets the kernel kill a server when the tests die without doing so, and keeps a Ctrl-C for the tests from it.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
