package bench

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Machine is where a run took place.
type Machine struct {
	Cores      int     `json:"cores"`
	CPU        string  `json:"cpu"` // model, as the kernel names it
	OS         string  `json:"os"`  // GOOS/GOARCH and kernel release
	Go         string  `json:"go"`
	FileSystem string  `json:"file_system"` // type that the servers' data is on
	FsyncMS    float64 `json:"fsync_ms"`    // median of writing 4 KiB and fsync there, measured before the run
}

// describeMachine looks at this machine and at the file system of dir.
func describeMachine(dir string) (Machine, error) {
	fsync, err := measureFsync(dir)
	if err != nil {
		return Machine{}, err
	}
	cpu, _ := os.ReadFile("/proc/cpuinfo")
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	mounts, _ := os.ReadFile("/proc/self/mounts")
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return Machine{}, err
	}
	return Machine{
		Cores:      runtime.NumCPU(),
		CPU:        cpuModel(string(cpu)),
		OS:         strings.TrimSpace(runtime.GOOS + "/" + runtime.GOARCH + " " + string(release)),
		Go:         runtime.Version(),
		FileSystem: fileSystem(string(mounts), absolute),
		FsyncMS:    milliseconds(fsync),
	}, nil
}

func cpuModel(cpuinfo string) string {
	for line := range strings.Lines(cpuinfo) {
		name, value, _ := strings.Cut(line, ":")
		if strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// fileSystem finds the type of the mount that holds path in the text of /proc/self/mounts; later lines cover earlier ones.
func fileSystem(mounts, path string) string {
	kind, longest := "unknown", 0
	for line := range strings.Lines(mounts) {
		fields := strings.Fields(line)
		if len(fields) < 3 {
			continue
		}
		at := strings.ReplaceAll(fields[1], `\040`, " ")
		inside := path == at || strings.HasPrefix(path, strings.TrimSuffix(at, "/")+"/")
		if inside && len(at) >= longest {
			kind, longest = fields[2], len(at)
		}
	}
	return kind
}

func measureFsync(dir string) (time.Duration, error) {
	file, err := os.CreateTemp(dir, "fsync-*")
	if err != nil {
		return 0, err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	times := make([]time.Duration, 21)
	for i := range times {
		start := time.Now()
		if _, err := file.Write(make([]byte, 4<<10)); err != nil {
			return 0, err
		}
		if err := file.Sync(); err != nil {
			return 0, err
		}
		times[i] = time.Since(start)
	}
	slices.Sort(times)
	return quantile(times, 0.5), nil
}
