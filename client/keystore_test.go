package client

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealmq/sealmq/envelope"
)

var update = flag.Bool("update", false, "write golden files")

// fixedKey returns an epoch key of fixed bytes, built by hand from the table in docs/FORMATS.md of what envelope owns.
func fixedKey(t testing.TB, golden string) *envelope.EpochKey {
	t.Helper()
	b, err := hex.DecodeString(golden)
	if err != nil {
		t.Fatal(err)
	}
	k, err := envelope.ParseEpochKey(b)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func testRing(t testing.TB) *keyring {
	t.Helper()
	b, err := os.ReadFile("testdata/epochkeys.hex")
	if errors.Is(err, os.ErrNotExist) && *update {
		for n := range uint32(2) {
			k, _ := envelope.GenerateEpochKey(n+1, time.Unix(1_800_000_000, 0), time.Unix(1_800_600_000, 0))
			b = append(b, hex.EncodeToString(k.Marshal())+"\n"...)
		}
		os.MkdirAll("testdata", 0o755)
		err = os.WriteFile("testdata/epochkeys.hex", b, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	k := &keyring{mailbox: [16]byte{1, 2, 3}, name: "team.box"}
	for i, line := range strings.Fields(string(b)) {
		k.keys = append(k.keys, ringKey{EpochKey: fixedKey(t, line), published: uint64(1 - i)})
	}
	k.keys[0].replaced = time.UnixMilli(1_800_604_800_123).UTC()
	return k
}

func TestKeyringGolden(t *testing.T) {
	ring := testRing(t)
	got := ring.marshal()
	if *update {
		if err := os.WriteFile("testdata/keyring.hex", []byte(hex.EncodeToString(got)+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/keyring.hex")
	if err != nil {
		t.Fatal(err)
	}
	if hex.EncodeToString(got)+"\n" != string(want) {
		t.Errorf("the bytes of a keyring have changed: %x", got)
	}
	back, err := parseKeyring(got)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(back.marshal(), got) || back.name != ring.name || back.mailbox != ring.mailbox ||
		!back.keys[0].replaced.Equal(ring.keys[0].replaced) || !back.keys[1].replaced.IsZero() ||
		back.keys[0].published != 1 || back.keys[1].published != 0 {
		t.Errorf("read back as %+v", back)
	}
	for n := range got {
		if _, err := parseKeyring(got[:n]); err == nil {
			t.Fatalf("the first %d bytes were taken for a keyring", n)
		}
		flipped := bytes.Clone(got)
		flipped[n] ^= 1
		if _, err := parseKeyring(flipped); err == nil {
			t.Fatalf("byte %d flipped was taken for a keyring", n)
		}
	}
	if _, err := parseKeyring(append(bytes.Clone(got), 0)); err == nil {
		t.Error("one byte more was taken for a keyring")
	}
}

func FuzzKeyring(f *testing.F) {
	f.Add(testRing(f).marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := parseKeyring(b)
		if err == nil && !bytes.Equal(k.marshal(), b) {
			t.Errorf("%x reads back as %x", b, k.marshal())
		}
	})
}

func TestKeyStoreRefusals(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keyring")
	s, err := OpenKeyStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	ring := testRing(t)
	if _, err := s.change(ring.mailbox, "box", func(k *keyring) error { k.keys = ring.keys; return nil }); err != nil {
		t.Fatal(err)
	}
	path := s.file(ring.mailbox)
	fails := func(what string) {
		t.Helper()
		fresh, err := OpenKeyStore(dir)
		if err == nil {
			_, err = fresh.ring(ring.mailbox)
		}
		if err == nil {
			t.Errorf("%s was accepted", what)
		}
	}
	os.Chmod(path, 0o640)
	fails("a file that the group may read")
	os.Chmod(path, 0o600)
	other := [16]byte{9}
	os.Rename(path, s.file(other))
	if _, err := s.ring(other); err == nil {
		t.Error("the keys of another mailbox were accepted")
	}
	os.Rename(s.file(other), path)
	os.Chmod(dir, 0o755)
	fails("a directory that others may enter")
	os.Chmod(dir, 0o700)
	if k, err := s.ring([16]byte{7}); k != nil || err != nil {
		t.Errorf("a mailbox without keys: %v, %v", k, err)
	}
	if _, err := s.change([16]byte{8}, "x", func(*keyring) error { return errors.New("no") }); err == nil {
		t.Error("a failed change succeeded")
	}
	if _, err := os.Stat(s.file([16]byte{8})); err == nil {
		t.Error("a failed change left a file")
	}
	// What a process that died while writing left behind goes with the next change.
	left := unfinished(path)
	os.WriteFile(left, []byte("secret"), 0o600)
	if _, err := s.change(ring.mailbox, "box", func(k *keyring) error { k.keys = k.keys[1:]; return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); err == nil {
		t.Error("a half-written file stays")
	}
	if _, err := s.change(ring.mailbox, "box", func(k *keyring) error { k.keys = nil; return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a keyring without keys keeps its file")
	}
}

// Two stores on one directory, as of two processes: no change is lost and each sees the other's.
func TestKeyStoreIsShared(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keyring")
	mailbox := [16]byte{5}
	var all sync.WaitGroup
	var stores []*KeyStore
	for range 4 {
		s, err := OpenKeyStore(dir)
		if err != nil {
			t.Fatal(err)
		}
		stores = append(stores, s)
		all.Go(func() {
			for range 5 {
				_, err := s.change(mailbox, "box", func(k *keyring) error {
					plan := keyPlan{missing: []epochSpan{{time.Unix(0, 0), time.Unix(3600, 0)}}}
					if n := len(k.keys); n > 0 {
						plan.highest = k.keys[n-1].Number()
					}
					return plan.generate(k)
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	for _, s := range stores {
		ring, err := s.ring(mailbox)
		if err != nil || len(ring.keys) != 20 {
			t.Fatalf("%v", err)
		}
		if low, high, ok := ring.epochs(); low != 1 || high != 20 || !ok {
			t.Errorf("epochs %d to %d", low, high)
		}
	}
}
