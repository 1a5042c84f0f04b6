package broker

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/sealmq/sealmq/internal/atrest"
	"github.com/sealmq/sealmq/internal/pki"
	"github.com/sealmq/sealmq/raftlog/journal"
	"github.com/sealmq/sealmq/wire"
)

// Member is a node of the cluster as every node's configuration names it.
type Member struct {
	Node   string // the node's id
	Peer   string // host:port of its peer listener
	Client string // host:port that clients dial
}

// TLSFiles are the PEM files of one listener. CA is the authority whose certificates it accepts; OperatorCA, on the
// client listener only, is a second one.
type TLSFiles struct {
	Cert, Key, CA, OperatorCA string
}

// Listen is where a listener stands and what it proves itself with.
type Listen struct {
	Address   string // host:port; empty switches the operator listener off
	Advertise string // what this node says that clients dial, if it is not what Members say
	TLS       TLSFiles
}

// Options is everything that a node is told. Nothing in it is replicated: what decides the fate of a message is in the
// commands.
type Options struct {
	Node    string   // this node's id, one of Members
	DataDir string   // see the package comment for what is in it
	RootKey string   // path of the root key file, outside DataDir
	Cluster [16]byte // drawn at init
	Members []Member
	Groups  int // mail groups, fixed at init

	Client, Peer, Operator Listen
	// Listeners already bound, used instead of Address. Open takes them over.
	ClientListener, PeerListener, OperatorListener net.Listener

	RaftTimeout         time.Duration // heartbeat, election and lease; 2 s unless set
	JournalSegmentBytes int64         // 32 MiB unless set
	BodyBytes           int           // largest body; 1 MiB unless set
	Connections         int           // clients at once; 1,000 unless set
	MemoryBytes         int64         // caches and what is in flight; 256 MiB unless set

	LogNames bool         // whether log lines may carry mailbox and principal names
	Logger   *slog.Logger // slog.Default unless set
	Version  string       // of the binary, told to clients and in status

	// Fatal is called once, with the first failed write or fsync of the journal or a store: the process must end,
	// because nothing after it can be trusted. Unless set it logs and exits with status 1.
	Fatal func(error)
}

const (
	defaultRaftTimeout  = 2 * time.Second
	defaultConnections  = 1000
	defaultMemoryBytes  = 256 << 20
	defaultSegmentBytes = 32 << 20
	leastSegmentBytes   = 64 << 10
	mostSegmentBytes    = 1 << 30
	// leastMemoryBytes is what a node needs for one entry of each group, a few large frames and its caches.
	leastMemoryBytes = 32 << 20
	leastRaftTimeout = 20 * time.Millisecond
	// MaxGroups bounds the mail groups of a cluster: the control group has a place in the journal too.
	MaxGroups = journal.MaxGroups - 1
)

// Check says what keeps a node from starting with o: wrong options, certificates that are not this node's, a root key
// that is none. The errors are a *ConfigError or *KeyError each, joined. The data directory is not looked at.
func (o Options) Check() error {
	if err := o.fill(); err != nil {
		return err
	}
	_, err := loadIdentities(&o)
	if _, keyErr := atrest.KeyFileRoot(o.RootKey); keyErr != nil {
		err = errors.Join(err, &KeyError{Path: o.RootKey, Err: keyErr})
	}
	return err
}

// fill puts in defaults and refuses what cannot work.
func (o *Options) fill() error {
	o.RaftTimeout = cmp.Or(o.RaftTimeout, defaultRaftTimeout)
	o.Connections = cmp.Or(o.Connections, defaultConnections)
	o.MemoryBytes = cmp.Or(o.MemoryBytes, defaultMemoryBytes)
	o.BodyBytes = cmp.Or(o.BodyBytes, wire.BodyBytes)
	o.JournalSegmentBytes = cmp.Or(o.JournalSegmentBytes, defaultSegmentBytes)
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	switch {
	case pki.CheckID(o.Node) != nil:
		return &ConfigError{"node", pki.CheckID(o.Node).Error()}
	case o.DataDir == "":
		return &ConfigError{"data", "no directory is given"}
	case o.RootKey == "":
		return &ConfigError{"root_key", "no file is given"}
	case o.Cluster == [16]byte{}:
		return &ConfigError{"cluster.id", "no cluster id is given"}
	case o.Groups < 1 || o.Groups > MaxGroups:
		return &ConfigError{"cluster.groups", fmt.Sprintf("%d is not from 1 to %d", o.Groups, MaxGroups)}
	case o.BodyBytes < 1 || o.BodyBytes > wire.BodyBytes:
		return &ConfigError{"limits.body", fmt.Sprintf("%d is not from 1 to %d bytes", o.BodyBytes, wire.BodyBytes)}
	case o.Connections < 1:
		return &ConfigError{"limits.connections", "must be at least 1"}
	case o.MemoryBytes < leastMemoryBytes:
		return &ConfigError{"limits.memory", "must be at least 32MiB"}
	case o.RaftTimeout < leastRaftTimeout:
		return &ConfigError{"raft.timeout", "must be at least " + leastRaftTimeout.String()}
	case o.JournalSegmentBytes < leastSegmentBytes || o.JournalSegmentBytes > mostSegmentBytes:
		return &ConfigError{"journal.segment", "must be from 64KiB to 1GiB"}
	case o.Client.Advertise != "" && wire.CheckPrincipal(o.Client.Advertise) != nil:
		return &ConfigError{"client.advertise", "is not an address"}
	}
	if err := o.checkMembers(); err != nil {
		return err
	}
	if within(o.RootKey, o.DataDir) {
		return &ConfigError{"root_key", "lies inside the data directory: whoever copies the data gets the key too"}
	}
	return nil
}

func (o *Options) checkMembers() error {
	nodes := map[string]bool{}
	for _, m := range o.Members {
		switch {
		case pki.CheckID(m.Node) != nil:
			return &ConfigError{"cluster.members", pki.CheckID(m.Node).Error()}
		case nodes[m.Node]:
			return &ConfigError{"cluster.members", fmt.Sprintf("%q stands twice", m.Node)}
		case wire.CheckPrincipal(m.Peer) != nil || wire.CheckPrincipal(m.Client) != nil:
			return &ConfigError{"cluster.members", fmt.Sprintf("%q lacks an address", m.Node)}
		}
		nodes[m.Node] = true
	}
	if !nodes[o.Node] {
		return &ConfigError{"cluster.members", fmt.Sprintf("this node, %q, is not among them", o.Node)}
	}
	return nil
}

// within reports whether a file lies in a directory, whatever way the two are written.
func within(file, dir string) bool {
	inside, err := filepath.Rel(realPath(dir), realPath(file))
	return err == nil && filepath.IsLocal(inside)
}

// realPath returns the absolute path without links, as far as the path exists.
func realPath(path string) string {
	path, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	if parent := filepath.Dir(path); parent != path {
		if _, err := os.Lstat(path); err != nil {
			return filepath.Join(realPath(parent), filepath.Base(path))
		}
	}
	return path
}

// ConfigError says which option is wrong. The command line exits with 2.
type ConfigError struct {
	Option string
	Reason string
}

func (e *ConfigError) Error() string { return fmt.Sprintf("%s: %s", e.Option, e.Reason) }

// DataError says what is wrong with a data directory: damaged, another node's, or of an unknown format. Nothing was
// changed, unless Begun. The command line exits with 7.
type DataError struct {
	Path   string
	Reason string
	Err    error
	Begun  bool // recovery had begun: files were written again, with what they held before
}

func (e *DataError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %s: %v", e.Path, e.Reason, e.Err)
	}
	return fmt.Sprintf("%s: %s", e.Path, e.Reason)
}

func (e *DataError) Unwrap() error { return e.Err }

// ErrInUse means that another process runs on a data directory. Nothing was changed. The command line exits with 6.
var ErrInUse = errors.New("another node runs on it")

// InUse reports whether a process runs on a data directory. It changes nothing, and is no promise for the next moment:
// what Open finds counts.
func InUse(dataDir string) bool {
	lock, err := os.OpenFile(filepath.Join(dataDir, lockName), os.O_RDWR, 0)
	if err != nil {
		return false
	}
	defer lock.Close() // ends the lock too
	return errors.Is(lockFile(lock), ErrInUse)
}

// KeyError says that the root key cannot be read or does not open the data directory. The command line exits with 8.
type KeyError struct {
	Path string
	Err  error
}

func (e *KeyError) Error() string { return fmt.Sprintf("root key %s: %v", e.Path, e.Err) }

func (e *KeyError) Unwrap() error { return e.Err }
