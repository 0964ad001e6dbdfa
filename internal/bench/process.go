package bench

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// kernelTick is the unit of /proc/<pid>/stat: USER_HZ is 100 on every Linux that Go runs on.
const kernelTick = 10 * time.Millisecond

// cpuTime is the processor time, user and system, of a process since its start; 0 where it is not known: it is on Linux only.
func cpuTime(pid int) time.Duration {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	spent, _ := parseStat(data)
	return spent
}

// parseStat reads utime and stime, fields 14 and 15 of proc_pid_stat(5). Field 2, the name, may hold anything but ends
// with the last parenthesis.
func parseStat(data []byte) (time.Duration, bool) {
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	if len(fields) < 13 {
		return 0, false
	}
	user, err1 := strconv.ParseInt(string(fields[11]), 10, 64)
	system, err2 := strconv.ParseInt(string(fields[12]), 10, 64)
	return time.Duration(user+system) * kernelTick, err1 == nil && err2 == nil
}

// machineTime is the processor time that all processes of this machine used since its start, with what a hypervisor took
// away. Interrupts are left out: they belong to nobody. It is only known on Linux.
func machineTime() time.Duration {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	return parseMachineStat(string(data))
}

// parseMachineStat reads the first line of proc_stat(5): user nice system idle iowait irq softirq steal.
func parseMachineStat(text string) (busy time.Duration) {
	line, _, _ := strings.Cut(text, "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0
	}
	for _, column := range []int{1, 2, 3, 8} {
		ticks, _ := strconv.ParseInt(fields[column], 10, 64)
		busy += time.Duration(ticks) * kernelTick
	}
	return busy
}

// residentBytes is the memory of a process that is in RAM, now and at most. It is only known on Linux.
func residentBytes(pid int) (now, peak int64) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0
	}
	return statusBytes(data, "VmRSS:"), statusBytes(data, "VmHWM:")
}

func statusBytes(status []byte, name string) int64 {
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, name); ok {
			kilobytes, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
			return kilobytes << 10
		}
	}
	return 0
}
