package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"syscall"
	"time"

	"github.com/sealmq/sealmq/broker/machine"
	"github.com/sealmq/sealmq/internal/atrest"
	"github.com/sealmq/sealmq/raftlog"
	"github.com/sealmq/sealmq/raftlog/journal"
	"github.com/sealmq/sealmq/storage"
	"github.com/sealmq/sealmq/wire"
)

// Format makes a node's data directory: key rings, an empty journal, empty stores, and last the node record. It
// refuses a directory that is not empty, and leaves nothing of one that it could not finish.
func Format(o Options) (err error) {
	if err := o.fill(); err != nil {
		return err
	}
	d, err := createDataDir(&o)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			d.discard()
		}
		d.close()
	}()
	if err := journal.Create(d.journalOptions(&o, nil)); err != nil {
		return fmt.Errorf("making the journal: %w", err)
	}
	if err := storage.Create(d.storeOptions(&o, nil)); err != nil {
		return fmt.Errorf("making the stores: %w", err)
	}
	return d.commit()
}

// Open starts a node: it takes part in its groups and serves clients when it returns, and is ready a little later. The
// listeners in Options are closed with the node, also if it does not start.
func Open(o Options) (_ *Broker, err error) {
	b := &Broker{
		listening: map[string]net.Addr{}, clock: newClock(), listings: make(places, listings), unused: given(&o),
	}
	defer func() {
		if err != nil {
			b.Close()
		}
	}()
	if err := o.fill(); err != nil {
		return nil, err
	}
	b.o, b.log, b.metrics = o, o.Logger, newMetrics(o.Node)
	b.outboxes, b.largeFrames = &budget{limitBytes: o.outboxBytes()}, make(places, o.largeFrames())
	b.refusals = refusals{newThrottle(b.log, slog.LevelInfo)}
	b.warnings, b.failures = newThrottle(b.log, slog.LevelWarn), newThrottle(b.log, slog.LevelError)
	if b.identities, err = loadIdentities(&b.o); err != nil {
		return nil, err
	}
	// A port that is taken is found out before anything is touched.
	if err := b.listen(); err != nil {
		return nil, err
	}
	if b.dir, err = openDataDir(&b.o); err != nil {
		return nil, err
	}
	if err := b.openLog(); err != nil {
		return nil, err
	}
	if err := b.join(); err != nil {
		return nil, err
	}
	b.clients = newListener(b, b.takeListener("client"), b.identities.client.Server(admitClient(&b.o), wire.ALPN))
	b.keepUp()
	b.observe()
	b.serve()
	b.log.Info("node has started", "node", o.Node, "version", o.Version, "cluster", fmt.Sprintf("%x", o.Cluster),
		"client", b.listening["client"].String(), "peer", b.listening["peer"].String())
	return b, nil
}

// given returns the listeners that came with the options, by their section.
func given(o *Options) map[string]net.Listener {
	all := map[string]net.Listener{}
	for section, l := range map[string]net.Listener{
		"client": o.ClientListener, "peer": o.PeerListener, "operator": o.OperatorListener,
	} {
		if l != nil {
			all[section] = l
		}
	}
	return all
}

// listen binds the listeners that were not given.
func (b *Broker) listen() error {
	for section, l := range map[string]Listen{"client": b.o.Client, "peer": b.o.Peer, "operator": b.o.Operator} {
		if section == "operator" && b.identities.operator == nil {
			continue
		}
		if b.unused[section] == nil {
			bound, err := net.Listen("tcp", l.Address)
			if errors.Is(err, syscall.EADDRINUSE) {
				return &ConfigError{section + ".listen", l.Address + " is taken by another program"}
			}
			if err != nil {
				return &ConfigError{section + ".listen", err.Error()}
			}
			b.unused[section] = bound
		}
		b.listening[section] = b.unused[section].Addr()
	}
	return nil
}

// takeListener gives a listener to the part that closes it from now on.
func (b *Broker) takeListener(section string) net.Listener {
	l := b.unused[section]
	delete(b.unused, section)
	return l
}

// openLog opens the journal and the stores, and refuses a pair that cannot belong together. All three stores are looked
// at before the journal writes its tail again: what is refused is as it was.
func (b *Broker) openLog() error {
	path := filepath.Join(b.dir.path, journalDir)
	stores := b.dir.storeOptions(&b.o, b.fatal)
	applied, err := storage.Inspect(stores, b.o.Groups+1)
	if err != nil {
		return unusable(b.dir.path, err, false)
	}
	log := b.dir.journalOptions(&b.o, b.fatal)
	log.Applied = map[uint16]uint64{}
	for id, a := range applied {
		log.Applied[uint16(id)] = a.Index
	}
	if b.journal, err = journal.Open(log); err != nil {
		return unusable(path, err, false)
	}
	if b.stores, err = storage.Open(stores); err != nil {
		return unusable(b.dir.path, err, true)
	}
	return nil
}

// join starts the groups.
func (b *Broker) join() error {
	members := make([]raftlog.Member, 0, len(b.o.Members))
	for _, m := range b.o.Members {
		members = append(members, raftlog.Member{Node: m.Node, Address: m.Peer, Voter: true})
	}
	preferred := map[uint16]string{}
	for id := range uint16(b.o.Groups + 1) {
		preferred[id] = b.o.Members[int(id)%len(b.o.Members)].Node
	}
	var err error
	b.host, err = raftlog.NewHost(raftlog.Options{
		Cluster: b.o.Cluster, Node: b.o.Node, Members: members, Preferred: preferred,
		Log:      func(id uint16) raftlog.Log { return b.journal.Group(id) },
		Listener: peerListener{b.unused["peer"], b.identities.peer.Server(admitPeer(&b.o, ""), peerProtocol)},
		Dial:     b.identities.dialPeer(&b.o), CacheBytes: b.o.entryCacheBytes(),
		Timeout: b.o.RaftTimeout, Logger: b.log, Fatal: b.fatal,
	})
	if err != nil {
		return err
	}
	b.takeListener("peer")
	rights, err := machine.OpenControl(b.stores)
	if err != nil {
		return unusable(b.dir.path, err, true)
	}
	b.control = b.newControlPlane(rights)
	if err := b.control.start(b.control.follow, b.control.applied); err != nil {
		return unusable(b.dir.path, err, true)
	}
	for id := uint16(1); id <= uint16(b.o.Groups); id++ {
		rules, err := machine.OpenMail(b.stores, id, b.o.machineCacheBytes())
		if err != nil {
			return unusable(b.dir.path, err, true)
		}
		g := &mailGroup{
			machine: rules, waits: newWaitList[*receiver](), holds: newHolds(), group: b.newGroup(id, rules),
		}
		g.headers = newHeaderSealer(g.reader)
		b.mail = append(b.mail, g)
		if err := g.start(g.follow, func() {}); err != nil {
			return unusable(b.dir.path, err, true)
		}
	}
	return nil
}

func (b *Broker) newGroup(id uint16, rules rules) group {
	return group{broker: b, id: id, rules: rules, reader: b.stores.Reader(id)}
}

// keepUp starts what runs beside requests.
func (b *Broker) keepUp() {
	ctx, cancel := context.WithCancel(context.Background())
	b.stopUpkeep = cancel
	b.upkeep.Go(func() { b.flush(ctx) })
	b.upkeep.Go(func() { b.control.keepFresh(ctx) })
	b.upkeep.Go(func() { b.control.watch(ctx) })
	b.upkeep.Go(func() { b.watchCertificates(ctx) })
	for _, g := range b.mail {
		b.upkeep.Go(func() { g.expire(ctx) })
	}
}

// serve lets clients and operators in.
func (b *Broker) serve() {
	if b.identities.operator != nil {
		b.operator = b.operatorServer()
		inner := b.takeListener("operator")
		b.upkeep.Go(func() { b.operator.ServeTLS(inner, "", "") })
	}
	b.clients.done.Add(1)
	go b.clients.serve()
}

// operatorGrace is how long an answer to an operator may take when the node stops.
const operatorGrace = time.Second

// close takes apart what Open joined, in reverse, as far as it got. Nobody is served any more.
func (b *Broker) close(ctx context.Context, flush bool) (err error) {
	b.closing.Do(func() {
		if b.operator != nil {
			ctx, cancel := context.WithTimeout(context.Background(), operatorGrace)
			b.operator.Shutdown(ctx)
			cancel()
			b.operator.Close()
		}
		if b.stopUpkeep != nil {
			b.stopUpkeep()
		}
		b.upkeep.Wait()
		if b.host != nil {
			err = errors.Join(err, b.host.Close())
		}
		for _, g := range b.started() {
			g.proposer.close()
		}
		if b.stores != nil {
			if flush {
				// The journal has what does not get there in time.
				if e := b.flushStores(ctx); ctx.Err() == nil {
					err = errors.Join(err, e)
				}
			}
			err = errors.Join(err, b.stores.Close())
		}
		if b.journal != nil {
			err = errors.Join(err, b.journal.Close())
		}
		if b.dir != nil {
			b.dir.close()
		}
		for _, l := range b.unused {
			l.Close()
		}
	})
	return err
}

func (d *dataDir) storeOptions(o *Options, fatal func(error)) storage.Options {
	return storage.Options{
		Dir: d.path, CacheBytes: o.storeCacheBytes(), Logger: o.Logger, Fatal: fatal,
		FS: storage.OnDisk(func(k storage.Kind) (*atrest.Ring, atrest.StoreID) {
			switch k {
			case storage.State:
				return d.rings.Ring(atrest.RingMessages), d.node.state
			case storage.Bodies:
				return d.rings.Ring(atrest.RingMessages), d.node.bodies
			default:
				return d.rings.Ring(atrest.RingKeys), d.node.keys
			}
		}),
	}
}
