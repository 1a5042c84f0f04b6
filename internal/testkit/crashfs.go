package testkit

import (
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sealmq/sealmq/raftlog/journal"
)

// Op names one kind of call that a CrashFS can be told to fail.
type Op string

// The calls of journal.FS and journal.File.
const (
	OpCreate   Op = "create"
	OpOpen     Op = "open"
	OpRename   Op = "rename"
	OpRemove   Op = "remove"
	OpList     Op = "list"
	OpMkdir    Op = "mkdir"
	OpSyncDir  Op = "sync dir"
	OpRead     Op = "read"
	OpWrite    Op = "write"
	OpSync     Op = "sync"
	OpTruncate Op = "truncate"
	OpSize     Op = "size"
	OpClose    Op = "close"
)

// Changes reports whether the call changes the disk or makes a change durable.
func (o Op) Changes() bool {
	switch o {
	case OpCreate, OpRename, OpRemove, OpMkdir, OpSyncDir, OpWrite, OpSync, OpTruncate:
		return true
	}
	return false
}

// Fault is what happens to a call. The zero Fault lets it through.
type Fault struct {
	Err error
	// Short makes a write end half way, with Err, which may be nil.
	Short bool
}

// CrashFS is a journal.FS in memory that can lose power: Pebble's crashable MemFS behind the journal's interface. What
// was not synced is lost, kept or kept in part, by 4 KiB blocks and by directory entries.
//
// A Truncate does nothing: it is not synced, so a disk may forget it.
type CrashFS struct {
	mem *vfs.MemFS

	mu   sync.Mutex
	hook func(op Op, name string) Fault

	// gate is held for reading by every call, so that none is under way when Kill returns.
	gate sync.RWMutex
	dead bool
}

var _ journal.FS = (*CrashFS)(nil)

// NewCrashFS returns an empty file system.
func NewCrashFS() *CrashFS { return &CrashFS{mem: vfs.NewCrashableMem()} }

// Hook sets a function that is asked before every call, on the goroutine that makes it; nil asks nobody.
func (c *CrashFS) Hook(hook func(op Op, name string) Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hook = hook
}

// PowerCut returns the file system as it might be found after a power cut now: everything that was synced, and of the
// rest about unsyncedPercent. The old one goes on as if nothing had happened.
func (c *CrashFS) PowerCut(rng *rand.Rand, unsyncedPercent int) *CrashFS {
	return &CrashFS{mem: c.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: unsyncedPercent, RNG: rng})}
}

// Kill ends the process that uses the file system, and returns the same disk for the next one: what was written and not
// synced is still there to be read, and still lost at a power cut. Every later call on the old one fails.
func (c *CrashFS) Kill() *CrashFS {
	c.gate.Lock()
	defer c.gate.Unlock()
	c.dead = true
	return &CrashFS{mem: c.mem}
}

// ErrKilled is what calls of a killed process get.
var ErrKilled = errors.New("this process was killed")

// ReadFile returns a file's bytes, past every fault.
func (c *CrashFS) ReadFile(name string) ([]byte, error) {
	f, err := c.mem.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// WriteFile replaces a file, past every fault, and syncs it.
func (c *CrashFS) WriteFile(name string, b []byte) error {
	f, err := c.mem.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if _, err = f.Write(append([]byte(nil), b...)); err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return c.syncDir(filepath.Dir(name))
}

// enter asks the hook and keeps Kill out until leave; a fault with an error needs no leave.
func (c *CrashFS) enter(op Op, name string) Fault {
	c.mu.Lock()
	hook := c.hook
	c.mu.Unlock()
	var f Fault
	if hook != nil {
		f = hook(op, name)
	}
	c.gate.RLock()
	if c.dead {
		f = Fault{Err: ErrKilled}
	}
	if f.Err != nil {
		c.gate.RUnlock()
		f.Err = &fs.PathError{Op: string(op), Path: name, Err: f.Err}
	}
	return f
}

func (c *CrashFS) leave() { c.gate.RUnlock() }

// Create implements journal.FS. The space is there at once, as zeros.
func (c *CrashFS) Create(name string, sizeBytes int64) (journal.File, error) {
	if f := c.enter(OpCreate, name); f.Err != nil {
		return nil, f.Err
	}
	defer c.leave()
	if _, err := c.mem.Stat(name); err == nil {
		return nil, &fs.PathError{Op: string(OpCreate), Path: name, Err: fs.ErrExist}
	}
	f, err := c.mem.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	if _, err := f.Write(make([]byte, sizeBytes)); err != nil {
		return nil, err
	}
	return &crashFile{fs: c, name: name, file: f}, nil
}

// Open implements journal.FS.
func (c *CrashFS) Open(name string) (journal.File, error) {
	if f := c.enter(OpOpen, name); f.Err != nil {
		return nil, f.Err
	}
	defer c.leave()
	f, err := c.mem.Open(name)
	if err != nil {
		return nil, err
	}
	return &crashFile{fs: c, name: name, file: f}, nil
}

// OpenWrite implements journal.FS.
func (c *CrashFS) OpenWrite(name string) (journal.File, error) {
	if f := c.enter(OpOpen, name); f.Err != nil {
		return nil, f.Err
	}
	defer c.leave()
	if _, err := c.mem.Stat(name); err != nil {
		return nil, err
	}
	f, err := c.mem.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	return &crashFile{fs: c, name: name, file: f}, nil
}

// Rename implements journal.FS.
func (c *CrashFS) Rename(from, to string) error {
	if f := c.enter(OpRename, from); f.Err != nil {
		return f.Err
	}
	defer c.leave()
	return c.mem.Rename(from, to)
}

// Remove implements journal.FS.
func (c *CrashFS) Remove(name string) error {
	if f := c.enter(OpRemove, name); f.Err != nil {
		return f.Err
	}
	defer c.leave()
	return c.mem.Remove(name)
}

// List implements journal.FS.
func (c *CrashFS) List(dir string) ([]string, error) {
	if f := c.enter(OpList, dir); f.Err != nil {
		return nil, f.Err
	}
	defer c.leave()
	return c.mem.List(dir)
}

// MkdirAll implements journal.FS.
func (c *CrashFS) MkdirAll(dir string) error {
	if f := c.enter(OpMkdir, dir); f.Err != nil {
		return f.Err
	}
	defer c.leave()
	return c.mem.MkdirAll(dir, 0o700)
}

// SyncDir implements journal.FS.
func (c *CrashFS) SyncDir(dir string) error {
	if f := c.enter(OpSyncDir, dir); f.Err != nil {
		return f.Err
	}
	defer c.leave()
	return c.syncDir(dir)
}

func (c *CrashFS) syncDir(dir string) error {
	d, err := c.mem.OpenDir(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if closeErr := d.Close(); err == nil {
		err = closeErr
	}
	return err
}

type crashFile struct {
	fs   *CrashFS
	name string
	file vfs.File
}

func (f *crashFile) ReadAt(p []byte, off int64) (int, error) {
	if fault := f.fs.enter(OpRead, f.name); fault.Err != nil {
		return 0, fault.Err
	}
	defer f.fs.leave()
	return f.file.ReadAt(p, off)
}

func (f *crashFile) WriteAt(p []byte, off int64) (int, error) {
	fault := f.fs.enter(OpWrite, f.name)
	if fault.Err != nil && !fault.Short {
		return 0, fault.Err
	}
	if fault.Err == nil {
		defer f.fs.leave()
	}
	if fault.Short {
		p = p[:len(p)/2]
	}
	n, err := f.file.WriteAt(p, off)
	if err != nil {
		return n, err
	}
	return n, fault.Err
}

func (f *crashFile) SyncData() error {
	if fault := f.fs.enter(OpSync, f.name); fault.Err != nil {
		return fault.Err
	}
	defer f.fs.leave()
	return f.file.SyncData()
}

func (f *crashFile) Truncate(int64) error {
	if fault := f.fs.enter(OpTruncate, f.name); fault.Err != nil {
		return fault.Err
	}
	f.fs.leave()
	return nil
}

func (f *crashFile) Size() (int64, error) {
	if fault := f.fs.enter(OpSize, f.name); fault.Err != nil {
		return 0, fault.Err
	}
	defer f.fs.leave()
	info, err := f.file.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// Close always closes: a file is closed once, whatever it answers.
func (f *crashFile) Close() error {
	fault := f.fs.enter(OpClose, f.name)
	if fault.Err == nil {
		defer f.fs.leave()
	}
	if err := f.file.Close(); err != nil {
		return err
	}
	return fault.Err
}
