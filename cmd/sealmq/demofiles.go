package main

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// bodyLimit is the largest body that a mailbox takes, and so the largest file that the demo sends.
const bodyLimit = 1 << 20

// A parcel is what the demo sends: a file's contents, or a generated body.
type parcel struct {
	name string
	load func() ([]byte, error)
}

// parcels finds everything that the demo sends: the regular files below dir up to the limit, and bodies of the sizes
// at which programs break. Links are not followed.
func parcels(dir string) (all []parcel, tooLarge int, err error) {
	for _, size := range []int{0, 1, bodyLimit - 1, bodyLimit} {
		body := make([]byte, size)
		rand.Read(body)
		all = append(all, parcel{name: "generated", load: func() ([]byte, error) { return body, nil }})
	}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if path == dir || !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if info.Size() > bodyLimit {
			tooLarge++
			return nil
		}
		all = append(all, parcel{name: path, load: func() ([]byte, error) { return os.ReadFile(path) }})
		return nil
	})
	return all, tooLarge, err
}

const (
	fingerprintBytes    = 32
	fingerprintDistinct = 12
)

// telltale is a piece of body that would give it away if it stood on a disk: 32 bytes of which at least 12 differ, so
// that it is not what any disk holds anyway. The one in the middle is taken first: files of one kind begin alike.
func telltale(body []byte) (window []byte, ok bool) {
	last := len(body) - fingerprintBytes
	for i := range last + 1 {
		at := (last/2 + i) % (last + 1)
		if w := body[at : at+fingerprintBytes]; distinctBytes(w) >= fingerprintDistinct {
			return w, true
		}
	}
	return nil, false
}
