package atrest

import (
	"bytes"
	"crypto/fips140"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
)

var update = flag.Bool("update", false, "write the golden vectors again")

// vectorStore is the store id of all vectors.
var vectorStore = StoreID{byte(StoreState), 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}

// makeVectors builds one file of every format from a fixed source of randomness.
func makeVectors(t *testing.T) map[string][]byte {
	cryptotest.SetGlobalRandom(t, 1)
	keyPath := filepath.Join(t.TempDir(), "root.key")
	if err := NewKeyFile(keyPath); err != nil {
		t.Fatal(err)
	}
	root, err := KeyFileRoot(keyPath)
	if err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(keyPath)
	if err != nil {
		t.Fatal(err)
	}
	rings, err := NewRings(root)
	if err != nil {
		t.Fatal(err)
	}
	vectors := map[string][]byte{"root-key": key, "rings": marshal(t, rings)}

	vectors["record"], err = rings.Ring(RingKeys).SealRecord(vectorStore, "NODE", []byte("a record"))
	if err != nil {
		t.Fatal(err)
	}
	f, header, err := rings.Ring(RingMessages).NewFile(ModeChunk, vectorStore, 9, "000007.sst")
	if err != nil {
		t.Fatal(err)
	}
	vectors["chunk"] = writeChunks(t, f, header, pattern(900), 300)
	f, header, err = rings.Ring(RingMessages).NewFile(ModeFrame, vectorStore, 16, "MANIFEST-000001")
	if err != nil {
		t.Fatal(err)
	}
	frames := startFrameFile(t, f, header)
	frames.write(t, 20)
	frames.synced(t)
	frames.write(t, 30)
	frames.finish(t)
	vectors["frame"] = frames.disk.b
	f, header, err = rings.Ring(RingJournal).NewFile(ModeJournal, vectorStore, 15, "000001.seg")
	if err != nil {
		t.Fatal(err)
	}
	vectors["journal"] = f.Seal(header, []byte("journal bytes"), []byte("place"))
	sub, err := NewSubKey([32]byte(key), [16]byte{1, 2, 3}, "purpose")
	if err != nil {
		t.Fatal(err)
	}
	vectors["subkey"] = sub.Seal(nil, []byte("sub-key bytes"), []byte("place"))
	return vectors
}

// The bytes of version 1 must never change. If this fails, the format changed: it needs a new version, not new vectors.
func TestVectors(t *testing.T) {
	if fips140.Version() == "v1.0.0" {
		t.Skip("this cryptographic module does not take a fixed source of randomness")
	}
	// In a bubble the clock stands at a fixed time, which data keys record.
	synctest.Test(t, func(t *testing.T) {
		for name, got := range makeVectors(t) {
			path := filepath.Join("testdata", name+".hex")
			if *update {
				if err := os.WriteFile(path, []byte(wrapHex(got)), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if want := readVector(t, name); !bytes.Equal(got, want) {
				t.Errorf("%s: made %x\nwant %x", name, got, want)
			}
		}
	})
}

func wrapHex(b []byte) string {
	var s strings.Builder
	for len(b) > 0 {
		n := min(len(b), 32)
		s.WriteString(hex.EncodeToString(b[:n]) + "\n")
		b = b[n:]
	}
	return s.String()
}

func readVector(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".hex"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.ReplaceAll(string(text), "\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The package reads its own vectors back.
func TestVectorsOpen(t *testing.T) {
	root := vectorRoot(t)
	rings, err := OpenRings(readVector(t, "rings"), root)
	if err != nil {
		t.Fatal(err)
	}
	record, err := rings.Ring(RingKeys).OpenRecord(vectorStore, "NODE", readVector(t, "record"))
	if err != nil || string(record) != "a record" {
		t.Errorf("record: %q, %v", record, err)
	}
	open := func(name string, mode Mode, base string) (*File, []byte) {
		b := readVector(t, name)
		ring := rings.Ring(RingMessages)
		if mode == ModeJournal {
			ring = rings.Ring(RingJournal)
		}
		f, err := ring.OpenFile(mode, vectorStore, b[:HeaderSize], base)
		if err != nil {
			t.Fatal(err)
		}
		return f, b
	}
	f, b := open("chunk", ModeChunk, "000007.sst")
	if got, err := readChunks(f, b); err != nil || !bytes.Equal(got, pattern(900)) {
		t.Errorf("chunk: %d bytes, %v", len(got), err)
	}
	f, b = open("frame", ModeFrame, "MANIFEST-000001")
	s, err := ScanFrames(f, bytes.NewReader(b), func() (int64, error) { return int64(len(b)), nil })
	if err != nil || !s.Final() || s.Size() != 50 {
		t.Errorf("frame: %v", err)
	}
	f, b = open("journal", ModeJournal, "000001.seg")
	if got, err := f.Open(nil, b[HeaderSize:], []byte("place")); err != nil || string(got) != "journal bytes" {
		t.Errorf("journal: %q, %v", got, err)
	}
}

func vectorRoot(t *testing.T) Root {
	path := filepath.Join(t.TempDir(), "root.key")
	if err := os.WriteFile(path, readVector(t, "root-key"), 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := KeyFileRoot(path)
	if err != nil {
		t.Fatal(err)
	}
	return root
}
