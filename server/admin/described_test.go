package admin_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"kvd/server"
	"kvd/server/admin"
)

// The package documentation describes every metric, and no other.
func TestEveryMetricIsDescribed(t *testing.T) {
	m := admin.NewMetrics("", "")
	m.Connections("line", func() int { return 0 })
	m.Admissions("line", func() server.Counts { return server.Counts{} })
	m.Logins(func() server.LoginCounts { return server.LoginCounts{} })
	m.Certificate(time.Now)
	m.Space(func() admin.Space { return admin.Space{Total: 1} })
	m.Files(func() (int, int) { return 0, 0 })
	m.Clock(func() time.Duration { return 0 }, func() time.Duration { return 0 })
	m.Describe(openStore(t, m))
	s := start(t, admin.Options{Metrics: m})
	_, text := s.get("/metrics")

	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	described := map[string]bool{}
	for _, name := range regexp.MustCompile(`(?m)^//\t(kvd_[a-z_]+)`).FindAllStringSubmatch(string(doc), -1) {
		described[name[1]] = true
	}
	for _, name := range regexp.MustCompile(`(?m)^# TYPE (kvd_[a-z_]+)`).FindAllStringSubmatch(text, -1) {
		if !described[name[1]] {
			t.Errorf("doc.go does not describe %s", name[1])
		}
	}
	var source strings.Builder // a counter of a bucket that is zero is not shown
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		code, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		source.Write(code)
	}
	for name := range described {
		if !strings.Contains(source.String(), `"`+name+`"`) {
			t.Errorf("doc.go describes %s, which is not made", name)
		}
	}
}
