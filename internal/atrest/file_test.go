package atrest

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"
)

func TestHeaderBindsEverything(t *testing.T) {
	rings, others := newTestRings(t), newTestRings(t)
	ring := rings.Ring(RingMessages)
	store := NewStoreID(StoreState)
	_, header, err := ring.NewFile(ModeChunk, store, 14, "000001.sst")
	if err != nil {
		t.Fatal(err)
	}
	if len(header) != HeaderSize {
		t.Fatalf("header has %d bytes", len(header))
	}
	if _, err := ring.OpenFile(ModeChunk, store, header, "000001.sst"); err != nil {
		t.Fatal(err)
	}
	sameKind := store
	sameKind[15] ^= 1
	tests := map[string]struct {
		ring  *Ring
		mode  Mode
		store StoreID
		name  string
	}{
		"renamed":        {ring, ModeChunk, store, "000002.sst"},
		"longer name":    {ring, ModeChunk, store, "000001.sst\x00"},
		"foreign store":  {ring, ModeChunk, sameKind, "000001.sst"},
		"other kind":     {ring, ModeChunk, NewStoreID(StoreBodies), "000001.sst"},
		"other mode":     {ring, ModeFrame, store, "000001.sst"},
		"other ring":     {rings.Ring(RingKeys), ModeChunk, store, "000001.sst"},
		"other key file": {others.Ring(RingMessages), ModeChunk, store, "000001.sst"},
	}
	for name, tt := range tests {
		if _, err := tt.ring.OpenFile(tt.mode, tt.store, header, tt.name); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v, want ErrDamaged", name, err)
		}
	}
	for i := range header {
		if _, err := ring.OpenFile(ModeChunk, store, flipped(header, i), "000001.sst"); !isRefusal(err) {
			t.Errorf("byte %d flipped: %v", i, err)
		}
		if _, err := ring.OpenFile(ModeChunk, store, header[:i], "000001.sst"); !errors.Is(err, ErrDamaged) {
			t.Errorf("cut to %d bytes: %v", i, err)
		}
	}
	for _, at := range []int{4, 6} {
		if _, err := ring.OpenFile(ModeChunk, store, flipped(header, at), "000001.sst"); !errors.Is(err, ErrVersion) {
			t.Errorf("version or suite at %d changed: %v, want ErrVersion", at, err)
		}
	}
}

// A data key of another cluster that has the same id must be told apart by the commitment.
func TestKeyCommitment(t *testing.T) {
	ring, other := newTestRings(t).Ring(RingKeys), newTestRings(t).Ring(RingKeys)
	store := NewStoreID(StoreKeys)
	_, header, err := ring.NewFile(ModeFrame, store, 16, "000004.log")
	if err != nil {
		t.Fatal(err)
	}
	impostor := *ring.keys.Load()
	impostor[0].secret = other.active().secret
	_, err = newRing(RingKeys, impostor).OpenFile(ModeFrame, store, header, "000004.log")
	if !errors.Is(err, ErrDamaged) {
		t.Fatalf("another key under the same id: %v, want ErrDamaged", err)
	}
}

func TestNewFileRefusesBadShapes(t *testing.T) {
	ring := newTestRings(t).Ring(RingJournal)
	for _, tt := range []struct {
		mode Mode
		log2 uint8
	}{
		{0, 14}, {5, 14}, {ModeChunk, 0}, {ModeChunk, 8}, {ModeChunk, 23}, {ModeFrame, 200}, {ModeJournal, 0},
		{ModeRecord, 14},
	} {
		if _, _, err := ring.NewFile(tt.mode, NewStoreID(StoreJournal), tt.log2, "x"); err == nil {
			t.Errorf("mode %d with chunks of 2^%d was accepted", tt.mode, tt.log2)
		}
	}
	f, _, err := ring.NewFile(ModeJournal, NewStoreID(StoreJournal), 15, "x")
	if err != nil || f.ChunkBytes() != 32<<10 {
		t.Fatalf("a journal file with chunks of 2^15: %v, %v", f, err)
	}
}

func TestSealIsBoundToItsPlace(t *testing.T) {
	f, _ := newTestFile(t, ModeJournal, 15)
	plaintext, aad := []byte("some plaintext that is longer than a block"), []byte("place 7")
	sealed := f.Seal([]byte("prefix"), plaintext, aad)[len("prefix"):]
	if len(sealed) != len(plaintext)+Overhead {
		t.Fatalf("%d bytes sealed to %d", len(plaintext), len(sealed))
	}
	got, err := f.Open([]byte("before "), sealed, aad)
	if err != nil || string(got) != "before "+string(plaintext) {
		t.Fatalf("opened %q, %v", got, err)
	}
	refused := func(what string, sealed, aad []byte) {
		t.Helper()
		if got, err := f.Open(nil, sealed, aad); !errors.Is(err, ErrDamaged) || got != nil {
			t.Errorf("%s: %q, %v", what, got, err)
		}
	}
	for i := range sealed {
		refused(fmt.Sprintf("byte %d flipped", i), flipped(sealed, i), aad)
		refused(fmt.Sprintf("cut to %d", i), sealed[:i], aad)
		refused(fmt.Sprintf("cut from %d", i+1), sealed[i+1:], aad)
	}
	refused("one byte more", append(bytes.Clone(sealed), 0), aad)
	refused("other place", sealed, []byte("place 8"))
	refused("no place", sealed, nil)
	other, _ := newTestFile(t, ModeJournal, 15)
	if _, err := other.Open(nil, sealed, aad); !errors.Is(err, ErrDamaged) {
		t.Errorf("another file's key: %v", err)
	}
}

// Nothing may ever be sealed twice under one key and nonce: not the same bytes twice, not a file made anew.
func TestNoncesAndKeysAreFresh(t *testing.T) {
	ring := newTestRings(t).Ring(RingMessages)
	store := NewStoreID(StoreState)
	nonces, salts := map[string]bool{}, map[string]bool{}
	for range 50 {
		f, header, err := ring.NewFile(ModeChunk, store, 14, "000001.sst")
		if err != nil {
			t.Fatal(err)
		}
		salts[string(header[32:64])] = true
		for range 50 {
			nonces[string(f.Seal(nil, []byte("x"), nil)[:nonceSize])] = true
		}
	}
	if len(nonces) != 2500 || len(salts) != 50 {
		t.Fatalf("2500 seals under 50 files used %d nonces and %d salts", len(nonces), len(salts))
	}
}

func TestRecord(t *testing.T) {
	ring := newTestRings(t).Ring(RingKeys)
	store := NewStoreID(StoreNode)
	for _, n := range []int{0, 1, 100, 5000} {
		file, err := ring.SealRecord(store, "NODE", pattern(n))
		if err != nil {
			t.Fatal(err)
		}
		got, err := ring.OpenRecord(store, "NODE", file)
		if err != nil || !bytes.Equal(got, pattern(n)) {
			t.Fatalf("record of %d bytes: %v", n, err)
		}
		for i := range file {
			if _, err := ring.OpenRecord(store, "NODE", flipped(file, i)); !isRefusal(err) {
				t.Fatalf("byte %d of %d flipped: %v", i, len(file), err)
			}
			if _, err := ring.OpenRecord(store, "NODE", file[:i]); !errors.Is(err, ErrDamaged) {
				t.Fatalf("cut to %d of %d: %v", i, len(file), err)
			}
		}
		if _, err := ring.OpenRecord(store, "NODE", append(bytes.Clone(file), 0)); !errors.Is(err, ErrDamaged) {
			t.Fatalf("one byte more: %v", err)
		}
	}
}

// A Ring must serve new and old files while it is rotated; the race detector watches.
func TestRingIsSafeForConcurrentUse(t *testing.T) {
	rings := newTestRings(t)
	ring := rings.Ring(RingJournal)
	store := NewStoreID(StoreJournal)
	f, _, err := ring.NewFile(ModeJournal, store, 15, "shared")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 50 {
				name := fmt.Sprintf("%d-%d", g, i)
				_, header, err := ring.NewFile(ModeJournal, store, 15, name)
				if err == nil {
					_, err = ring.OpenFile(ModeJournal, store, header, name)
				}
				if err != nil {
					t.Error(err)
				}
				if _, err := f.Open(nil, f.Seal(nil, []byte(name), nil), nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 20 {
		if err := rings.Rotate(RingJournal, func([]byte) error { return nil }); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
}
