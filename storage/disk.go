package storage

import (
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sealmq/sealmq/internal/atrest"
	"github.com/sealmq/sealmq/storage/sealedfs"
)

// OnDisk returns the file systems of stores that lie sealed on the machine's own disk. key says which ring seals a
// store, and the id that its files are bound to.
func OnDisk(key func(Kind) (*atrest.Ring, atrest.StoreID)) func(Kind) vfs.FS {
	return func(k Kind) vfs.FS {
		ring, store := key(k)
		return sealedfs.New(vfs.Default, ring, store, sealedfs.Options{})
	}
}
