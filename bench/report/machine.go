package report

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// machine tells what this machine is: processors, memory, kernel, Go.
func machine() (string, error) {
	memory, err := field("/proc/meminfo", "MemTotal")
	if err != nil {
		return "", err
	}
	kib, err := strconv.Atoi(strings.TrimSuffix(memory, " kB"))
	if err != nil {
		return "", err
	}
	model, err := field("/proc/cpuinfo", "model name")
	if err != nil {
		model = runtime.GOARCH
	}
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "", err
	}
	release, _, _ := strings.Cut(strings.TrimSpace(string(kernel)), "-")
	return fmt.Sprintf("%d × %s, %d GiB, Linux %s, %s", runtime.NumCPU(), model, (kib+1<<19)>>20, release, runtime.Version()), nil
}

// field returns the first value of a name in a file of lines "name: value".
func field(file, name string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		if n, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(n) == name {
			return strings.TrimSpace(value), nil
		}
	}
	return "", fmt.Errorf("%s has no %q", file, name)
}

// loadAverage returns the load average of the last minute.
func loadAverage() (float64, error) {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(text), " ")
	return strconv.ParseFloat(first, 64)
}
