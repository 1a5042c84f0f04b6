package atrest

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sealmq/sealmq/internal/codec"
)

func marshal(t *testing.T, r *Rings) []byte {
	t.Helper()
	b, err := r.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// resum puts the right digest at the end again, as whoever edits a ring file on purpose would.
func resum(file []byte) []byte {
	body := bytes.Clone(file[:len(file)-sha256.Size])
	digest := sha256.Sum256(body)
	return append(body, digest[:]...)
}

func TestRingsRoundTrip(t *testing.T) {
	root := newTestRoot(t)
	rings, err := NewRings(root)
	if err != nil {
		t.Fatal(err)
	}
	file := marshal(t, rings)
	if bytes.Equal(file, marshal(t, rings)) {
		t.Error("two ring files of the same rings are equal: salt or nonce was used again")
	}
	again, err := OpenRings(file, root)
	if err != nil {
		t.Fatal(err)
	}
	if again.id != rings.id || again.Generation() != rings.Generation() {
		t.Error("id or generation came back different")
	}
	for _, kind := range ringKinds {
		record, err := rings.Ring(kind).SealRecord(NewStoreID(StoreNode), "x", []byte("y"))
		if err != nil {
			t.Fatal(err)
		}
		h, _ := ParseHeader(record)
		if RingKind(h.Key[0]) != kind {
			t.Errorf("key id %s does not start with ring kind %d", h.Key, kind)
		}
		if _, err := again.Ring(kind).OpenRecord(h.Store, "x", record); err != nil {
			t.Errorf("%s ring after reopening: %v", kind, err)
		}
	}
	if rings.Ring(0) != nil || rings.Ring(4) != nil {
		t.Error("there is a ring of an unknown kind")
	}
}

// The three ways to fail must stay apart: an operator who gave the wrong key must not be told that the disk is bad, nor
// the other way round.
func TestWrongKeyIsNotDamage(t *testing.T) {
	root, other := newTestRoot(t), newTestRoot(t)
	rings, err := NewRings(root)
	if err != nil {
		t.Fatal(err)
	}
	file := marshal(t, rings)
	if _, err := OpenRings(file, other); !errors.Is(err, ErrWrongKey) || errors.Is(err, ErrDamaged) {
		t.Errorf("wrong key: %v", err)
	} else if !strings.Contains(err.Error(), root.ID()) || !strings.Contains(err.Error(), other.ID()) {
		t.Errorf("the error names not both keys: %v", err)
	}
	for _, key := range []Root{root, other} {
		for i := range file {
			if _, err := OpenRings(flipped(file, i), key); !errors.Is(err, ErrDamaged) {
				t.Fatalf("byte %d flipped, opened with %s: %v, want ErrDamaged", i, key.ID(), err)
			}
			if _, err := OpenRings(file[:i], key); !errors.Is(err, ErrDamaged) {
				t.Fatalf("cut to %d, opened with %s: %v, want ErrDamaged", i, key.ID(), err)
			}
		}
		if _, err := OpenRings(append(bytes.Clone(file), 0), key); !errors.Is(err, ErrDamaged) {
			t.Fatalf("one byte more: %v", err)
		}
	}
	newer := bytes.Clone(file)
	newer[4]++
	if _, err := OpenRings(resum(newer), root); !errors.Is(err, ErrVersion) {
		t.Errorf("version 2: %v, want ErrVersion", err)
	}
	kdf := bytes.Replace(file, []byte("hkdf-sha256"), []byte("hkdf-sha512"), 1)
	if _, err := OpenRings(resum(kdf), root); !errors.Is(err, ErrVersion) {
		t.Errorf("another key derivation: %v, want ErrVersion", err)
	}
}

// With its digest put right again, no changed byte may get through either.
func TestRingsAreAuthenticated(t *testing.T) {
	root := newTestRoot(t)
	rings, err := NewRings(root)
	if err != nil {
		t.Fatal(err)
	}
	if err := rings.AddRoot(newTestRoot(t)); err != nil {
		t.Fatal(err)
	}
	file := marshal(t, rings)
	for i := range len(file) - sha256.Size {
		if _, err := OpenRings(resum(flipped(file, i)), root); err == nil {
			t.Fatalf("byte %d of %d flipped: opened", i, len(file))
		}
	}
	// The sealed keys of one generation must not go into the file of another.
	before := marshal(t, rings)
	rings.generation++
	after := marshal(t, rings)
	if len(before) != len(after) {
		t.Fatal("ring files differ in length")
	}
	tail := bytes.Index(after, rings.wraps[1].wrapped) + len(rings.wraps[1].wrapped)
	if _, err := OpenRings(resum(append(bytes.Clone(after[:tail]), before[tail:]...)), root); !errors.Is(err, ErrDamaged) {
		t.Errorf("keys of another generation: %v", err)
	}
}

func TestRootsAreRotatedByRewritingTheRingFile(t *testing.T) {
	first, second, third := newTestRoot(t), newTestRoot(t), newTestRoot(t)
	rings, err := NewRings(first)
	if err != nil {
		t.Fatal(err)
	}
	record, err := rings.Ring(RingKeys).SealRecord(NewStoreID(StoreNode), "NODE", []byte("kept"))
	if err != nil {
		t.Fatal(err)
	}
	opensOnlyWith := func(file []byte, good ...Root) {
		t.Helper()
		for _, root := range []Root{first, second, third} {
			want := false
			for _, g := range good {
				want = want || g == root
			}
			got, err := OpenRings(file, root)
			if want != (err == nil) || err != nil && !errors.Is(err, ErrWrongKey) {
				t.Errorf("%s: %v, want it to open: %v", root.ID(), err, want)
			}
			if err == nil {
				h, _ := ParseHeader(record)
				if b, err := got.Ring(RingKeys).OpenRecord(h.Store, "NODE", record); err != nil || string(b) != "kept" {
					t.Errorf("a file sealed before: %q, %v", b, err)
				}
			}
		}
	}
	opensOnlyWith(marshal(t, rings), first)
	if err := rings.AddRoot(second); err != nil {
		t.Fatal(err)
	}
	if err := rings.AddRoot(second); err == nil {
		t.Error("a root was added twice")
	}
	opensOnlyWith(marshal(t, rings), first, second)
	old := rings.kek
	if err := rings.SetRoots(second, third); err != nil {
		t.Fatal(err)
	}
	if *rings.kek.key == *old.key {
		t.Error("SetRoots kept the key-encryption key: who has the old file and root would still open the new one")
	}
	opensOnlyWith(marshal(t, rings), second, third)
	if err := rings.SetRoots(); err == nil {
		t.Error("a ring file without a root was accepted")
	}
	if err := rings.SetRoots(first, first); err == nil {
		t.Error("the same root twice was accepted")
	}
	if rings.Generation() != 3 {
		t.Errorf("generation %d after two changes", rings.Generation())
	}
}

func TestRotateActivatesOnlyWhatIsPersisted(t *testing.T) {
	root := newTestRoot(t)
	rings, err := NewRings(root)
	if err != nil {
		t.Fatal(err)
	}
	ring := rings.Ring(RingMessages)
	store := NewStoreID(StoreState)
	before, _ := ring.Active()
	oldFile, err := ring.SealRecord(store, "x", []byte("old"))
	if err != nil {
		t.Fatal(err)
	}
	full := errors.New("disk full")
	if err := rings.Rotate(RingMessages, func([]byte) error { return full }); !errors.Is(err, full) {
		t.Fatalf("failed rotation: %v", err)
	}
	if now, _ := ring.Active(); now != before || rings.Generation() != 1 {
		t.Fatal("a key that was not persisted is in use")
	}
	var file []byte
	err = rings.Rotate(RingMessages, func(b []byte) error {
		file = b
		if now, _ := ring.Active(); now != before {
			t.Error("the new key is in use before it is persisted")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	after, _ := ring.Active()
	if after == before {
		t.Fatal("rotation kept the active key")
	}
	newFile, err := ring.SealRecord(store, "x", []byte("new"))
	if err != nil {
		t.Fatal(err)
	}
	reopened, err := OpenRings(file, root)
	if err != nil {
		t.Fatal(err)
	}
	for want, record := range map[string][]byte{"old": oldFile, "new": newFile} {
		if got, err := reopened.Ring(RingMessages).OpenRecord(store, "x", record); err != nil || string(got) != want {
			t.Errorf("file of the %s key: %q, %v", want, got, err)
		}
	}
	if now, _ := reopened.Ring(RingMessages).Active(); now != after {
		t.Error("another key is active after reopening")
	}
	if err := rings.Rotate(9, nil); err == nil {
		t.Error("an unknown ring was rotated")
	}
}

// fixedRoot unwraps to what it is told.
type fixedRoot struct{ unwrapped []byte }

func (fixedRoot) ID() string                             { return "fixed" }
func (fixedRoot) Wrap(key, aad []byte) ([]byte, error)   { return []byte("wrapped"), nil }
func (r fixedRoot) Unwrap(w, aad []byte) ([]byte, error) { return bytes.Clone(r.unwrapped), nil }

func TestZeroKeysAreRefused(t *testing.T) {
	rings, err := NewRings(fixedRoot{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenRings(marshal(t, rings), fixedRoot{rings.kek.bytes()}); err != nil {
		t.Fatal(err)
	}
	zero := make([]byte, keySize)
	clear(rings.kek.bytes())
	for _, unwrapped := range [][]byte{zero, zero[:31], nil} {
		if _, err := OpenRings(marshal(t, rings), fixedRoot{unwrapped}); !errors.Is(err, ErrDamaged) {
			t.Errorf("key-encryption key %x: %v", unwrapped, err)
		}
	}
	rings.kek = newSecret()
	(*rings.Ring(RingKeys).keys.Load())[0].secret = &secret{key: new([keySize]byte)}
	if _, err := OpenRings(marshal(t, rings), fixedRoot{rings.kek.bytes()}); !errors.Is(err, ErrDamaged) {
		t.Errorf("zero data key: %v", err)
	}
}

func TestKeysAreNeverPrinted(t *testing.T) {
	root := newTestRoot(t)
	rings, err := NewRings(root)
	if err != nil {
		t.Fatal(err)
	}
	ring := rings.Ring(RingJournal)
	file, header, err := ring.NewFile(ModeJournal, NewStoreID(StoreJournal), 15, "x")
	if err != nil {
		t.Fatal(err)
	}
	info := codec.PAE("sealmq/file/v1", header[:64], []byte("x"))
	fileKey, err := hkdf.Key(sha256.New, ring.active().secret.bytes(), header[32:64], string(info), keySize)
	if err != nil {
		t.Fatal(err)
	}
	var forms []string
	for _, s := range [][]byte{root.(*keyFile).key.bytes(), rings.kek.bytes(), ring.active().secret.bytes(), fileKey} {
		forms = append(forms, string(s[:6]), fmt.Sprintf("%x", s[:6]), fmt.Sprintf("%X", s[:6]),
			strings.Trim(fmt.Sprint(s[:6]), "[]"), fmt.Sprintf("%#x, %#x, %#x", s[0], s[1], s[2]),
			strings.Trim(fmt.Sprintf("%q", s[:6]), `"`))
		for _, order := range []binary.ByteOrder{binary.BigEndian, binary.LittleEndian} { // key schedules are words
			words := []uint32{order.Uint32(s), order.Uint32(s[4:])}
			forms = append(forms, strings.Trim(fmt.Sprint(words), "[]"), strings.Trim(fmt.Sprintf("%x", words), "[]"),
				fmt.Sprintf("%#x, %#x", words[0], words[1]))
		}
	}
	type unexported struct {
		root   any
		rings  Rings
		ring   *Ring
		file   File
		key    dataKey
		secret *secret
	}
	values := []any{
		root, *root.(*keyFile), rings, *rings, ring, file, *file, ring.active(), *ring.keys.Load(), rings.kek,
		unexported{root, *rings, ring, *file, ring.active(), rings.kek}, []any{rings, file},
		map[string]any{"r": ring}, fmt.Errorf("%w: %v", ErrDamaged, rings),
	}
	for i, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "%q", "%d", "%p", "%t"} {
			out := fmt.Sprintf(verb, v)
			for _, form := range forms {
				if strings.Contains(out, form) {
					t.Errorf("value %d printed with %s shows a key: %.200s", i, verb, out)
				}
			}
		}
	}
}

// What parses must be what Marshal would lay out; nothing may panic.
func FuzzParseRings(f *testing.F) {
	rings, err := NewRings(fixedRoot{})
	if err != nil {
		f.Fatal(err)
	}
	good, err := rings.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good[:len(good)-sha256.Size])
	f.Fuzz(func(t *testing.T, body []byte) {
		digest := sha256.Sum256(body)
		p, err := parseRings(append(bytes.Clone(body), digest[:]...))
		if err != nil {
			if !isRefusal(err) {
				t.Fatalf("refused with %v", err)
			}
			return
		}
		if len(p.wraps) == 0 || len(p.wraps) > maxWraps || len(p.salt) != saltSize || len(p.commitment) != commitmentSize {
			t.Fatalf("parsed to %d wraps, salt of %d, commitment of %d", len(p.wraps), len(p.salt), len(p.commitment))
		}
	})
}

func FuzzParseDataKeys(f *testing.F) {
	rings, err := NewRings(fixedRoot{})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(appendDataKeys(nil, rings.rings))
	f.Fuzz(func(t *testing.T, b []byte) {
		rings, err := parseDataKeys(b)
		if err != nil {
			if !isRefusal(err) {
				t.Fatalf("refused with %v", err)
			}
			return
		}
		if again := appendDataKeys(nil, rings); !bytes.Equal(again, b) {
			t.Fatalf("parses but encodes to other bytes")
		}
	})
}
