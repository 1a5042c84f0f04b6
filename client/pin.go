package client

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sealmq/sealmq/envelope"
)

// Limits of pins.toml. A sender may call itself what it likes, so the file must not grow with what others send.
const (
	pinsMax     = 1 << 16
	ownersMax   = 1 << 16
	pinsLookFor = time.Second // how old what is in memory may be before the file is looked at again
)

// Pin is a name and the identity key that this client met first under it.
type Pin struct {
	Name      string
	Key       [32]byte
	FirstSeen time.Time
	// Offered is another key that came later under the same name and was refused, zero if there was none.
	Offered   [32]byte
	OfferedAt time.Time
}

// Fingerprint returns the pinned key in the form that people compare.
func (p Pin) Fingerprint() string { return envelope.Fingerprint(p.Key) }

// Changed reports whether another key is waiting to be accepted.
func (p Pin) Changed() bool { return p.Offered != [32]byte{} }

// KeyChangedError says that a name came with another identity key than the pinned one. Either its owner made a new
// identity, or somebody takes its place: whoever runs the client asks the owner for the fingerprint and decides.
type KeyChangedError struct {
	Name            string
	Pinned, Offered string // fingerprints
}

func (e *KeyChangedError) Error() string {
	return fmt.Sprintf("the identity key of %q has changed: pinned %s, now %s. %s",
		e.Name, e.Pinned, e.Offered, e.Advice())
}

// Advice says what whoever runs the client does about it. It is the end of what Error says.
func (e *KeyChangedError) Advice() string {
	return fmt.Sprintf("Ask %q which one is right; if it is the new one, run: sealmq trust accept %s", e.Name,
		shellWord(e.Name))
}

// shellWord quotes a name for a command line if it needs it.
func shellWord(s string) string {
	safe := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:@", r)
	}
	if s != "" && s[0] != '-' && !strings.ContainsFunc(s, func(r rune) bool { return !safe(r) }) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// OwnerChangedError says that a mailbox belongs to another identity than it did at first. Whoever runs the client asks
// around whether that is meant to be, and decides.
type OwnerChangedError struct {
	Pinned, Offered string // names
}

func (e *OwnerChangedError) Error() string {
	return fmt.Sprintf("the owner of the mailbox has changed: pinned %q, now %q. Ask them whether that is right; if it "+
		"is, run: sealmq trust accept NAME, with the name of the mailbox", e.Pinned, e.Offered)
}

// Pins is the trust that a client has built up: a name belongs to the key that it came with first, and a mailbox to the
// name that owned it first, until somebody says otherwise. It is a file that several processes may use at once, and it
// is safe for concurrent use.
type Pins struct {
	path string // empty: in memory only

	mu      sync.Mutex
	pinned  pinned
	late    map[string]owner // owners that are not in the file yet
	written time.Time        // when owners were last
	seen    os.FileInfo      // the file that pinned was read from
	checked time.Time
}

// pinned is what the file holds.
type pinned struct {
	pins   map[string]Pin
	owners map[string]owner // by mailbox name
}

// owner is who owns a mailbox, and who else has come as its owner since.
type owner struct{ name, offered string }

func newPinned() pinned { return pinned{map[string]Pin{}, map[string]owner{}} }

// OpenPins opens a file of pins. One that does not exist is made with the first pin.
func OpenPins(path string) (*Pins, error) {
	p := NewPins()
	p.path = path
	return p, p.refresh(true)
}

// NewPins returns pins that are kept in memory only.
func NewPins() *Pins { return &Pins{pinned: newPinned(), late: map[string]owner{}} }

// List returns the pinned identities by name.
func (p *Pins) List() ([]Pin, error) {
	if err := p.refresh(true); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]Pin, 0, len(p.pinned.pins))
	for _, pin := range p.pinned.pins {
		all = append(all, pin)
	}
	slices.SortFunc(all, func(a, b Pin) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// Lookup returns the pin of an identity's name.
func (p *Pins) Lookup(name string) (pin Pin, found bool, err error) {
	if err := p.refresh(true); err != nil {
		return Pin{}, false, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	pin, found = p.pinned.pins[name]
	return pin, found, nil
}

// ErrNotOffered means that [Pins.Accept] found nothing to accept.
var ErrNotOffered = errors.New("no other key was offered")

// Accept pins what was offered last under a name: the key of an identity, or the owner of a mailbox. It returns the
// identity's pin.
func (p *Pins) Accept(name string) (Pin, error) {
	var accepted Pin
	err := p.change(func(all pinned) error {
		pin, found := all.pins[name]
		box, isBox := all.owners[name]
		switch {
		case found && pin.Changed():
			accepted = Pin{Name: name, Key: pin.Offered, FirstSeen: pin.OfferedAt}
			all.pins[name] = accepted
		case isBox && box.offered != "":
			all.owners[name] = owner{name: box.offered}
			accepted = all.pins[box.offered]
		case found:
			return fmt.Errorf("%w for %q: %s stays pinned", ErrNotOffered, name, pin.Fingerprint())
		default:
			return fmt.Errorf("%w for %q, nor any: the first will be pinned on the first message", ErrNotOffered, name)
		}
		return nil
	})
	return accepted, err
}

// Check compares an identity with its pin, and pins it if it is the first under its name: isNew says so. A different
// key is a *[KeyChangedError] and is remembered for [Pins.Accept].
func (p *Pins) Check(name string, key [32]byte) (isNew bool, err error) {
	if err := p.refresh(false); err != nil {
		return false, err
	}
	p.mu.Lock()
	pin, found := p.pinned.pins[name]
	p.mu.Unlock()
	if found && pin.Key == key {
		return false, nil
	}
	if !found || pin.Offered != key {
		err = p.change(func(all pinned) error {
			now := time.Now().UTC().Truncate(time.Second)
			pin, found = all.pins[name] // another process may have been first
			switch {
			case !found && len(all.pins) >= pinsMax:
				return fmt.Errorf("%d identities are pinned, which is the limit: remove some from %s", pinsMax, p.path)
			case !found:
				isNew = true
				pin = Pin{Name: name, Key: key, FirstSeen: now}
			case pin.Key != key:
				pin.Offered, pin.OfferedAt = key, now
			}
			all.pins[name] = pin
			return nil
		})
		if err != nil {
			return false, fmt.Errorf("pinning an identity: %w", err)
		}
	}
	if pin.Key != key {
		return false, &KeyChangedError{name, pin.Fingerprint(), envelope.Fingerprint(key)}
	}
	return isNew, nil
}

// CheckOwner compares the owner of a mailbox with the first one. Another is an *[OwnerChangedError] and is remembered
// for [Pins.Accept]. A client may meet thousands of mailboxes in a second, so first owners reach the file with the next
// look at one a second later, or with [Pins.Sync].
func (p *Pins) CheckOwner(mailbox, name string) error {
	if err := p.refresh(false); err != nil {
		return err
	}
	now := time.Now()
	p.mu.Lock()
	known, found := p.pinned.owners[mailbox]
	if !found {
		known, found = p.late[mailbox]
	}
	if !found && len(p.pinned.owners)+len(p.late) < ownersMax {
		p.late[mailbox] = owner{name: name}
	}
	due := len(p.late) > 0 && now.Sub(p.written) > pinsLookFor
	p.mu.Unlock()
	switch {
	case due || found && known.name != name && known.offered != name:
		err := p.change(func(all pinned) error {
			if box, there := all.owners[mailbox]; there && box.name != name {
				all.owners[mailbox] = owner{box.name, name}
			}
			known, found = all.owners[mailbox]
			return nil
		})
		if err != nil {
			return fmt.Errorf("pinning an owner: %w", err)
		}
	}
	if found && known.name != name {
		return &OwnerChangedError{known.name, name}
	}
	return nil
}

// Sync writes what is not in the file yet.
func (p *Pins) Sync() error {
	p.mu.Lock()
	late := len(p.late)
	p.mu.Unlock()
	if late == 0 {
		return nil
	}
	return p.change(func(pinned) error { return nil })
}

// refresh reads the file again if it has changed; without force only if the last look was a while ago.
func (p *Pins) refresh(force bool) error {
	if p.path == "" {
		return nil
	}
	now := time.Now()
	p.mu.Lock()
	fresh := !force && now.Sub(p.checked) < pinsLookFor
	seen := p.seen
	p.checked = now
	p.mu.Unlock()
	if fresh {
		return nil
	}
	info, err := statFile(p.path)
	if err != nil || sameFile(info, seen) {
		return err
	}
	all, info, err := readPins(p.path)
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.pinned, p.seen = all, info
	p.mu.Unlock()
	return nil
}

// change reads, changes and replaces the file while no other process does. Owners that are late get in first.
func (p *Pins) change(edit func(pinned) error) error {
	if p.path == "" {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.lateInLocked(p.pinned)
		return edit(p.pinned)
	}
	return withLock(p.path+".lock", func() error {
		all, _, err := readPins(p.path)
		if err != nil {
			return err
		}
		p.mu.Lock()
		p.lateInLocked(all)
		p.mu.Unlock()
		if err := edit(all); err != nil {
			return err
		}
		if err := writeFile(p.path, marshalPins(all)); err != nil {
			return err
		}
		info, err := statFile(p.path)
		p.mu.Lock()
		p.pinned, p.seen, p.written = all, info, time.Now()
		p.mu.Unlock()
		return err
	})
}

// lateInLocked adds the owners that are not in the file yet, unless another process was first.
func (p *Pins) lateInLocked(all pinned) {
	for mailbox, first := range p.late {
		if _, there := all.owners[mailbox]; !there {
			all.owners[mailbox] = first
		}
	}
	clear(p.late)
}
