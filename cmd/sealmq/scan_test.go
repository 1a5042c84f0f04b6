package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestScanFindsEveryForm plants a string in noise in each form and at many offsets, so that it also lies across the
// border of two windows.
func TestScanFindsEveryForm(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	secret := []byte("\x00\x00\x00\x00\x00\x00\x00\x00\x00the quick brown fox, 32")
	forms := map[string][]byte{
		"raw": secret, "hex": []byte(hex.EncodeToString(secret)), "HEX": []byte(strings.ToUpper(hex.EncodeToString(secret))),
	}
	for align := range 3 {
		around := append(noise(random, align), append(bytes.Clone(secret), noise(random, 5)...)...)
		forms["base64 "+string(rune('0'+align))] = []byte(base64.StdEncoding.EncodeToString(around))
		forms["base64url "+string(rune('0'+align))] = []byte(base64.RawURLEncoding.EncodeToString(around))
	}
	for name, form := range forms {
		const window = 64 << 10
		for _, at := range []int{0, 1, 100, window - 1, window - len(form) + 1, window, 2*window - 7} {
			data := noise(random, 2*window+200)
			clear(data[len(data)/2 : len(data)/2+4096]) // preallocated space
			copy(data[at:], form)
			file := filepath.Join(t.TempDir(), "segment")
			if err := os.WriteFile(file, data, 0o600); err != nil {
				t.Fatal(err)
			}
			s := newScanner()
			s.window = window
			s.plant("secret", secret)
			hits, scanned, err := s.trees(filepath.Dir(file))
			if err != nil || scanned != int64(len(data)) {
				t.Fatalf("%s at %d: scanned %d of %d bytes, %v", name, at, scanned, len(data), err)
			}
			if len(hits) != 1 {
				t.Errorf("%s at %d: found %d times: %v", name, at, len(hits), hits)
			}
		}
	}
}

func TestScanFindsNothingInNoise(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	s := newScanner()
	for range 1000 {
		s.plant("secret", noise(random, 32))
	}
	s.plant("almost zero", append(make([]byte, 20), []byte("0123456789ab")...))
	dir := t.TempDir()
	data := append(noise(random, 1<<20), make([]byte, 1<<20)...)
	if err := os.WriteFile(filepath.Join(dir, "f"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	if hits, _, err := s.trees(dir); err != nil || len(hits) != 0 {
		t.Fatalf("%v, %v", hits, err)
	}
}

func TestScanFindsFileNames(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "team.secret-mailbox.row"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := newScanner()
	s.plant("mailbox name", []byte("team.secret-mailbox"))
	if hits, _, err := s.trees(dir); err != nil || len(hits) != 1 {
		t.Fatalf("%v, %v", hits, err)
	}
}

func noise(random *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	return b
}

func BenchmarkScan(b *testing.B) {
	random := rand.New(rand.NewPCG(5, 6))
	s := newScanner()
	for range 2000 {
		s.plant("secret", noise(random, 32))
	}
	s.prepare()
	data := noise(random, 32<<20)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if len(s.look(data, 0, len(data))) != 0 {
			b.Fatal("found noise in noise")
		}
	}
}
