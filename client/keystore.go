package client

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// keysLookFor is how old a keyring in memory may be before its file is looked at again.
const keysLookFor = time.Second

// KeyStore is the directory with the private epoch keys of the mailboxes that an identity reads, a file for each
// mailbox. Several processes may share it: changes are made under a lock and by rename, and a file that another
// process has changed is read again. It is safe for concurrent use.
type KeyStore struct {
	dir string

	mu    sync.Mutex
	rings map[[16]byte]*storedRing
}

type storedRing struct {
	ring    *keyring // nil: there is no file
	seen    os.FileInfo
	checked time.Time
}

// OpenKeyStore opens a key store, and makes its directory if it is not there.
func OpenKeyStore(dir string) (*KeyStore, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("key store: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("key store: %w", err)
	}
	if othersMay(info.Mode()) {
		return nil, fmt.Errorf("key store: %s can be entered by others: chmod 700 it", dir)
	}
	return &KeyStore{dir: dir, rings: map[[16]byte]*storedRing{}}, nil
}

// ring returns the keys of a mailbox, nil if there are none, as they were a moment ago.
func (s *KeyStore) ring(mailbox [16]byte) (*keyring, error) {
	s.mu.Lock()
	known := s.rings[mailbox]
	s.mu.Unlock()
	if known != nil && time.Since(known.checked) < keysLookFor {
		return known.ring, nil
	}
	return s.look(mailbox)
}

// look is ring of the present.
func (s *KeyStore) look(mailbox [16]byte) (*keyring, error) {
	now := time.Now()
	s.mu.Lock()
	known := s.rings[mailbox]
	s.mu.Unlock()
	info, err := statFile(s.file(mailbox))
	if err != nil {
		return nil, fmt.Errorf("key store: %w", err)
	}
	next := &storedRing{checked: now}
	if known != nil && sameFile(info, known.seen) {
		next.ring, next.seen = known.ring, known.seen
	} else if next.ring, next.seen, err = s.read(mailbox); err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.rings[mailbox] = next
	s.mu.Unlock()
	return next.ring, nil
}

// change edits the keys of a mailbox while no other process does. When it returns, the keys are on the disk and have
// been read back from it. name is kept in a new file for whoever looks at it.
func (s *KeyStore) change(mailbox [16]byte, name string, edit func(*keyring) error) (*keyring, error) {
	var stored *keyring
	err := withLock(filepath.Join(s.dir, "LOCK"), func() error {
		ring, _, err := s.read(mailbox)
		if err != nil {
			return err
		}
		if ring == nil {
			ring = &keyring{mailbox: mailbox, name: name}
		}
		ring = ring.clone()
		if err := edit(ring); err != nil {
			return err
		}
		path := s.file(mailbox)
		// What a process that died here left behind: private keys that nobody would find.
		if err := os.Remove(unfinished(path)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if len(ring.keys) == 0 {
			if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
			return syncDir(s.dir)
		}
		want := ring.marshal()
		f, err := os.OpenFile(unfinished(path), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		if err := replaceFile(path, f, want); err != nil {
			return err
		}
		got, _, err := readSecret(path, keyringBytes)
		if err != nil {
			return err
		}
		if !bytes.Equal(got, want) {
			return fmt.Errorf("%s reads back other than it was written", path)
		}
		stored, err = parseKeyring(got)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("key store: %w", err)
	}
	s.mu.Lock()
	delete(s.rings, mailbox)
	s.mu.Unlock()
	return stored, nil
}

// unfinished is where a keyring is written before it takes its file's place. The lock sees to it that there is one
// writer, and a name that is known costs no look through a directory of a hundred thousand.
func unfinished(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
}

func (s *KeyStore) file(mailbox [16]byte) string {
	return filepath.Join(s.dir, hex.EncodeToString(mailbox[:])+".keys")
}

func (s *KeyStore) read(mailbox [16]byte) (*keyring, os.FileInfo, error) {
	path := s.file(mailbox)
	b, info, err := readSecret(path, keyringBytes)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil, nil
	} else if err != nil {
		return nil, nil, fmt.Errorf("key store: %w", err)
	}
	ring, err := parseKeyring(b)
	if err == nil && ring.mailbox != mailbox {
		err = errors.New("holds the keys of another mailbox")
	}
	if err != nil {
		return nil, nil, fmt.Errorf("key store: %s: %w", path, err)
	}
	return ring, info, nil
}
