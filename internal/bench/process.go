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

// cpuTime is the processor time, user and system, of a process since its start. It is only known on Linux.
func cpuTime(pid int) (time.Duration, bool) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false
	}
	return parseStat(data)
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
