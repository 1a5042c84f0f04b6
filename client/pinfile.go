package client

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

// pinsVersion is the version of pins.toml.
const pinsVersion = 1

func readPins(path string) (pinned, os.FileInfo, error) {
	b, info, err := readSecret(path, tomlBytes)
	if errors.Is(err, os.ErrNotExist) {
		return newPinned(), nil, nil
	} else if err != nil {
		return pinned{}, nil, err
	}
	all, err := parsePins(path, b)
	return all, info, err
}

// marshalPins writes the file's bytes: the same pins always give the same bytes.
func marshalPins(all pinned) []byte {
	var b strings.Builder
	b.WriteString("# Identity keys by the name they first came with, and the first owners of mailboxes.\n" +
		"# sealmq trust ls|show|accept\n")
	fmt.Fprintf(&b, "version = %d\n", pinsVersion)
	for _, name := range slices.Sorted(maps.Keys(all.pins)) {
		pin := all.pins[name]
		fmt.Fprintf(&b, "\n[pin.%s]\nkey = \"%x\"\nfirst_seen = %q\n", quoteTOML(name), pin.Key,
			pin.FirstSeen.UTC().Format(time.RFC3339))
		if pin.Changed() {
			fmt.Fprintf(&b, "offered = \"%x\"\noffered_at = %q\n", pin.Offered, pin.OfferedAt.UTC().Format(time.RFC3339))
		}
	}
	for _, mailbox := range slices.Sorted(maps.Keys(all.owners)) {
		box := all.owners[mailbox]
		fmt.Fprintf(&b, "\n[mailbox.%s]\nowner = %s\n", quoteTOML(mailbox), quoteTOML(box.name))
		if box.offered != "" {
			fmt.Fprintf(&b, "offered = %s\n", quoteTOML(box.offered))
		}
	}
	return []byte(b.String())
}

func parsePins(file string, b []byte) (pinned, error) {
	all := newPinned()
	tables, err := parseTOML(file, b)
	if err != nil {
		return all, err
	}
	root := tables[0]
	version, err := root.number("version")
	if err != nil {
		return all, err
	}
	if version != pinsVersion {
		return all, root.fail(root.line, "version %d is not known to this program", version)
	}
	if err := root.done(); err != nil {
		return all, err
	}
	for _, t := range tables[1:] {
		switch {
		case len(t.path) == 2 && t.path[0] == "pin":
			all.pins[t.path[1]], err = parsePin(t)
		case len(t.path) == 2 && t.path[0] == "mailbox":
			all.owners[t.path[1]], err = parseOwner(t)
		default:
			err = t.fail(t.line, "unknown table %s", strings.Join(t.path, "."))
		}
		if err != nil {
			return all, err
		}
	}
	return all, nil
}

func parseOwner(t *tomlTable) (box owner, err error) {
	if box.name, err = t.text("owner"); err != nil {
		return box, err
	}
	if t.has("offered") {
		if box.offered, err = t.text("offered"); err != nil {
			return box, err
		}
	}
	if box.name == "" || box.name == box.offered {
		return box, t.fail(t.line, "owner and offered must be different names")
	}
	return box, t.done()
}

func parsePin(t *tomlTable) (pin Pin, err error) {
	pin.Name = t.path[1]
	if pin.Key, pin.FirstSeen, err = parseSeen(t, "key", "first_seen"); err != nil {
		return pin, err
	}
	if t.has("offered") {
		if pin.Offered, pin.OfferedAt, err = parseSeen(t, "offered", "offered_at"); err != nil {
			return pin, err
		}
		if pin.Offered == pin.Key {
			return pin, t.fail(t.line, "offered is the pinned key")
		}
	}
	return pin, t.done()
}

func parseSeen(t *tomlTable, keyName, timeName string) (key [32]byte, at time.Time, err error) {
	line := t.line
	if v, ok := t.keys[keyName]; ok {
		line = v.line
	}
	text, err := t.text(keyName)
	if err != nil {
		return key, at, err
	}
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(key) || [32]byte(b) == key {
		return key, at, t.fail(line, "%s must be a key of 64 hexadecimal digits", keyName)
	}
	if text, err = t.text(timeName); err != nil {
		return key, at, err
	}
	if at, err = time.Parse(time.RFC3339, text); err != nil {
		return key, at, t.fail(line, "%s must be a time like 2026-01-02T15:04:05Z", timeName)
	}
	return [32]byte(b), at, nil
}
