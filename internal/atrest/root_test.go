package atrest

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "root.key")
	if err := NewKeyFile(path); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() != keySize {
		t.Fatalf("key file: %v, %v", info, err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("key file has mode %o", info.Mode().Perm())
	}
	first, err := KeyFileRoot(path)
	if err != nil {
		t.Fatal(err)
	}
	wrapped, err := first.Wrap([]byte("a key"), []byte("aad"))
	if err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(path)
	var keyFileErr *KeyFileError
	if err := NewKeyFile(path); !errors.As(err, &keyFileErr) || !errors.Is(err, os.ErrExist) {
		t.Errorf("a key file was made over another: %v", err)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("the key file changed")
	}
	second, err := KeyFileRoot(path)
	if err != nil || second.ID() != first.ID() {
		t.Fatalf("read again: %v, %v", second, err)
	}
	if got, err := second.Unwrap(wrapped, []byte("aad")); err != nil || string(got) != "a key" {
		t.Errorf("unwrapped %q, %v", got, err)
	}
	for i := range wrapped {
		if _, err := second.Unwrap(flipped(wrapped, i), []byte("aad")); !isRefusal(err) {
			t.Errorf("byte %d of the wrapped key flipped: %v", i, err)
		}
		if _, err := second.Unwrap(wrapped[:i], []byte("aad")); !isRefusal(err) {
			t.Errorf("wrapped key cut to %d: %v", i, err)
		}
	}
	if _, err := second.Unwrap(wrapped, []byte("bad")); !errors.Is(err, ErrDamaged) {
		t.Errorf("other aad: %v", err)
	}
}

func TestKeyFileRefusals(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, b []byte, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := pattern(keySize)
	tests := map[string]string{
		write("short", good[:31], 0o600):            "32 bytes",
		write("long", append(good, '\n'), 0o600):    "32 bytes",
		write("empty", nil, 0o600):                  "32 bytes",
		write("zero", make([]byte, keySize), 0o600): "all zero",
		filepath.Join(dir, "missing"):               "cannot be read",
		dir:                                         "not a regular file",
	}
	if runtime.GOOS != "windows" {
		tests[write("group", good, 0o640)] = "chmod 600"
		tests[write("world", good, 0o604)] = "chmod 600"
		tests[write("writable", good, 0o620)] = "chmod 600"
	}
	for path, want := range tests {
		root, err := KeyFileRoot(path)
		var keyFileErr *KeyFileError
		if root != nil || !errors.As(err, &keyFileErr) || keyFileErr.Path != path || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want a KeyFileError with %q", path, err, want)
		}
	}
	if _, err := KeyFileRoot(write("good", good, 0o400)); err != nil {
		t.Errorf("a read-only key file: %v", err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(filepath.Join(dir, "good"), link); err == nil {
		if _, err := KeyFileRoot(link); err != nil {
			t.Errorf("a link to a key file, as secret stores make them: %v", err)
		}
	}
}

func TestWriteFileReplacesWhole(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "RINGS")
	if err := os.WriteFile(path+".tmp", []byte("left by a crash, and longer than what comes"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, content := range []string{"first", "second, longer", "3"} {
		if err := WriteFile(path, []byte(content)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != content {
			t.Fatalf("read %q, %v", got, err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	if info, _ := os.Stat(path); runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %o", info.Mode().Perm())
	}
	if err := WriteFile(filepath.Join(dir, "missing", "RINGS"), nil); err == nil {
		t.Error("written into a missing directory")
	}
}
