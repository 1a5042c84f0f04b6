package sealedfs

import (
	"fmt"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Link implements [vfs.FS]. A link opens only under the name that the file was sealed for, as checkpoints make them.
// For another name the error is one that makes [vfs.LinkOrCopy] copy, which seals anew.
func (fs *FS) Link(oldname, newname string) error {
	if fs.sameBoundName(oldname, newname) {
		return fs.inner.Link(oldname, newname)
	}
	if _, err := fs.inner.Stat(newname); err == nil {
		return &os.LinkError{Op: "link", Old: oldname, New: newname, Err: os.ErrExist}
	}
	return fs.refuseMove("linking", oldname, newname)
}

// Rename implements [vfs.FS] for what Pebble renames: a temporary file to the name that it was sealed for, a file to
// the same name in another directory, and directories. Other renames are refused: the file would not open again.
func (fs *FS) Rename(oldname, newname string) error {
	if !fs.sameBoundName(oldname, newname) {
		info, err := fs.inner.Stat(oldname)
		if err != nil {
			return err
		}
		if !info.IsDir() {
			return fs.refuseMove("renaming", oldname, newname)
		}
	}
	return fs.inner.Rename(oldname, newname)
}

// ReuseForWrite implements [vfs.FS] as it may: the old file is removed and a new one made. Frames of the old one left
// behind a new header would be taken for damage.
func (fs *FS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := fs.inner.Remove(oldname); err != nil {
		return nil, err
	}
	return fs.Create(newname, category)
}

func (fs *FS) sameBoundName(oldname, newname string) bool {
	return boundName(fs.inner.PathBase(oldname)) == boundName(fs.inner.PathBase(newname))
}

func (fs *FS) refuseMove(what, oldname, newname string) error {
	return fmt.Errorf("sealedfs: %s %s to %s: %w: a file is sealed for its name", what, oldname, newname,
		vfs.ErrUnsupported)
}
