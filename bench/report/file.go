package report

import (
	"io"
	"os"
)

// WriteFile makes or replaces a file with what content writes. It returns the first error,
// that of closing included.
func WriteFile(name string, content func(io.Writer) error) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	if err := content(f); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
