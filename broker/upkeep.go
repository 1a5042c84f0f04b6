package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sealmq/sealmq/broker/machine"
	"github.com/sealmq/sealmq/storage"
)

const (
	// expireEvery is how often the leader looks for holds that ran out: a lease comes free at most this much late.
	expireEvery = 100 * time.Millisecond
	// readAgainMillis is when a mailbox is looked at again whose rows could not be read.
	readAgainMillis = 1000
	// expireMailboxes bounds how many mailboxes one look deals with.
	expireMailboxes = 1024
	// tickEvery is how often a group's time moves when nothing else moves it, and expired messages are looked for.
	tickEvery = 30 * time.Second
	// flushEvery and flushBytes bound what a restart replays from the journal.
	flushEvery = 30 * time.Second
	flushBytes = 256 << 20
	// flushLook is how often the bytes are looked at.
	flushLook = time.Second
)

// expire proposes the release of what ran out in a mail group, as long as the node runs.
func (g *mailGroup) expire(ctx context.Context) {
	tick := time.NewTicker(expireEvery)
	defer tick.Stop()
	lastTick := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !g.log.State().Leading {
			continue
		}
		now := g.stamp()
		due := g.holds.due(now, expireMailboxes)
		if len(due) > 0 && g.writeOut() != nil {
			return
		}
		for _, id := range due {
			if err := g.expireMailbox(id, now); err != nil {
				g.broker.failures.note("cannot read what a mailbox holds", "group", g.id, "err", err)
				g.holds.push(id, now+readAgainMillis)
			}
		}
		if time.Since(lastTick) >= tickEvery {
			lastTick = time.Now()
			g.tick()
		}
	}
}

// expireMailbox proposes what is due in one mailbox, and puts its next deadline back.
func (g *mailGroup) expireMailbox(id [16]byte, now int64) error {
	mb, err := g.machine.Lookup(id)
	if errors.Is(err, storage.ErrNotFound) {
		return nil // deleted meanwhile
	}
	if err != nil {
		return err
	}
	command := machine.Expire{Mailbox: id}
	messages := 0
	err = g.reader.HoldsOf(mb.Number, func(h storage.Hold) error {
		if h.AtMillis > now || messages+int(h.Count) > machine.MaxRangeMessages {
			g.holds.push(id, max(h.AtMillis, now))
			return nil
		}
		messages += int(h.Count)
		command.Ranges = append(command.Ranges, machine.SeqRange{First: h.First, Count: h.Count})
		return nil
	})
	if err != nil || len(command.Ranges) == 0 {
		return err
	}
	done := &expireDone{g, id}
	if err := g.proposer.addNow(command.Append, done); err != nil {
		done.done(nil, err)
	}
	return nil
}

// expireDone wakes receivers for what came free.
type expireDone struct {
	group   *mailGroup
	mailbox [16]byte
}

func (d *expireDone) done(o *machine.Outcome, err error) {
	left := err != nil
	if err == nil {
		for _, run := range o.Codes {
			if run.Code == machine.CodeOK {
				d.group.broker.metrics.expired.Add(float64(run.Count))
			}
			left = left || run.Code == machine.CodeNotDue
		}
	}
	if left {
		// An entry is stamped when it is opened, which may be a little before something in it is due; or it was not
		// taken, or the messages were extended. The rows are looked at again.
		d.group.holds.push(d.mailbox, d.group.stamp())
	}
	if err == nil && o.Wake {
		d.group.waits.wake(o.Mailbox, o.Ready)
	}
}

// tick moves replicated time and lets the machine clear away what expired.
func (g *mailGroup) tick() {
	command := machine.Tick{}
	g.proposer.addNow(command.Append, tickDone{g})
}

type tickDone struct{ group *mailGroup }

func (d tickDone) done(o *machine.Outcome, err error) {
	if err == nil && o.More {
		d.group.tick()
	}
}

// certificatesLook is how often connections are looked through for certificates that have run out.
const certificatesLook = time.Minute

// watchCertificates ends the connections of clients whose certificates run out while they last.
func (b *Broker) watchCertificates(ctx context.Context) {
	look := time.NewTicker(certificatesLook)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
			b.clients.outdated(time.Now())
		}
	}
}

// flush makes the stores durable by time and by how much the journal has grown, so that a restart replays little and
// an idle node gives its memory back.
func (b *Broker) flush(ctx context.Context) {
	look := time.NewTicker(flushLook)
	defer look.Stop()
	last, lastBytes := time.Now(), b.journal.Stats().FlushedBytes
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		written := b.journal.Stats().FlushedBytes
		if written == lastBytes || time.Since(last) < flushEvery && written-lastBytes < flushBytes {
			continue
		}
		last, lastBytes = time.Now(), written
		if err := b.flushStores(ctx); err != nil && ctx.Err() == nil {
			b.fatal(fmt.Errorf("flushing the stores: %w", err))
		}
	}
}

// flushStores makes everything that was applied durable.
func (b *Broker) flushStores(ctx context.Context) error {
	for _, g := range b.mail {
		if err := g.machine.WriteOut(); err != nil {
			return err
		}
	}
	return b.stores.Flush(ctx)
}
