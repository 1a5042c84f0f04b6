package broker

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/sealmq/sealmq/internal/atrest"
	"github.com/sealmq/sealmq/storage"
)

// fakeSecrets are the secrets and stored sessions of some mailboxes.
type fakeSecrets struct {
	keys     map[[16]byte][32]byte
	sessions map[[16]byte][]byte
	reads    int
}

func (f *fakeSecrets) MailboxKey(mailbox [16]byte, generation uint32) ([32]byte, error) {
	f.reads++
	key, ok := f.keys[mailbox]
	if !ok || generation != firstGeneration {
		return key, storage.ErrNotFound
	}
	return key, nil
}

func (f *fakeSecrets) Sessions(_ uint64, ids [][16]byte, _ int64, yield func(int, storage.Session)) error {
	for i, id := range ids {
		if stored, ok := f.sessions[id]; ok {
			yield(i, storage.Session{Header: stored})
		}
	}
	return nil
}

func TestHeadersAreSealedForTheirMailboxAndSession(t *testing.T) {
	box, other, session := [16]byte{1}, [16]byte{2}, [16]byte{3}
	f := &fakeSecrets{keys: map[[16]byte][32]byte{box: {1}, other: {2}}}
	s := newHeaderSealer(f)
	header := []byte("the header of a session")
	stored, err := s.seal(box, session, header)
	if err != nil {
		t.Fatal(err)
	}
	again, _ := s.seal(box, session, header)
	if bytes.Contains(stored, header) || bytes.Equal(stored, again) || f.reads != 1 {
		t.Errorf("sealed %x and %x with %d reads of the secret", stored, again, f.reads)
	}
	// Another node, in another term.
	open := newHeaderSealer(f)
	if got, err := open.open(box, session, stored); err != nil || !bytes.Equal(got, header) {
		t.Fatalf("%q, %v", got, err)
	}
	if _, err := open.open(other, session, stored); !errors.Is(err, atrest.ErrDamaged) {
		t.Errorf("under another mailbox: %v", err)
	}
	if _, err := open.open(box, [16]byte{4}, stored); !errors.Is(err, atrest.ErrDamaged) {
		t.Errorf("under another session: %v", err)
	}
	for i := range stored {
		changed := bytes.Clone(stored)
		changed[i] ^= 1
		if got, err := open.open(box, session, changed); err == nil {
			t.Errorf("byte %d was changed: %q", i, got)
		}
	}
	for n := range stored {
		if _, err := open.open(box, session, stored[:n]); err == nil {
			t.Errorf("%d bytes open", n)
		}
	}
	// Without the secret nothing opens it.
	delete(f.keys, box)
	if _, err := open.open(box, session, stored); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("after the secret is gone: %v", err)
	}
}

// TestHeadersForgetDeletedMailboxes: one that is made anew under its id has another secret.
func TestHeadersForgetDeletedMailboxes(t *testing.T) {
	for name, forget := range map[string]func(*headerSealer, [16]byte){
		"deleted": (*headerSealer).forget, "a new term": func(s *headerSealer, _ [16]byte) { s.renew() },
	} {
		box, session := [16]byte{1}, [16]byte{3}
		f := &fakeSecrets{keys: map[[16]byte][32]byte{box: {1}}}
		s := newHeaderSealer(f)
		s.seal(box, session, []byte("old"))
		f.keys[box] = [32]byte{9}
		forget(s, box)
		stored, err := s.seal(box, session, []byte("new"))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := newHeaderSealer(f).open(box, session, stored); err != nil || string(got) != "new" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestHeadersDrawAnotherSaltInTime(t *testing.T) {
	f := &fakeSecrets{keys: map[[16]byte][32]byte{{1}: {1}}}
	s := newHeaderSealer(f)
	first, _ := s.seal([16]byte{1}, [16]byte{}, nil)
	s.used = saltSeals
	second, _ := s.seal([16]byte{1}, [16]byte{}, nil)
	if bytes.Equal(first[4:20], second[4:20]) {
		t.Error("the salt is the same after saltSeals seals")
	}
	for i := range headerKeys + 10 {
		f.keys[[16]byte{2, byte(i), byte(i >> 8)}] = [32]byte{1}
		if _, err := s.seal([16]byte{2, byte(i), byte(i >> 8)}, [16]byte{}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.keys) > headerKeys {
		t.Errorf("%d keys are kept", len(s.keys))
	}
}

func TestFetchLeavesOutWhatIsGone(t *testing.T) {
	box, gone := &storage.Mailbox{ID: [16]byte{1}}, &storage.Mailbox{ID: [16]byte{2}}
	f := &fakeSecrets{keys: map[[16]byte][32]byte{box.ID: {1}, gone.ID: {2}}, sessions: map[[16]byte][]byte{}}
	s := newHeaderSealer(f)
	for _, mb := range []*storage.Mailbox{box, gone} {
		id := [16]byte{mb.ID[0], 7}
		stored, err := s.seal(mb.ID, id, fmt.Appendf(nil, "header %d", mb.ID[0]))
		if err != nil {
			t.Fatal(err)
		}
		f.sessions[id] = stored
	}
	delete(f.keys, gone.ID)
	got, err := s.fetch(box, [][16]byte{{1, 7}, {1, 8}}, 0)
	if err != nil || len(got) != 1 || string(got[[16]byte{1, 7}]) != "header 1" {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := s.fetch(gone, [][16]byte{{2, 7}}, 0); err != nil || len(got) != 0 {
		t.Errorf("of an erased mailbox: %q, %v", got, err)
	}
	f.sessions[[16]byte{1, 7}][30] ^= 1
	if got, err := s.fetch(box, [][16]byte{{1, 7}}, 0); !errors.Is(err, atrest.ErrDamaged) {
		t.Errorf("a damaged one: %q, %v", got, err)
	}
}
