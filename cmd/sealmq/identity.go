package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sealmq/sealmq/client"
	"github.com/sealmq/sealmq/envelope"
	"github.com/sealmq/sealmq/internal/local"
	"github.com/sealmq/sealmq/internal/pki"
)

// Files of an identity's directory that this program makes. The client reads them and adds keyring/ and pins.toml.
const (
	identityFile = "identity.key"
	clientKey    = "client.key"
	pinsFile     = "pins.toml"
)

// makeIdentity makes the directory of an identity with the end-to-end key, and has prove put in what it proves itself
// to nodes with. It stands whole or not at all.
func makeIdentity(dir, name string, prove func(dir string) error) (*envelope.Identity, error) {
	if err := pki.CheckID(name); err != nil {
		return nil, usage("identity name: %v", err)
	}
	if _, err := os.Stat(dir); err == nil {
		return nil, &failure{exit: exitConflict, code: "exists", message: dir + " exists already"}
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return nil, usage("the directory %s cannot be made: %s", filepath.Dir(dir), plainFileError(err))
	}
	making, err := os.MkdirTemp(filepath.Dir(dir), "."+name+".making-*") // mode 0700
	if err != nil {
		return nil, usage("the directory %s cannot be made: %s", dir, plainFileError(err))
	}
	defer os.RemoveAll(making) // nothing once it is renamed
	id, err := envelope.NewIdentity(name)
	if err != nil {
		return nil, err
	}
	if err := client.WriteIdentity(filepath.Join(making, identityFile), id); err != nil {
		return nil, err
	}
	if err := os.Mkdir(filepath.Join(making, "keyring"), 0o700); err != nil {
		return nil, err
	}
	if err := prove(making); err != nil {
		return nil, err
	}
	return id, os.Rename(making, dir)
}

// makeLocalIdentity makes an identity inside a tree whose authorities are at hand. One that is there is left alone.
func makeLocalIdentity(tree, name string, role local.Role) error {
	dir := local.IdentityDir(tree, name)
	if _, err := os.Stat(filepath.Join(dir, identityFile)); err == nil {
		return nil
	}
	_, err := makeIdentity(dir, name, func(dir string) error { return local.Issue(local.CADir(tree), dir, name, role) })
	return err
}

// readIdentity shows the identity of a directory.
func readIdentity(dir string) (identityDoc, error) {
	id, err := client.ReadIdentity(filepath.Join(dir, identityFile))
	if errors.Is(err, fs.ErrNotExist) {
		return identityDoc{}, notThere("sealmq id ls shows those that are there", "no identity in %s", dir)
	}
	if err != nil {
		return identityDoc{}, err
	}
	return identityOf(id), nil
}

func identityOf(id *envelope.Identity) identityDoc {
	key := id.PublicKey()
	return identityDoc{Kind: "Identity", Name: id.Name(), Key: hex.EncodeToString(key[:]), Fingerprint: id.Fingerprint()}
}

// identities lists the identities of a directory by name.
func identities(dir string) ([]identityDoc, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	items := []identityDoc{}
	for _, e := range entries {
		if !e.IsDir() || e.Name()[0] == '.' {
			continue
		}
		d, err := readIdentity(filepath.Join(dir, e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.Name(), err)
		}
		d.Kind = ""
		items = append(items, d)
	}
	return items, nil
}
