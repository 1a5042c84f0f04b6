package atrest

import (
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/sealmq/sealmq/internal/codec"
)

// RingKind says which ring a data key belongs to. It is the first byte of the key's id.
type RingKind byte

// The rings: the journal's, the message stores' (state/ and bodies/), and that of keys/.
const (
	RingJournal  RingKind = 1
	RingMessages RingKind = 2
	RingKeys     RingKind = 3
)

func (k RingKind) String() string {
	switch k {
	case RingJournal:
		return "journal"
	case RingMessages:
		return "messages"
	case RingKeys:
		return "keys"
	}
	return fmt.Sprintf("ring %d", byte(k))
}

// Ring holds the data keys of one kind: new files use the newest, old ones whichever their header names. It is safe
// for concurrent use.
type Ring struct {
	kind RingKind
	keys atomic.Pointer[[]dataKey] // never empty, oldest first; the slice is never changed, only replaced
}

type dataKey struct {
	id      KeyID
	created int64 // unix seconds
	secret  *secret
}

func newDataKey(kind RingKind) dataKey {
	k := dataKey{created: time.Now().Unix(), secret: newSecret()}
	rand.Read(k.id[1:])
	k.id[0] = byte(kind)
	return k
}

func newRing(kind RingKind, keys []dataKey) *Ring {
	r := &Ring{kind: kind}
	r.keys.Store(&keys)
	return r
}

// Kind returns which ring this is.
func (r *Ring) Kind() RingKind { return r.kind }

// Active returns the id of the key that new files use and when it was made.
func (r *Ring) Active() (KeyID, time.Time) {
	k := r.active()
	return k.id, time.Unix(k.created, 0)
}

// Format prints the ring's name and its active key's id, never a key.
func (r *Ring) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "Ring(%s, %s)", r.kind, r.active().id) }

func (r *Ring) active() dataKey {
	keys := *r.keys.Load()
	return keys[len(keys)-1]
}

func (r *Ring) find(id KeyID) (dataKey, bool) {
	for _, k := range *r.keys.Load() {
		if k.id == id {
			return k, true
		}
	}
	return dataKey{}, false
}

// NewFile draws the key of a new file with that base name, and returns its header for the front of the file. chunkLog2
// is 0 for a record, else the chunk size's logarithm, 9 to 22.
func (r *Ring) NewFile(mode Mode, store StoreID, chunkLog2 uint8, name string) (f *File, header []byte, err error) {
	if err := checkShape(mode, chunkLog2); err != nil {
		return nil, nil, fmt.Errorf("new sealed file %s: %w", name, err)
	}
	key := r.active()
	h := Header{Mode: mode, ChunkLog2: chunkLog2, Key: key.id, Store: store}
	rand.Read(h.salt[:])
	f, commitment, err := h.file(key.secret, name)
	if err != nil {
		return nil, nil, fmt.Errorf("new sealed file %s: %w", name, err)
	}
	copy(h.commitment[:], commitment)
	return f, h.append(make([]byte, 0, HeaderSize)), nil
}

// OpenFile checks that header belongs to a file of that mode, store and base name under one of the ring's keys, and
// returns the file. The error wraps [ErrDamaged] or [ErrVersion].
func (r *Ring) OpenFile(mode Mode, store StoreID, header []byte, name string) (*File, error) {
	h, err := ParseHeader(header)
	if err != nil {
		return nil, fmt.Errorf("opening sealed file %s: %w", name, err)
	}
	f, err := r.open(mode, store, h, name)
	if err != nil {
		return nil, fmt.Errorf("opening sealed file %s: %w", name, err)
	}
	return f, nil
}

func (r *Ring) open(mode Mode, store StoreID, h Header, name string) (*File, error) {
	if h.Mode != mode {
		return nil, damaged("file has mode %d, not %d", h.Mode, mode)
	}
	if h.Store != store {
		return nil, damaged("file belongs to store %s, not %s", h.Store, store)
	}
	key, ok := r.find(h.Key)
	if !ok {
		return nil, damaged("data key %s is not in the %s ring", h.Key, r.kind)
	}
	f, commitment, err := h.file(key.secret, name)
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(commitment, h.commitment[:]) != 1 {
		return nil, damaged("header does not belong to a file of this name")
	}
	return f, nil
}

// file derives the file key and commitment that belong to the header's bound bytes and the name.
func (h *Header) file(key *secret, name string) (*File, []byte, error) {
	bound := h.append(make([]byte, 0, HeaderSize))[:boundSize]
	aead, commitment, err := derive(key, h.salt[:], codec.PAE("sealmq/file/v1", bound, []byte(name)))
	if err != nil {
		return nil, nil, err
	}
	return &File{aead: &aead, chunkLog2: h.ChunkLog2, key: h.Key}, commitment, nil
}

// recordAAD is all that a record's blob is bound to besides its key, which already names the file.
var recordAAD = codec.PAE("sealmq/record/v1")

// SealRecord returns the bytes of a whole small file of that base name: a header and plaintext sealed as one blob.
func (r *Ring) SealRecord(store StoreID, name string, plaintext []byte) ([]byte, error) {
	f, header, err := r.NewFile(ModeRecord, store, 0, name)
	if err != nil {
		return nil, err
	}
	return f.Seal(header, plaintext, recordAAD), nil
}

// OpenRecord returns what SealRecord sealed in file.
func (r *Ring) OpenRecord(store StoreID, name string, file []byte) ([]byte, error) {
	f, err := r.OpenFile(ModeRecord, store, file, name)
	if err != nil {
		return nil, err
	}
	plaintext, err := f.Open(nil, file[HeaderSize:], recordAAD)
	if err != nil {
		return nil, fmt.Errorf("opening sealed file %s: %w", name, err)
	}
	return plaintext, nil
}
