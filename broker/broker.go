// Package broker is a node: it lets clients in, decides what they may do, proposes what they ask, wakes and serves
// who waits, and joins the log, the machines and the stores.
//
// It knows connections, requests, time and rights, and that a body has an address. It must not know what a body says:
// it cannot import the package that opens one. It must not know Pebble or the Raft library either.
//
// The rooms: open.go (the one place that joins all parts, in order, and takes them apart in reverse) · options.go ·
// datadir.go · listener.go, conn.go, conn_end.go, source.go, outbox.go, courier.go, dispatch.go (connections) ·
// admit.go (memory) · identity.go (certificates) · rights.go · handle_*.go (a file for each family of requests) ·
// propose.go (the open entry) · replica.go (the log's view of a machine) · group.go, control.go, fresh.go, spread.go
// (grants: who has them, and who still counts on them) · wake.go, receiver.go, heirs.go, epochs.go, window.go,
// deliver.go (who waits, and what they get) · holds.go, upkeep.go (leases that run out, expiry, flushing) · headers.go
// (session headers at rest) · code.go (the only table from the machine's codes to the protocol's) · clock.go ·
// metrics.go, observe.go, health.go, throttle.go (what the operator sees).
//
// Laws:
//
//   - A request is answered exactly once, by the goroutine that knows its outcome, into an outbox that never blocks it.
//   - Nothing is decided on what a client says of itself: the principal comes from its certificate.
//   - What the machine decides is decided there: a refusal at the door only ever saves a commit.
//   - No log line, metric or answer carries a body, a key or, unless the operator asks for it, a name.
//
// The data directory:
//
//	NODE      sealed: whose directory this is; written last when it is made
//	LOCK      held by the process that uses it
//	RINGS     the data keys, sealed for the root key, which lies elsewhere
//	journal/  the log
//	state/ bodies/ keys/   the stores
package broker

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealmq/sealmq/raftlog"
	"github.com/sealmq/sealmq/raftlog/journal"
	"github.com/sealmq/sealmq/storage"
)

// Broker is a running node.
type Broker struct {
	o        Options
	log      *slog.Logger
	clock    *clock
	metrics  *metrics
	refusals refusals
	warnings *throttle // lines that clients can cause as often as they like
	failures *throttle

	outboxes    *budget
	largeFrames places
	listings    places

	dir        *dataDir
	identities *identities
	unused     map[string]net.Listener // bound, and not yet somebody's to close
	journal    *journal.Journal
	stores     *storage.Stores
	host       *raftlog.Host
	control    *controlPlane
	mail       []*mailGroup // groups 1 to N
	clients    *listener
	operator   *http.Server
	listening  map[string]net.Addr

	stopUpkeep context.CancelFunc
	upkeep     sync.WaitGroup
	stopping   atomic.Bool
	failed     sync.Once
	closing    sync.Once
}

// groups returns all groups, the control group first.
func (b *Broker) groups() []*group {
	all := []*group{&b.control.group}
	for _, g := range b.mail {
		all = append(all, &g.group)
	}
	return all
}

// started returns the groups that take part, of a node that may have started halfway.
func (b *Broker) started() (all []*group) {
	if b.control == nil {
		return nil
	}
	for _, g := range b.groups() {
		if g.proposer != nil {
			all = append(all, g)
		}
	}
	return all
}

// Ready reports whether this node takes requests: it knows a leader of every group, and the rights to decide by.
func (b *Broker) Ready() bool {
	for _, g := range b.groups() {
		if g.log.State().Leader == "" {
			return false
		}
	}
	return b.control.fresh() && !b.stopping.Load()
}

// ClientAddress returns where clients are listened for.
func (b *Broker) ClientAddress() net.Addr { return b.listening["client"] }

// PeerAddress returns where other nodes are listened for.
func (b *Broker) PeerAddress() net.Addr { return b.listening["peer"] }

// OperatorAddress returns where operators are listened for, nil if they are not.
func (b *Broker) OperatorAddress() net.Addr { return b.listening["operator"] }

// clientAddress returns where clients dial a node, "" for one that is not a member.
func (b *Broker) clientAddress(node string) string {
	if node == b.o.Node && b.o.Client.Advertise != "" {
		return b.o.Client.Advertise
	}
	for _, m := range b.o.Members {
		if m.Node == node {
			return m.Client
		}
	}
	return ""
}

// controlIndex is up to where this node has the rights that it decides by.
func (b *Broker) controlIndex() uint64 { return b.control.machine.Applied().Index }

// Reload reads all certificates again. One that does not load, or that is another node's, changes nothing and is named
// in the error.
func (b *Broker) Reload() error { return b.identities.reload() }

// fatal ends the process, or tells whoever asked to be told instead: after a failed write nothing may be trusted.
func (b *Broker) fatal(err error) {
	b.failed.Do(func() {
		if b.o.Fatal != nil {
			b.o.Fatal(err)
			return
		}
		b.log.Error("a write failed; the process ends", "err", err)
		os.Exit(1)
	})
}

// Shutdown takes no new connections, hands leaderships over, answers what is in flight, flushes and closes. When ctx
// ends before that, what is left is cut off; nothing acknowledged is lost by it.
func (b *Broker) Shutdown(ctx context.Context) error {
	b.log.Info("node is stopping", "node", b.o.Node)
	b.stopping.Store(true)
	b.clients.stop()
	b.handOver(ctx)
	b.clients.drain(ctx, b.refuse)
	err := b.close(ctx, true)
	b.log.Info("node has stopped", "node", b.o.Node)
	return err
}

// handOver gives leaderships to other nodes, all at once. Where there is nobody to take them it does not wait for long.
func (b *Broker) handOver(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*b.o.RaftTimeout)
	defer cancel()
	done := make(chan struct{})
	var all sync.WaitGroup
	for _, g := range b.groups() {
		if !g.log.State().Leading {
			continue
		}
		all.Go(func() {
			if err := g.log.TransferLeadership(); err != nil && !errors.Is(err, raftlog.ErrNotLeader) {
				b.log.Warn("leadership was not handed over", "group", g.id, "err", err)
			}
		})
	}
	go func() {
		all.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done(): // closing the groups ends the attempts
	}
}

// refuse makes all groups take no more commands.
func (b *Broker) refuse() {
	for _, g := range b.started() {
		g.proposer.refuse()
	}
}

// Close ends the node at once, without giving clients time, and leaves nothing running.
func (b *Broker) Close() error {
	b.stopping.Store(true)
	now, cancel := context.WithDeadline(context.Background(), time.Now())
	defer cancel()
	b.refuse()
	if b.clients != nil {
		b.clients.drain(now, func() {})
	}
	return b.close(now, false)
}
