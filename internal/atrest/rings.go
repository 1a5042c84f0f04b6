package atrest

import (
	"fmt"
	"slices"

	"github.com/sealmq/sealmq/internal/codec"
)

// Rings is the content of a ring file: a key-encryption key (KEK) wrapped by one root key or several, and sealed under
// it the data keys of every ring. Rotating a root key rewrites this one small file.
//
// Its methods must not be called concurrently. The [Ring] values it hands out are safe for concurrent use, also while
// [Rings.Rotate] runs.
type Rings struct {
	id         [16]byte // drawn once; binds wraps to this file and tells two nodes' files apart
	generation uint64   // raised by every change
	kek        *secret
	wraps      []wrap
	rings      []*Ring // in the order of ringKinds
}

type wrap struct {
	rootID  string
	wrapped []byte
}

var ringKinds = []RingKind{RingJournal, RingMessages, RingKeys}

const (
	maxWraps       = 16
	maxKeysPerRing = 4096
)

// NewRings draws a KEK, wrapped by root, and a first data key for every ring. Nothing may be sealed under them before
// the bytes of [Rings.Marshal] are durable.
func NewRings(root Root) (*Rings, error) {
	r := &Rings{generation: 1, kek: newSecret()}
	copy(r.id[:], randomBytes(len(r.id)))
	for _, kind := range ringKinds {
		r.rings = append(r.rings, newRing(kind, []dataKey{newDataKey(kind)}))
	}
	w, err := r.wrapWith(root, r.kek)
	if err != nil {
		return nil, err
	}
	r.wraps = []wrap{w}
	return r, nil
}

// Ring returns the ring of that kind, nil if there is none.
func (r *Rings) Ring(kind RingKind) *Ring {
	if i := slices.Index(ringKinds, kind); i >= 0 {
		return r.rings[i]
	}
	return nil
}

// Generation counts the changes of the ring file.
func (r *Rings) Generation() uint64 { return r.generation }

// RootIDs returns the names of the root keys that open the ring file.
func (r *Rings) RootIDs() []string {
	ids := make([]string, len(r.wraps))
	for i, w := range r.wraps {
		ids[i] = w.rootID
	}
	return ids
}

// Format prints which root keys open the rings, never a key.
func (r *Rings) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "Rings(generation %d, roots %v)", r.generation, r.RootIDs())
}

// Rotate gives a ring a new active data key; files of the older ones stay readable. It calls persist with the new ring
// file and uses the new key only after persist returned nil: a file sealed under a key that a crash lost would be lost
// with it.
func (r *Rings) Rotate(kind RingKind, persist func(file []byte) error) error {
	ring := r.Ring(kind)
	if ring == nil {
		return fmt.Errorf("rotating a data key: no %s", kind)
	}
	old := *ring.keys.Load()
	if len(old) == maxKeysPerRing {
		return fmt.Errorf("rotating a data key: the %s ring has %d keys already", kind, len(old))
	}
	next := newRing(kind, append(slices.Clone(old), newDataKey(kind)))
	staged := *r
	staged.generation++
	staged.rings = slices.Clone(r.rings)
	staged.rings[slices.Index(ringKinds, kind)] = next
	file, err := staged.Marshal()
	if err != nil {
		return err
	}
	if err := persist(file); err != nil {
		return fmt.Errorf("rotating a data key: %w", err)
	}
	r.generation = staged.generation
	ring.keys.Store(next.keys.Load())
	return nil
}

// SetRoots draws a new KEK and wraps it for exactly these root keys: the ring file of [Rings.Marshal] then opens with
// each of them and with no other.
func (r *Rings) SetRoots(roots ...Root) error {
	if len(roots) == 0 || len(roots) > maxWraps {
		return fmt.Errorf("a ring file is sealed for 1 to %d root keys, not %d", maxWraps, len(roots))
	}
	kek := newSecret()
	var wraps []wrap
	for _, root := range roots {
		w, err := r.wrapWith(root, kek)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(wraps, func(other wrap) bool { return other.rootID == w.rootID }) {
			return fmt.Errorf("root key %s is given twice", w.rootID)
		}
		wraps = append(wraps, w)
	}
	r.kek, r.wraps = kek, wraps
	r.generation++
	return nil
}

// AddRoot wraps the present KEK for one more root key, without needing the ones that open it already.
func (r *Rings) AddRoot(root Root) error {
	if len(r.wraps) == maxWraps {
		return fmt.Errorf("a ring file is sealed for at most %d root keys", maxWraps)
	}
	if slices.Contains(r.RootIDs(), root.ID()) {
		return fmt.Errorf("root key %s opens the ring file already", root.ID())
	}
	w, err := r.wrapWith(root, r.kek)
	if err != nil {
		return err
	}
	r.wraps = append(slices.Clone(r.wraps), w)
	r.generation++
	return nil
}

func (r *Rings) wrapWith(root Root, kek *secret) (wrap, error) {
	wrapped, err := root.Wrap(kek.bytes(), r.wrapAAD())
	if err != nil {
		return wrap{}, fmt.Errorf("wrapping the key-encryption key with %s: %w", root.ID(), err)
	}
	return wrap{rootID: root.ID(), wrapped: wrapped}, nil
}

func (r *Rings) wrapAAD() []byte { return codec.PAE("sealmq/kek/v1", r.id[:]) }

// unwrapWith sets the KEK from the wrap that root made.
func (r *Rings) unwrapWith(root Root) error {
	i := slices.Index(r.RootIDs(), root.ID())
	if i < 0 {
		return fmt.Errorf("%w: the ring file is sealed for %v, this is %s", ErrWrongKey, r.RootIDs(), root.ID())
	}
	raw, err := root.Unwrap(r.wraps[i].wrapped, r.wrapAAD())
	if err != nil {
		return fmt.Errorf("unwrapping the key-encryption key with %s: %w", root.ID(), err)
	}
	defer clear(raw)
	if r.kek, err = secretFrom(raw); err != nil {
		return damaged("key-encryption key: %v", err)
	}
	return nil
}
