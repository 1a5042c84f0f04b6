package main

import (
	"bytes"
	"crypto/sha256"
	"os"
	"path/filepath"
	"testing"
)

// story writes a history of sends and deliveries of one message each, and compares.
type story struct{ *ledger }

func newStory() story { return story{newLedger("alice")} }

func (s story) send(id string, seq uint64, body string) {
	s.noteSent(sentNote{id: id, seq: seq, digest: sha256.Sum256([]byte(body)), size: int64(len(body))})
}

func (s story) deliver(id string, seq uint64, sender, body string) {
	s.noteReceived(receivedNote{id: id, seq: seq, sender: sender, digest: sha256.Sum256([]byte(body))})
}

func (s story) judge() demoDoc {
	var d demoDoc
	s.compare(&d)
	return d
}

func TestLedgerAllWell(t *testing.T) {
	s := newStory()
	s.send("a", 1, "one")
	s.send("b", 2, "two")
	if s.settledAll() {
		t.Error("settled before anything was received")
	}
	s.deliver("a", 1, "alice", "one")
	s.deliver("a", 1, "alice", "one") // again, because the acknowledgement did not arrive: at least once
	s.deliver("b", 2, "alice", "two")
	s.noteAcked(1, 2)
	if d := s.judge(); d != (demoDoc{Messages: 2, Bytes: 6}) {
		t.Errorf("%+v", d)
	}
	if !s.settledAll() {
		t.Error("not settled")
	}
}

func TestLedgerFindsWhatIsWrong(t *testing.T) {
	for name, c := range map[string]struct {
		tell func(story)
		want demoDoc
	}{
		"lost": {func(s story) { s.send("a", 1, "x") }, demoDoc{Messages: 1, Bytes: 1, Lost: 1}},
		"delivered after it was acknowledged": {func(s story) {
			s.send("a", 1, "x")
			s.deliver("a", 1, "alice", "x")
			s.noteAcked(1)
			s.deliver("a", 1, "alice", "x")
		}, demoDoc{Messages: 1, Bytes: 1, Duplicates: 1}},
		"stored twice": {func(s story) {
			s.send("a", 1, "x")
			s.deliver("a", 1, "alice", "x")
			s.deliver("a", 2, "alice", "x")
		}, demoDoc{Messages: 1, Bytes: 1, Duplicates: 1, WrongHash: 1}},
		"out of order at the receiver": {func(s story) {
			s.send("a", 1, "x")
			s.send("b", 2, "x")
			s.deliver("b", 2, "alice", "x")
			s.deliver("a", 1, "alice", "x")
		}, demoDoc{Messages: 2, Bytes: 2, OutOfOrder: 1}},
		"stored below what was sent before": {func(s story) {
			s.send("b", 2, "x")
			s.send("a", 1, "x")
			s.deliver("a", 1, "alice", "x")
			s.deliver("b", 2, "alice", "x")
		}, demoDoc{Messages: 2, Bytes: 2, OutOfOrder: 1}},
		"another sender": {func(s story) {
			s.send("a", 1, "x")
			s.deliver("a", 1, "mallory", "x")
		}, demoDoc{Messages: 1, Bytes: 1, WrongSender: 1}},
		"another body": {func(s story) {
			s.send("a", 1, "x")
			s.deliver("a", 1, "alice", "y")
		}, demoDoc{Messages: 1, Bytes: 1, WrongHash: 1}},
	} {
		s := newStory()
		c.tell(s)
		if got := s.judge(); got != c.want {
			t.Errorf("%s: %+v, not %+v", name, got, c.want)
		}
	}
}

func TestParcels(t *testing.T) {
	dir := t.TempDir()
	for name, size := range map[string]int{"empty": 0, "small": 10, "sub/limit": bodyLimit, "large": bodyLimit + 1} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(dir, "small"), filepath.Join(dir, "link")); err != nil {
		t.Log(err)
	}
	all, tooLarge, err := parcels(dir)
	if err != nil || tooLarge != 1 || len(all) != 4+3 {
		t.Fatalf("%d parcels, %d too large, %v", len(all), tooLarge, err)
	}
	if _, _, err := parcels(filepath.Join(dir, "nowhere")); err == nil {
		t.Error("a directory that is not there has parcels")
	}
}

func TestTelltale(t *testing.T) {
	zeros := make([]byte, 4096)
	if _, ok := telltale(zeros); ok {
		t.Error("zeros give something away")
	}
	if _, ok := telltale([]byte("0123456789abcdef0123456789abcde")); ok {
		t.Error("31 bytes are enough")
	}
	text := []byte("the quick brown fox jumps over the lazy dog")
	at := len(zeros) - len(text)
	copy(zeros[at:], text)
	w, ok := telltale(zeros)
	if !ok || len(w) != 32 || distinctBytes(w) < 12 || !bytes.Contains(zeros, w) {
		t.Errorf("%q, %v", w, ok)
	}
}
