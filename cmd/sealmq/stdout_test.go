//go:build unix

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestWasClosed tells a stream that the runtime opened in the place of a closed one from one that is thrown away on
// purpose, and from every other.
func TestWasClosed(t *testing.T) {
	open := func(path string, flags int) *os.File {
		f, err := os.OpenFile(path, flags, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	file := filepath.Join(t.TempDir(), "file")
	gone := open(file, os.O_RDWR|os.O_CREATE)
	for _, tt := range []struct {
		name string
		f    *os.File
		want bool
	}{
		{"the null device for both", open(os.DevNull, os.O_RDWR), true},
		{"the null device for writing", open(os.DevNull, os.O_WRONLY), false},
		{"another device", open("/dev/zero", os.O_RDWR), false},
		{"a file", gone, false},
	} {
		if got := wasClosed(tt.f); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
	if wasClosed(new(bytes.Buffer)) {
		t.Error("a buffer counts as closed")
	}
}
