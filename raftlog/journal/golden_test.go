package journal_test

import (
	"bytes"
	"crypto/fips140"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/cryptotest"
	"testing/synctest"

	"github.com/sealmq/sealmq/internal/atrest"
	"github.com/sealmq/sealmq/internal/testkit"
	"github.com/sealmq/sealmq/raftlog/journal"
)

var update = flag.Bool("update", false, "write the golden files anew")

const (
	goldenPath    = "testdata/journal.golden"
	goldenSegment = "0000000000000002.seg"
)

var goldenStore = atrest.StoreID{byte(atrest.StoreJournal), 15: 0xaa}

// golden is a journal's files with the ring file that opens them, as "name hex" lines.
type golden map[string][]byte

func readGolden(t *testing.T) golden {
	t.Helper()
	text, err := os.ReadFile(goldenPath)
	if err != nil {
		t.Fatal(err)
	}
	g := golden{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if g[name], err = hex.DecodeString(value); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

// makeGolden writes a small journal with every kind of record under fixed randomness and time.
func makeGolden(t *testing.T) golden {
	t.Helper()
	cryptotest.SetGlobalRandom(t, 7420)
	rings, err := atrest.NewRings(plainRoot{})
	if err != nil {
		t.Fatal(err)
	}
	files := testkit.NewCrashFS()
	o := journal.Options{Dir: "/j", FS: files, Ring: rings.Ring(atrest.RingJournal), Store: goldenStore,
		SegmentBytes: 64 << 10, SpareSegments: -1}
	j := openNew(t, o)
	for _, err := range []error{
		j.Group(1).SetVote(3, "n2"),
		j.Group(1).Append([]journal.Entry{{Index: 5, Term: 3, Kind: 1, Data: []byte("five")}, {Index: 6, Term: 3}}),
		j.Group(1).TruncateSuffix(6),
		j.Group(2).SetInstalling(9, 2),
		j.Group(2).SetBase(10, 2),
		j.Group(2).SetInstalling(0, 0),
		j.Group(2).Append([]journal.Entry{{Index: 10, Term: 4, Data: []byte("ten")}}),
		j.Close(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	g := golden{}
	if g["rings"], err = rings.Marshal(); err != nil {
		t.Fatal(err)
	}
	names, err := files.List("/j")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		b, err := files.ReadFile(filepath.Join("/j", name))
		if err != nil {
			t.Fatal(err)
		}
		g[name] = bytes.TrimRight(b, "\x00")
		if name == "mark" {
			g[name] = b
		}
	}
	return g
}

// The same calls under the same randomness give the same bytes.
func TestGoldenBytes(t *testing.T) {
	if fips140.Version() == "v1.0.0" {
		t.Skip("this module takes no fixed randomness")
	}
	synctest.Test(t, func(t *testing.T) {
		made := makeGolden(t)
		if *update {
			var text strings.Builder
			for _, name := range []string{"rings", "mark", "0000000000000001.seg", goldenSegment} {
				fmt.Fprintf(&text, "%s %x\n", name, made[name])
			}
			if err := os.WriteFile(goldenPath, []byte(text.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want := readGolden(t)
		if len(made) != len(want) {
			t.Errorf("%d files, want %d", len(made), len(want))
		}
		for name, b := range want {
			if !bytes.Equal(made[name], b) {
				t.Errorf("%s is not as it was: %x", name, made[name])
			}
		}
	})
}

// The golden journal opens, whatever wrote it.
func TestGoldenOpens(t *testing.T) {
	g := readGolden(t)
	rings, err := atrest.OpenRings(g["rings"], plainRoot{})
	if err != nil {
		t.Fatal(err)
	}
	files := testkit.NewCrashFS()
	if err := files.MkdirAll("/j"); err != nil {
		t.Fatal(err)
	}
	for name, b := range g {
		if name == "rings" {
			continue
		}
		// Trailing zeros were left out: give the padding back.
		b = append(b, make([]byte, (512-len(b)%512)%512)...)
		if err := files.WriteFile(filepath.Join("/j", name), b); err != nil {
			t.Fatal(err)
		}
	}
	o := journal.Options{Dir: "/j", FS: files, Ring: rings.Ring(atrest.RingJournal), Store: goldenStore,
		SegmentBytes: 64 << 10, SpareSegments: -1}
	j, err := journal.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	one := model{base: 1, term: 3, voteTerm: 3, candidate: "n2",
		entries: []journal.Entry{{Index: 5, Term: 3, Kind: 1, Data: []byte("five")}}}
	two := model{base: 10, baseTerm: 2, entries: []journal.Entry{{Index: 10, Term: 4, Data: []byte("ten")}}}
	if err := one.differs(j.Group(1)); err != nil {
		t.Errorf("group 1: %v", err)
	}
	if err := two.differs(j.Group(2)); err != nil {
		t.Errorf("group 2: %v", err)
	}
}

// A second reader, written from the tables alone, finds the same in the golden segment.
func TestGoldenByHand(t *testing.T) {
	g := readGolden(t)
	rings, err := atrest.OpenRings(g["rings"], plainRoot{})
	if err != nil {
		t.Fatal(err)
	}
	b := append(g[goldenSegment], make([]byte, 512)...)
	sealed, err := rings.Ring(atrest.RingJournal).OpenFile(atrest.ModeJournal, goldenStore, b[:128], goldenSegment)
	if err != nil {
		t.Fatal(err)
	}
	label := "sealmq/journal-chunk/v1"
	var kinds []byte
	var before []byte
	for at := 512; at+32 <= len(b) && string(b[at:at+4]) == "SJ\x01\x01"; {
		header := b[at : at+32]
		n := int(binary.BigEndian.Uint32(header[4:]))
		if place := binary.BigEndian.Uint32(header[8:]); place != uint32(at) {
			t.Errorf("chunk at %d says %d", at, place)
		}
		if durable := binary.BigEndian.Uint32(header[12:]); durable != uint32(at) {
			t.Errorf("chunk at %d, a flush of its own, states the durable point %d", at, durable)
		}
		if before != nil && !bytes.Equal(header[16:], before) {
			t.Errorf("chunk at %d was not written after the one before it", at)
		}
		aad := append([]byte{0, byte(len(label))}, label...)
		aad = append(aad, 0, 1, 0, 0, 0, 32)
		plain, err := sealed.Open(nil, b[at+32:at+32+12+n+16], append(aad, header...))
		if err != nil {
			t.Fatalf("chunk at %d: %v", at, err)
		}
		kinds = append(kinds, plain[0])
		if bytes.Contains(plain, []byte("five")) {
			want := "\x01" + "\x00\x01" + "\x00\x00\x00\x00\x00\x00\x00\x05" + "\x00\x00\x00\x00\x00\x00\x00\x03" +
				"\x01" + "\x00\x00\x00\x04" + "five" +
				"\x01" + "\x00\x01" + "\x00\x00\x00\x00\x00\x00\x00\x06" + "\x00\x00\x00\x00\x00\x00\x00\x03" +
				"\x00" + "\x00\x00\x00\x00"
			if string(plain) != want {
				t.Errorf("the entries are %x", plain)
			}
		}
		before = b[at+32+12+n : at+32+12+n+16]
		at += (32 + 12 + n + 16 + 511) / 512 * 512
	}
	if want := []byte{6, 2, 1, 3, 5, 4, 5, 1, 7}; !bytes.Equal(kinds, want) {
		t.Errorf("the chunks begin with records of kinds %d, want %d", kinds, want)
	}
}
