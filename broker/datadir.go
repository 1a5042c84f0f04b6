package broker

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/sealmq/sealmq/internal/atrest"
	"github.com/sealmq/sealmq/internal/codec"
	"github.com/sealmq/sealmq/raftlog/journal"
)

// The files of a data directory. NODE is written last, so a directory that has it is whole.
const (
	nodeFile    = "NODE"
	lockName    = "LOCK"
	ringsFile   = "RINGS"
	journalDir  = "journal"
	nodeVersion = 2
)

// nodeRecord is what NODE says, sealed: whose directory this is and which stores belong in it.
//
//	u8 version | cluster 16 | bytes8 node | u64 incarnation | u16 mail groups
//	| store ids: journal 16, state 16, bodies 16, keys 16 | u8 count | (bytes8 member)*, ascending
//
// The members are those that the cluster was made with. A node that was told of others would make a cluster of its own.
type nodeRecord struct {
	cluster     [16]byte
	node        string
	incarnation uint64
	groups      uint16
	journal     atrest.StoreID
	state       atrest.StoreID
	bodies      atrest.StoreID
	keys        atrest.StoreID
	members     []string
}

func (n *nodeRecord) marshal() []byte {
	b := append([]byte{nodeVersion}, n.cluster[:]...)
	b = codec.AppendBytes8(b, []byte(n.node))
	b = codec.AppendU64(b, n.incarnation)
	b = codec.AppendU16(b, n.groups)
	for _, id := range []atrest.StoreID{n.journal, n.state, n.bodies, n.keys} {
		b = append(b, id[:]...)
	}
	b = append(b, byte(len(n.members)))
	for _, m := range n.members {
		b = codec.AppendBytes8(b, []byte(m))
	}
	return b
}

func parseNodeRecord(b []byte) (*nodeRecord, error) {
	r := codec.NewReader(b)
	if v := r.U8(); r.Err() == nil && v != nodeVersion {
		return nil, fmt.Errorf("version %d is another than this binary knows", v)
	}
	n := &nodeRecord{cluster: r.Array16(), node: string(r.Bytes8()), incarnation: r.U64(), groups: r.U16()}
	for _, id := range []*atrest.StoreID{&n.journal, &n.state, &n.bodies, &n.keys} {
		*id = r.Array16()
	}
	for range int(r.U8()) {
		n.members = append(n.members, string(r.Bytes8()))
	}
	if !slices.IsSorted(n.members) || len(slices.Compact(slices.Clone(n.members))) != len(n.members) {
		r.Fail(errors.New("members out of order"))
	}
	return n, r.Done()
}

// memberNames is how the members of a configuration stand in NODE.
func memberNames(members []Member) []string {
	names := make([]string, 0, len(members))
	for _, m := range members {
		names = append(names, m.Node)
	}
	slices.Sort(names)
	return names
}

// nodeStore is the store id under which NODE itself is sealed: it is read before any other id is known.
var nodeStore = atrest.StoreID{5}

// dataDir is an open, locked data directory.
type dataDir struct {
	path  string
	lock  *os.File
	rings *atrest.Rings
	node  *nodeRecord
}

// createDataDir makes the directory with everything but the journal, the stores and NODE, and locks it.
func createDataDir(o *Options) (d *dataDir, err error) {
	if entries, err := os.ReadDir(o.DataDir); err == nil && len(entries) > 0 {
		return nil, &DataError{Path: o.DataDir, Reason: "is not empty; a node is only made in a new directory"}
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, unusable(o.DataDir, err, false)
	}
	root, err := atrest.KeyFileRoot(o.RootKey)
	if err != nil {
		return nil, &KeyError{Path: o.RootKey, Err: err}
	}
	d = &dataDir{path: o.DataDir, node: &nodeRecord{
		cluster: o.Cluster, node: o.Node, incarnation: 1, groups: uint16(o.Groups),
		journal: newStoreID(1), state: newStoreID(2), bodies: newStoreID(3), keys: newStoreID(4),
		members: memberNames(o.Members),
	}}
	if d.rings, err = atrest.NewRings(root); err != nil {
		return nil, err
	}
	sealed, err := d.rings.Marshal()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("making the data directory: %w", err)
	}
	if err := atrest.SyncDir(filepath.Dir(filepath.Clean(o.DataDir))); err != nil {
		return nil, fmt.Errorf("syncing the directory above the data directory: %w", err)
	}
	// Whoever makes the lock file makes the node.
	if err := d.takeLock(os.O_EXCL); err != nil {
		return nil, err
	}
	if err := atrest.WriteFile(filepath.Join(d.path, ringsFile), sealed); err != nil {
		d.discard()
		return nil, fmt.Errorf("writing the key rings: %w", err)
	}
	return d, nil
}

// commit writes NODE: the directory is whole.
func (d *dataDir) commit() error {
	record, err := d.rings.Ring(atrest.RingMessages).SealRecord(nodeStore, nodeFile, d.node.marshal())
	if err != nil {
		return err
	}
	return atrest.WriteFile(filepath.Join(d.path, nodeFile), record)
}

// discard deletes what was made of a directory that was empty before and did not become whole.
func (d *dataDir) discard() {
	d.close()
	entries, _ := os.ReadDir(d.path)
	for _, e := range entries {
		os.RemoveAll(filepath.Join(d.path, e.Name()))
	}
}

// openDataDir checks that a directory is this node's, and locks it. It changes nothing; only a lock file that was
// deleted is made again.
func openDataDir(o *Options) (*dataDir, error) {
	path := filepath.Join(o.DataDir, nodeFile)
	sealed, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, noNode(o.DataDir)
	case err != nil:
		return nil, unusable(path, err, false)
	}
	d := &dataDir{path: o.DataDir}
	if err := d.unseal(o, path, sealed); err != nil {
		return nil, err
	}
	if err := d.takeLock(0); err != nil {
		return nil, err
	}
	return d, nil
}

// noNode tells a directory that never was a node's from one that has lost what says whose it is.
func noNode(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return unusable(dir, err, false)
	case len(entries) > 0:
		return &DataError{Path: filepath.Join(dir, nodeFile), Reason: "is missing, and without it the rest cannot be read. " +
			"Keep the directory aside; the other nodes have what it held"}
	}
	return &DataError{Path: dir, Reason: "holds no node; make one with: sealmq init"}
}

// takeLock locks the directory for as long as this process uses it.
func (d *dataDir) takeLock(flags int) error {
	lock, err := os.OpenFile(filepath.Join(d.path, lockName), os.O_RDWR|os.O_CREATE|flags, 0o600)
	if err != nil {
		return unusable(d.path, err, false)
	}
	if err := lockFile(lock); err != nil {
		lock.Close()
		if errors.Is(err, ErrInUse) {
			return fmt.Errorf("%s: %w", d.path, err)
		}
		return unusable(d.path, err, false)
	}
	d.lock = lock
	return nil
}

func (d *dataDir) unseal(o *Options, path string, sealed []byte) error {
	root, err := atrest.KeyFileRoot(o.RootKey)
	if err != nil {
		return &KeyError{Path: o.RootKey, Err: err}
	}
	rings, err := os.ReadFile(filepath.Join(d.path, ringsFile))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return &DataError{Path: filepath.Join(d.path, ringsFile), Reason: "is missing", Err: err}
		}
		return unusable(filepath.Join(d.path, ringsFile), err, false)
	}
	switch d.rings, err = atrest.OpenRings(rings, root); {
	case errors.Is(err, atrest.ErrWrongKey):
		return &KeyError{Path: o.RootKey, Err: fmt.Errorf("does not open %s: %w", d.path, err)}
	case err != nil:
		return &DataError{Path: filepath.Join(d.path, ringsFile), Reason: "is damaged", Err: err}
	}
	record, err := d.rings.Ring(atrest.RingMessages).OpenRecord(nodeStore, nodeFile, sealed)
	if err != nil {
		return &DataError{Path: path, Reason: "is damaged", Err: err}
	}
	if d.node, err = parseNodeRecord(record); err != nil {
		return &DataError{Path: path, Reason: "is not understood", Err: err}
	}
	foreign := func(format string, is, says any) error {
		return &DataError{Path: d.path, Reason: fmt.Sprintf(format+", the configuration says %[2]v", is, says)}
	}
	switch {
	case d.node.cluster != o.Cluster:
		return foreign("belongs to cluster %[1]v", fmt.Sprintf("%x", d.node.cluster), fmt.Sprintf("%x", o.Cluster))
	case d.node.node != o.Node:
		return foreign("belongs to node %[1]q", d.node.node, o.Node)
	case int(d.node.groups) != o.Groups:
		return foreign("was made for %[1]d groups", d.node.groups, o.Groups)
	case !slices.Equal(d.node.members, memberNames(o.Members)):
		return &ConfigError{"cluster.members", fmt.Sprintf("names %v; %s was made for a cluster of %v",
			memberNames(o.Members), d.path, d.node.members)}
	}
	return nil
}

func (d *dataDir) journalOptions(o *Options, fatal func(error)) journal.Options {
	return journal.Options{
		Dir: filepath.Join(d.path, journalDir), FS: journal.OSFS(), Ring: d.rings.Ring(atrest.RingJournal),
		Store: d.node.journal, SegmentBytes: o.JournalSegmentBytes, Fatal: fatal, Logger: o.Logger,
	}
}

// newStoreID draws the id that the files of a store are bound to. Its first byte says which kind of store it is.
func newStoreID(kind byte) (id atrest.StoreID) {
	rand.Read(id[:])
	id[0] = kind
	return id
}

func (d *dataDir) close() {
	if d.lock != nil {
		d.lock.Close()
	}
}
