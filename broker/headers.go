package broker

import (
	"crypto/rand"
	"errors"
	"fmt"
	"sync"

	"github.com/sealmq/sealmq/internal/atrest"
	"github.com/sealmq/sealmq/internal/codec"
	"github.com/sealmq/sealmq/storage"
)

// headerSealer seals session headers under sub-keys of their mailbox's erasable secret before they are proposed, so
// that destroying the secret makes every copy of the header, and with it every message of the session, unreadable.
//
//	stored header = u32 generation | salt 16 | nonce 12 | ciphertext | tag 16
//	additional data = PAE("sealmq/stored-header/v1", mailbox id, session id, generation)
type headerSealer struct {
	reader secrets

	mu   sync.Mutex
	salt [16]byte // drawn for every term that this node leads, and whenever it has served saltSeals seals
	used int
	keys map[[16]byte]*atrest.SubKey // by mailbox, for the current salt; nil if there is no salt
}

// secrets is what the sealer reads of the stores.
type secrets interface {
	MailboxKey(mailbox [16]byte, generation uint32) ([32]byte, error)
	Sessions(number uint64, ids [][16]byte, timeMillis int64, yield func(i int, s storage.Session)) error
}

const (
	// saltSeals is far below the 2^30 seals that a sub-key may serve.
	saltSeals = 1 << 24
	// headerKeys bounds the sub-keys in memory, about 1.5 KiB each.
	headerKeys = 4 << 10
	// firstGeneration is the only generation of mailbox keys so far.
	firstGeneration = 1
	headerPurpose   = "session-header"
)

func newHeaderSealer(reader secrets) *headerSealer { return &headerSealer{reader: reader} }

// renew draws a new salt at the beginning of a term, and forgets the keys of mailboxes that may have been deleted and
// made anew since.
func (s *headerSealer) renew() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = nil
}

// forget drops the key of a mailbox that is being deleted.
func (s *headerSealer) forget(mailbox [16]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.keys, mailbox)
}

func headerAAD(mailbox, session [16]byte, generation uint32) []byte {
	return codec.PAE("sealmq/stored-header/v1", mailbox[:], session[:], codec.AppendU32(nil, generation))
}

// seal returns what is stored of a session's header.
func (s *headerSealer) seal(mailbox, session [16]byte, header []byte) ([]byte, error) {
	key, salt, err := s.key(mailbox)
	if err != nil {
		return nil, err
	}
	out := codec.AppendU32(make([]byte, 0, 4+16+atrest.Overhead+len(header)), firstGeneration)
	out = append(out, salt[:]...)
	return key.Seal(out, header, headerAAD(mailbox, session, firstGeneration)), nil
}

// key returns the current sub-key of a mailbox and its salt.
func (s *headerSealer) key(mailbox [16]byte) (*atrest.SubKey, [16]byte, error) {
	for {
		key, salt := s.known(mailbox)
		if key != nil {
			return key, salt, nil
		}
		from, err := s.reader.MailboxKey(mailbox, firstGeneration)
		if err != nil {
			return nil, salt, fmt.Errorf("reading a mailbox key: %w", err)
		}
		if key, err = atrest.NewSubKey(from, salt, headerPurpose); err != nil {
			return nil, salt, err
		}
		if s.learn(mailbox, key, salt) {
			return key, salt, nil
		}
	}
}

// known counts a seal and returns the key for it, nil if it has to be derived first.
func (s *headerSealer) known(mailbox [16]byte) (*atrest.SubKey, [16]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys == nil || s.used >= saltSeals {
		rand.Read(s.salt[:])
		s.used, s.keys = 0, map[[16]byte]*atrest.SubKey{}
	}
	s.used++
	return s.keys[mailbox], s.salt
}

// learn keeps a derived key. It is false if the salt is another by now.
func (s *headerSealer) learn(mailbox [16]byte, key *atrest.SubKey, salt [16]byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys == nil || s.salt != salt {
		return false
	}
	if len(s.keys) >= headerKeys {
		clear(s.keys)
	}
	s.keys[mailbox] = key
	return true
}

// open returns the header that seal was given, on whichever node and in whichever term that was.
func (s *headerSealer) open(mailbox, session [16]byte, stored []byte) ([]byte, error) {
	r := codec.NewReader(stored)
	generation, salt, sealed := r.U32(), r.Array16(), r.Rest()
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("reading a stored session header: %w", err)
	}
	from, err := s.reader.MailboxKey(mailbox, generation)
	if err != nil {
		return nil, fmt.Errorf("reading a mailbox key: %w", err)
	}
	key, err := atrest.NewSubKey(from, salt, headerPurpose)
	if err != nil {
		return nil, err
	}
	return key.Open(nil, sealed, headerAAD(mailbox, session, generation))
}

// fetch returns the headers of sessions of a mailbox, by id, as of replicated time. Those that are not there, or can
// no longer be opened because their mailbox was erased, are left out.
func (s *headerSealer) fetch(mailbox *storage.Mailbox, ids [][16]byte, timeMillis int64) (map[[16]byte][]byte, error) {
	found := make(map[[16]byte][]byte, len(ids))
	var failed error
	err := s.reader.Sessions(mailbox.Number, ids, timeMillis, func(i int, stored storage.Session) {
		header, err := s.open(mailbox.ID, ids[i], stored.Header)
		switch {
		case err == nil:
			found[ids[i]] = header
		case !errors.Is(err, storage.ErrNotFound):
			failed = err
		}
	})
	return found, errors.Join(err, failed)
}
