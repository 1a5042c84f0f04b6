package sealedfs

import (
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sealmq/sealmq/internal/atrest"
)

// chunkWriteFile is a new table. Its chunks are written in their places as they fill; the last one when Pebble syncs or
// closes the file, and again if more is written after a sync. Rewriting it is harmless: a table that was not closed is
// nobody's, and the nonce is another.
type chunkWriteFile struct {
	writeOnly
	w   *atrest.ChunkWriter
	err error // of the first write or sync that failed
}

func (fs *FS) createChunks(name, base string, category vfs.DiskWriteCategory) (vfs.File, error) {
	sealed, header, err := fs.ring.NewFile(atrest.ModeChunk, fs.store, fs.opts.ChunkLog2, boundName(base))
	if err != nil {
		return nil, err
	}
	f, err := fs.inner.Create(name, category)
	if err != nil {
		return nil, err
	}
	if _, err := f.WriteAt(header, 0); err != nil {
		f.Close()
		return nil, err
	}
	return &chunkWriteFile{writeOnly: writeOnly{File: f, path: name}, w: atrest.NewChunkWriter(sealed, f)}, nil
}

func (f *chunkWriteFile) Write(p []byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	n, err := f.w.Write(p)
	f.err = err
	return n, err
}

func (f *chunkWriteFile) Sync() error { return f.syncWith(f.File.Sync) }

func (f *chunkWriteFile) SyncData() error { return f.syncWith(f.File.SyncData) }

func (f *chunkWriteFile) syncWith(sync func() error) error {
	if f.err == nil {
		f.err = f.w.Flush()
	}
	if f.err == nil {
		f.err = sync()
	}
	return f.err
}

// SyncTo starts writing back the chunks that no later write changes. It never claims a full sync, because the last
// chunk is not in the file.
func (f *chunkWriteFile) SyncTo(int64) (bool, error) {
	if f.err != nil {
		return false, f.err
	}
	_, f.err = f.File.SyncTo(f.w.WholeChunks())
	return false, f.err
}

func (f *chunkWriteFile) Stat() (vfs.FileInfo, error) { return statSized(f.File, f.w.Size()) }

func (f *chunkWriteFile) Close() error {
	if f.err == nil {
		f.err = f.w.Flush()
	}
	err := f.File.Close()
	if f.err != nil {
		return f.err
	}
	return err
}

// chunkReadFile is a table opened for reading.
type chunkReadFile struct {
	readOnly
	r   *atrest.ChunkReader
	pos int64
}

func (fs *FS) openChunks(name string, f vfs.File, fileSize int64) (vfs.File, error) {
	header, err := readHeader(f)
	if err != nil {
		return nil, mark(name, err)
	}
	sealed, err := fs.ring.OpenFile(atrest.ModeChunk, fs.store, header, boundName(fs.inner.PathBase(name)))
	if err != nil {
		return nil, mark(name, err)
	}
	r, err := atrest.NewChunkReader(sealed, f, fileSize)
	if err != nil {
		return nil, mark(name, err)
	}
	return &chunkReadFile{readOnly: readOnly{File: f, path: name}, r: r}, nil
}

// statChunks tells a table's size by its header alone: Pebble asks for all of them when it opens a store, and compares
// with what its manifest says.
func (fs *FS) statChunks(name string, fileSize int64) (int64, error) {
	f, err := fs.inner.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	b, err := readHeader(f)
	if err != nil {
		return 0, mark(name, err)
	}
	h, err := atrest.ParseHeader(b)
	if err != nil {
		return 0, mark(name, err)
	}
	size, err := h.Chunks().PlainSize(fileSize)
	return size, mark(name, err)
}

// readHeader reads a file's header, or what there is of it.
func readHeader(f vfs.File) ([]byte, error) {
	b := make([]byte, atrest.HeaderSize)
	n, err := f.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		return nil, err
	}
	return b[:n], nil
}

func (f *chunkReadFile) Read(p []byte) (int, error) {
	n, err := f.r.ReadAt(p, f.pos)
	f.pos += int64(n)
	if err == io.EOF && n > 0 {
		err = nil
	}
	return n, mark(f.path, err)
}

func (f *chunkReadFile) ReadAt(p []byte, offset int64) (int, error) {
	n, err := f.r.ReadAt(p, offset)
	return n, mark(f.path, err)
}

func (f *chunkReadFile) Stat() (vfs.FileInfo, error) { return statSized(f.File, f.r.Size()) }

func (f *chunkReadFile) Prefetch(offset, length int64) error {
	start, n := f.r.FileRange(offset, length)
	if n == 0 {
		return nil
	}
	return f.File.Prefetch(start, n)
}
