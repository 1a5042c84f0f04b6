//go:build !windows

package atrest

import (
	"path/filepath"
	"syscall"
	"testing"
)

// Opening a pipe waits for a writer, so it must be refused before it is opened.
func TestKeyFileIsNotAPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Skip(err)
	}
	if _, err := KeyFileRoot(path); err == nil {
		t.Error("a pipe was read as a key file")
	}
}
