package sealedfs

import (
	"bytes"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sealmq/sealmq/internal/atrest"
)

// frameWriteFile is a new file in frame mode: every Write is a frame at least, every sync is followed by a mark.
type frameWriteFile struct {
	writeOnly
	w   *atrest.FrameWriter
	to  *reopened // what w writes to
	err error     // of the first write or sync that failed
}

// reopened is a file handle that may be replaced by another one of the same file.
type reopened struct{ vfs.File }

// createFrames makes a file at path that is sealed for base.
func (fs *FS) createFrames(path, base string, category vfs.DiskWriteCategory) (*frameWriteFile, error) {
	sealed, header, err := fs.ring.NewFile(atrest.ModeFrame, fs.store, frameLog2, boundName(base))
	if err != nil {
		return nil, err
	}
	f, err := fs.inner.Create(path, category)
	if err != nil {
		return nil, err
	}
	to := &reopened{File: f}
	w, err := atrest.NewFrameWriter(sealed, header, to)
	if err != nil {
		f.Close()
		return nil, err
	}
	return &frameWriteFile{writeOnly: writeOnly{File: f, path: path}, w: w, to: to}, nil
}

// createLog makes a log appear with its front in place and durable. Pebble does not sync a new log; one that a crash
// left without its front could not be told from one that was spoiled.
func (fs *FS) createLog(name, base string, category vfs.DiskWriteCategory) (vfs.File, error) {
	birth := fs.inner.PathJoin(fs.inner.PathDir(name), birthName(base))
	log, err := fs.createFrames(birth, base, category)
	if err != nil {
		return nil, err
	}
	err = log.File.Sync()
	if closeErr := log.File.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = fs.inner.Rename(birth, name)
	}
	if err != nil {
		return nil, err
	}
	f, err := fs.inner.OpenReadWrite(name, category)
	if err != nil {
		return nil, err
	}
	log.File, log.to.File, log.path = f, f, name
	return log, nil
}

func (f *frameWriteFile) Write(p []byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	n, err := f.w.Write(p)
	f.err = err
	return n, err
}

func (f *frameWriteFile) Sync() error { return f.syncWith(f.File.Sync) }

func (f *frameWriteFile) SyncData() error { return f.syncWith(f.File.SyncData) }

func (f *frameWriteFile) syncWith(sync func() error) error {
	if f.err == nil {
		f.err = sync()
	}
	if f.err == nil {
		f.err = f.w.Synced()
	}
	return f.err
}

// SyncTo starts writing back all that was written.
func (f *frameWriteFile) SyncTo(int64) (bool, error) {
	if f.err != nil {
		return false, f.err
	}
	full, err := f.File.SyncTo(f.w.FileSize())
	if full && err == nil {
		err = f.w.Synced()
	}
	f.err = err
	return full, err
}

func (f *frameWriteFile) Stat() (vfs.FileInfo, error) { return statSized(f.File, f.w.Size()) }

// Close finishes the file, so that a later reader knows that nothing is missing. The final frame vouches for all that
// is before it, so that must be durable first.
func (f *frameWriteFile) Close() error {
	if f.err == nil && f.w.Durable() != f.w.FileSize() {
		f.syncWith(f.File.SyncData)
	}
	if f.err == nil {
		f.err = f.w.Finish()
	}
	f.syncWith(f.File.SyncData)
	err := f.File.Close()
	if f.err != nil {
		return f.err
	}
	return err
}

// frameReadFile is a file in frame mode opened for reading. All of it was authenticated when it was opened.
type frameReadFile struct {
	readOnly
	frames *atrest.Frames
	pos    int64
	tail   []byte // what Read gives after the plaintext
}

// tornLogTail is what a reader of a log without its final frame finds at the end. Pebble takes the end of a log for a
// clean one if the file just stops; these bytes are no record, so it applies its own rule instead: tolerated at the end
// of the newest log, corruption at the end of an older one, which must have been closed.
var tornLogTail = bytes.Repeat([]byte{0xff}, 32)

func (fs *FS) openFrames(name string, kind kind, f vfs.File) (vfs.File, error) {
	frames, err := fs.scanFrames(name, f)
	if err != nil {
		return nil, mark(name, err)
	}
	opened := &frameReadFile{readOnly: readOnly{File: f, path: name}, frames: frames}
	if frames.Final() {
		return opened, nil
	}
	switch kind {
	case kindWhole:
		return nil, corrupt(name, "the end of the file is missing")
	case kindManifest:
		if frames.Size() == 0 {
			return nil, corrupt(name, "there is nothing in it, though it was synced before it was pointed to")
		}
	case kindLog:
		opened.tail = tornLogTail
	}
	if torn := frames.Torn(); torn > 0 && fs.opts.TornTail != nil {
		fs.opts.TornTail(name, torn)
	}
	return opened, nil
}

func (fs *FS) scanFrames(name string, f vfs.File) (*atrest.Frames, error) {
	header, err := readHeader(f)
	if err != nil {
		return nil, err
	}
	sealed, err := fs.ring.OpenFile(atrest.ModeFrame, fs.store, header, boundName(fs.inner.PathBase(name)))
	if err != nil {
		return nil, err
	}
	return atrest.ScanFrames(sealed, f, func() (int64, error) {
		info, err := f.Stat()
		if err != nil {
			return 0, err
		}
		return info.Size(), nil
	})
}

func (f *frameReadFile) Read(p []byte) (int, error) {
	n, err := f.frames.ReadAt(p, f.pos)
	if err == io.EOF && n < len(p) {
		if past := f.pos + int64(n) - f.frames.Size(); past < int64(len(f.tail)) {
			n += copy(p[n:], f.tail[past:])
		}
		if n > 0 {
			err = nil
		}
	}
	f.pos += int64(n)
	return n, mark(f.path, err)
}

func (f *frameReadFile) ReadAt(p []byte, offset int64) (int, error) {
	n, err := f.frames.ReadAt(p, offset)
	return n, mark(f.path, err)
}

func (f *frameReadFile) Stat() (vfs.FileInfo, error) { return statSized(f.File, f.frames.Size()) }

// Prefetch does nothing: the file has been read once already.
func (f *frameReadFile) Prefetch(int64, int64) error { return nil }
