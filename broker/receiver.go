package broker

import (
	"crypto/rand"
	"sync"
	"time"

	"github.com/sealmq/sealmq/broker/machine"
	"github.com/sealmq/sealmq/storage"
	"github.com/sealmq/sealmq/wire"
)

const (
	// leaseMessages and leaseBytes bound what one lease command takes: enough to keep a receiver busy for a commit,
	// little enough to fit one frame and to be shared among receivers.
	leaseMessages = 256
	leaseBytes    = 512 << 10
)

// receiver is a pull or a subscription. It works in rounds: it asks for one lease, delivers what that brings, and asks
// again while it has credit, so that deliveries keep the order of the leases. What ends it while a round is on its way
// takes effect when the round is over: the answer that ends a request comes last.
type receiver struct {
	conn    *conn
	group   *mailGroup
	row     *storage.Mailbox // as it was when the receiver came; name and owner never change
	request uint32
	mailbox wire.MailboxRef
	id      [16]byte // the client's receiver id
	pull    bool
	attempt [16]byte // of a pull
	lease   uint32   // ms, 0 for the mailbox's own
	places  []place  // among those that its client came under before; the heirs' lock guards them
	leasing pending  // the lease of the round that is on its way

	mu       sync.Mutex
	messages uint32 // credit left
	bytes    int64  // the same, below zero after a delivery that was larger
	epochs   []epochRange
	turn     int          // the range that is asked for next
	misses   int          // ranges asked for in vain since something became ready
	round    uint64       // of the wait list, in which it was offered messages last
	held     []*catch     // leases of an earlier connection as they were when it came, to be delivered first
	busy     bool         // a round is on its way
	again    bool         // something became ready meanwhile
	expired  bool         // a pull's wait is over
	final    wire.Message // the answer that will end it
	ended    bool
	timer    *time.Timer // of a pull that waits
}

// catch is what a receiver is to be sent: messages and the lease that holds them.
type catch struct {
	*machine.Outcome
	// own are messages that the client may know already. They are never given back: it may be at work on them. Those
	// that it is done with by the time of their delivery are left out.
	own bool
}

// begin lets a new receiver have its first round. A pull that has no wait and gets no round is answered at once.
func (r *receiver) begin() {
	r.offer(0)
	if r.conn.leaving.Load() {
		r.fail(errStopping) // it came while all others were being ended
	}
	r.mu.Lock()
	r.answerEmpty()
	r.mu.Unlock()
	r.close()
}

// wait ends a pull after a while.
func (r *receiver) wait(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.ended {
		r.timer = time.AfterFunc(d, r.timeout)
	}
}

// offer lets the receiver begin a round, on its own initiative if round is 0. It returns how many messages it asked
// for.
func (r *receiver) offer(round uint64) uint64 {
	command, held := r.ask(round)
	if held != nil {
		r.bring(held)
		return 0
	}
	if command == nil {
		return 0
	}
	rand.Read(command.Lease[:])
	if !r.pull {
		rand.Read(command.Attempt[:])
	}
	if err := r.conn.mayReceive(r.row); err != nil {
		r.fail(err)
		r.rest(false)
		return 0
	}
	var ok bool
	if r.leasing, ok = r.group.heirs.beginLease(r); !ok {
		r.fail(errTakenOver)
		r.rest(false)
		return 0
	}
	if err := r.group.proposer.addNow(command.Append, (*leaseDone)(r)); err != nil {
		r.leasing.done()
		r.fail(err)
		r.rest(false)
		return 0
	}
	return uint64(command.MaxMessages)
}

// ask says what the round begins with, if there is one: leases that the client still has from before, or a command for
// another.
func (r *receiver) ask(round uint64) (command *machine.Lease, held *catch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if round != 0 {
		if r.round == round {
			return nil, nil
		}
		r.round, r.misses = round, 0
	}
	if r.final != nil || r.messages == 0 || r.bytes <= 0 || len(r.epochs) == 0 {
		return nil, nil
	}
	if r.busy {
		r.again = true
		return nil, nil
	}
	r.busy, r.again = true, false
	if len(r.held) > 0 {
		return nil, r.nextHeld()
	}
	epochs := r.epochs[r.turn%len(r.epochs)]
	return &machine.Lease{
		Mailbox: r.mailbox.ID, Principal: r.conn.principal, Receiver: r.id, Attempt: r.attempt,
		MaxMessages: min(r.messages, leaseMessages), MaxBytes: uint64(min(r.bytes, leaseBytes)),
		EpochLow: epochs.low, EpochHigh: epochs.high, LeaseMillis: r.lease,
	}, nil
}

// nextHeld takes from the front of what is held as much as the credit allows. The caller holds the lock.
func (r *receiver) nextHeld() *catch {
	first := r.held[0]
	most, mostBytes := min(len(first.Deliveries), int(min(r.messages, leaseMessages))), min(r.bytes, leaseBytes)
	n, size := 0, int64(0)
	for n < most && (n == 0 || size < mostBytes) {
		size += int64(first.Deliveries[n].Length)
		n++
	}
	if n == len(first.Deliveries) {
		r.held = r.held[1:]
		return first
	}
	part := *first.Outcome
	part.Deliveries = first.Deliveries[:n:n]
	first.Deliveries = first.Deliveries[n:]
	return &catch{&part, true}
}

// leaseDone is the receiver as the completion of its lease command.
type leaseDone receiver

func (d *leaseDone) done(o *machine.Outcome, err error) {
	r := (*receiver)(d)
	r.leasing.done()
	if err == nil && o.Code != machine.CodeOK {
		err = codeError(o.Code)
	}
	if err != nil {
		r.fail(err)
		r.rest(false)
		return
	}
	// The outcome counts what was ready at its place in the log: what woke the receiver before that is in it.
	r.mu.Lock()
	r.again = false
	r.mu.Unlock()
	if len(o.Deliveries) == 0 {
		r.miss(o.Ready)
		return
	}
	r.group.holds.push(o.Mailbox, o.Deadline)
	// Bodies may have to come from the disk: nobody else's answer waits for that.
	r.bring(&catch{Outcome: o})
}

// bring gives messages to the connection's courier.
func (r *receiver) bring(c *catch) {
	if !r.conn.courier.carry(r, c) {
		r.giveBack(c, c.Deliveries)
		r.rest(false)
	}
}

// miss ends a round that brought nothing though ready messages are there: of other epochs, or above the limit of what
// may be leased. The receiver tries its other epochs, then others get a turn.
func (r *receiver) miss(ready uint64) {
	r.mu.Lock()
	r.misses++
	more := ready > 0 && r.misses < len(r.epochs)
	if more {
		r.turn++
	} else {
		r.misses = 0
	}
	r.mu.Unlock()
	r.rest(more)
	if ready > 0 && !more {
		r.group.waits.pass(r.mailbox.ID, ready)
	}
}

// rest ends a round. Another follows if there is reason to, unless the receiver has ended meanwhile.
func (r *receiver) rest(more bool) {
	r.mu.Lock()
	r.busy = false
	if !more {
		r.answerEmpty()
	}
	again := r.final == nil && (more || r.again || len(r.held) > 0)
	r.mu.Unlock()
	if again {
		r.offer(0)
		return
	}
	r.close()
}

// deliver sends what a lease brought and accounts for it. The connection's courier calls it.
func (r *receiver) deliver(c *catch) {
	taken, bytes := 0, int64(0)
	for rest := c.Deliveries; len(rest) > 0; {
		m, left, err := r.next(c, rest)
		if err != nil {
			r.giveBack(c, rest)
			r.fail(err)
			break
		}
		if rest = left; m == nil {
			continue
		}
		taken += len(m.Items)
		for i := range m.Items {
			bytes += int64(len(m.Items[i].Sealed))
		}
		if r.pull {
			r.answerWith(m)
			r.giveBack(c, rest)
			break
		}
	}
	if r.pull && taken == 0 {
		// Asking again under the same attempt would bring the same messages.
		r.end(&wire.Deliver{Mailbox: r.mailbox})
	}
	r.conn.broker.metrics.deliveries.Add(float64(taken))
	r.mu.Lock()
	r.messages -= min(r.messages, uint32(taken))
	r.bytes -= bytes
	r.turn++
	r.misses = 0
	r.again = r.again || c.own || c.Ready > 0
	r.mu.Unlock()
	r.rest(false)
}

var (
	errTakenOver = refusal(wire.CodeUnavailable, "the receiver has come back on another connection")
	errEnding    = refusal(wire.CodeShuttingDown, "the connection is ending")
)

// next makes the next delivery from the front of rest, when the client has taken what was sent before, and sends it,
// unless it is the answer of a pull. It returns what is left of rest. m is nil if nothing was sent of what is not left.
func (r *receiver) next(c *catch, rest []machine.Delivery) (m *wire.Deliver, left []machine.Delivery, err error) {
	if r.conn.out.room() != nil {
		return nil, nil, errEnding
	}
	if err := r.mayGoOn(); err != nil {
		return nil, nil, err
	}
	o, front := c.Outcome, rest
	if c.own {
		if o, err = r.stillHeld(c.Lease, rest); o == nil || err != nil {
			return nil, nil, err
		}
		front = o.Deliveries
	}
	m, n, err := r.group.delivery(r.conn, r.mailbox, o, front)
	if err != nil {
		return nil, nil, err
	}
	front, left = front[:n], after(rest, front[:n])
	if m == nil {
		return nil, left, nil
	}
	// Reading the bodies took its time.
	if err := r.mayGoOn(); err != nil {
		return nil, nil, err
	}
	switch {
	case r.pull: // what the answer waits for is the end of the round
	case c.own:
		if sent, err := r.sendHeld(m, front); !sent {
			return nil, rest, err
		}
	case r.conn.send(r.request, m) != nil:
		return nil, nil, errEnding
	}
	r.conn.window.broughtWith(m)
	return m, left, nil
}

// after returns the messages that come after those at the front, which are some of them.
func after(all, front []machine.Delivery) []machine.Delivery {
	last := front[len(front)-1].Seq
	for len(all) > 0 && all[0].Seq <= last {
		all = all[1:]
	}
	return all
}

// mayGoOn refuses when the receiver must not be brought any more of what was leased for it.
func (r *receiver) mayGoOn() error {
	if r.group.heirs.passed(r) {
		return errTakenOver
	}
	return r.conn.mayReceive(r.row)
}

// sendHeld sends messages that the client may know already, unless it has settled one of them: once it was told so it
// is not brought that one.
func (r *receiver) sendHeld(m *wire.Deliver, messages []machine.Delivery) (sent bool, err error) {
	for {
		before := r.conn.settled.Load()
		o, err := r.stillHeld(m.Lease, messages)
		if o == nil || err != nil || len(o.Deliveries) < len(messages) {
			return false, err
		}
		sent, err = r.conn.sendIf(func() bool { return r.conn.settled.Load() == before }, r.request, m)
		if err != nil {
			return false, errEnding
		}
		if sent {
			return true, nil
		}
	}
}

// giveBack releases messages that were leased and not delivered, so that somebody else gets them at once. What another
// connection of the client has taken over it may have been brought there.
func (r *receiver) giveBack(c *catch, messages []machine.Delivery) {
	if c.own || len(messages) == 0 {
		return
	}
	if on, ok := r.group.heirs.begin(r); ok {
		r.group.release(r.conn.principal, r.mailbox.ID, c.Lease, messages, on)
	}
}

// credit adds to what a subscription may be sent.
func (r *receiver) credit(m *wire.Credit, without []uint32) {
	r.mu.Lock()
	r.messages = min(r.messages+min(m.Messages, wire.CreditMessages), wire.CreditMessages)
	r.bytes = min(r.bytes+int64(m.Bytes), wire.CreditBytes)
	r.epochs, r.misses = epochsWithout(m.EpochLow, m.EpochHigh, without), 0
	r.mu.Unlock()
	r.offer(0)
}

// exclude keeps an epoch from the receiver.
func (r *receiver) exclude(epoch uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var left []epochRange
	for _, e := range r.epochs {
		left = append(left, epochsWithout(e.low, e.high, []uint32{epoch})...)
	}
	r.epochs = left
}

// timeout answers a pull that has waited long enough with nothing. If a round is on its way, what it brings is the
// answer.
func (r *receiver) timeout() {
	r.mu.Lock()
	r.expired = true
	r.answerEmpty()
	r.mu.Unlock()
	r.close()
}

// answerEmpty makes an empty delivery the answer of a pull whose wait is over, unless a round is on its way. The caller
// holds the lock.
func (r *receiver) answerEmpty() {
	if r.expired && !r.busy && r.final == nil {
		r.final = &wire.Deliver{Mailbox: r.mailbox}
	}
}

// answerWith makes a delivery the answer of a pull, whatever else was to end it: one delivery answers a pull.
func (r *receiver) answerWith(m *wire.Deliver) {
	r.mu.Lock()
	r.final = m
	r.mu.Unlock()
}

// end ends the receiver with an answer, unless it has one.
func (r *receiver) end(answer wire.Message) {
	r.mu.Lock()
	if r.final == nil {
		r.final = answer
	}
	r.mu.Unlock()
	r.group.waits.leave(r.mailbox.ID, r)
	r.close()
}

// fail ends the receiver with an error.
func (r *receiver) fail(err error) {
	f := r.conn.broker.failure(&r.group.group, err)
	if r.pull {
		f.MinVersion, f.MaxVersion = wire.Version, wire.Version
		r.end(f)
		return
	}
	r.end(&wire.SubscriptionEnd{Code: f.Code, RetryAfterMillis: f.RetryAfterMillis, Leader: f.Leader, Detail: f.Detail})
}

// close gives the answer that ends the receiver, if there is one and no round is on its way.
func (r *receiver) close() {
	r.mu.Lock()
	if r.final == nil || r.busy || r.ended {
		r.mu.Unlock()
		return
	}
	r.ended = true
	answer := r.final
	if r.timer != nil {
		r.timer.Stop()
	}
	r.mu.Unlock()
	r.group.waits.leave(r.mailbox.ID, r)
	r.group.heirs.leave(r)
	r.conn.forgetReceiver(r)
	r.conn.answer(r.request, answer)
}
