package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/sealmq/sealmq/client"
)

// The demo's traffic: one goroutine sends, one collects the results, one receives, and one kills the leader when a
// fifth is acknowledged and has it back before four fifths are.

// course is how far the traffic may go and how far it is. Its waiters are woken by every change and by the end of ctx.
type course struct {
	mu      sync.Mutex
	changed *sync.Cond
	allowed int       // messages that may be handed over
	acked   int       // of them acknowledged
	killed  time.Time // when the leader was; zero before
	resumed time.Time // when the first message handed over after that was acknowledged
	over    bool      // everything is acknowledged
}

func newCourse(ctx context.Context, allowed int) (c *course, release func() bool) {
	c = &course{allowed: allowed}
	c.changed = sync.NewCond(&c.mu)
	return c, context.AfterFunc(ctx, c.changed.Broadcast)
}

// await waits until ready says so. It is called with the lock held.
func (c *course) await(ctx context.Context, ready func() bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !ready() {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		c.changed.Wait()
	}
	return nil
}

func (c *course) update(change func()) {
	c.mu.Lock()
	change()
	c.mu.Unlock()
	c.changed.Broadcast()
}

// traffic sends and receives everything.
func (d *demo) traffic(ctx context.Context) error {
	var clients [3]*client.Client
	for i, name := range []string{d.sender, d.receiver, admin.name} {
		c, err := client.Connect(ctx, client.FromContext(d.home.context).As(name))
		if err != nil {
			return err
		}
		defer c.Close()
		clients[i] = c
	}
	d.out.step("sending %d messages", len(d.parcels))
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	all := len(d.parcels)
	allowed := all
	if d.kill {
		allowed = all * 2 / 5
	}
	course, release := newCourse(ctx, allowed)
	defer release()
	var wait sync.WaitGroup
	run := func(what string, f func(context.Context) error) {
		wait.Go(func() {
			if err := f(ctx); err != nil {
				cancel(fmt.Errorf("%s: %w", what, err))
			}
		})
	}
	run("sending", func(ctx context.Context) error { return d.send(ctx, clients[0], course) })
	run("receiving", func(ctx context.Context) error { return d.receive(ctx, clients[1], course) })
	if d.kill {
		run("killing the leader", func(ctx context.Context) error { return d.killLeader(ctx, clients[2], course, all) })
	}
	wait.Wait()
	return context.Cause(ctx)
}

// onItsWay is a message that was handed over.
type onItsWay struct {
	note    sentNote
	handed  time.Time
	pending *client.Pending
}

func (d *demo) send(ctx context.Context, c *client.Client, course *course) error {
	// One batch at a time: the order of the calls is then the order in the mailbox, whatever happens to a node.
	s := c.Sender(d.mailbox, client.InFlight(1))
	results := make(chan onItsWay, 1024)
	collected := make(chan error, 1)
	go func() { collected <- d.collect(ctx, results, course) }()
	var err error
	for i, p := range d.parcels {
		if err = course.await(ctx, func() bool { return i < course.allowed }); err != nil {
			break
		}
		var body []byte
		if body, err = p.load(); errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || len(body) > bodyLimit {
			// It went, grew, or is not for this user's eyes. The course counts it as done.
			err = nil
			course.update(func() { course.acked++ })
			d.out.detail("left out: %s", p.name)
			continue
		} else if err != nil {
			break
		}
		if window, ok := telltale(body); ok {
			d.scanner.plant("contents of "+p.name, window)
		}
		m := onItsWay{note: sentNote{digest: sha256.Sum256(body), size: int64(len(body))}, handed: time.Now()}
		patient, cancel := context.WithTimeout(ctx, demoPatience)
		m.pending = s.Send(patient, body)
		cancel() // the message keeps the deadline
		results <- m
	}
	close(results)
	if failed := <-collected; failed != nil {
		err = failed
	}
	if err == nil {
		course.update(func() { course.over = true })
	}
	return err
}

// collect waits for results in the order of sending and writes them down.
func (d *demo) collect(ctx context.Context, results <-chan onItsWay, course *course) (err error) {
	for m := range results {
		patient, cancel := context.WithTimeout(ctx, demoPatience)
		sent, failed := m.pending.Wait(patient)
		cancel()
		if failed != nil {
			if err == nil {
				err = failed
			}
			course.update(func() { course.allowed = 0 })
			continue
		}
		m.note.id, m.note.seq = sent.ID.String(), sent.Seq
		d.ledger.noteSent(m.note)
		course.update(func() {
			course.acked++
			if course.resumed.IsZero() && !course.killed.IsZero() && m.handed.After(course.killed) {
				course.resumed = time.Now()
			}
		})
		d.step(course)
	}
	return err
}

func (d *demo) step(course *course) {
	sent, settled := d.ledger.progress()
	if !d.out.stderrTerminal {
		return // a line for each message would be no help
	}
	d.out.step("%d of %d sent, %d received and acknowledged", sent, len(d.parcels), settled)
}

// demoPatience is how long one message may take, and how long the receiver goes on without getting anything once
// everything was sent: on a machine that has other work an election takes its time, and that is no loss.
const demoPatience = time.Minute

func (d *demo) receive(ctx context.Context, c *client.Client, course *course) error {
	quiet := time.Now()
	for {
		patient, cancel := context.WithTimeout(ctx, demoPatience)
		messages, err := c.Receive(patient, d.mailbox, client.Max(64), client.Wait(250*time.Millisecond))
		cancel()
		if err != nil {
			return err
		}
		if len(messages) > 0 {
			quiet = time.Now()
			d.take(ctx, c, messages)
			d.step(course)
			continue
		}
		// Nothing is there. Once everything was sent and is settled, that is the proof that nothing comes twice.
		course.mu.Lock()
		over := course.over
		course.mu.Unlock()
		if over && (d.ledger.settledAll() || time.Since(quiet) > demoPatience) {
			return nil
		}
	}
}

// take writes messages down and acknowledges them.
func (d *demo) take(ctx context.Context, c *client.Client, messages []*client.Message) {
	handles := make([]string, len(messages))
	for i, m := range messages {
		handles[i] = m.Handle()
		d.ledger.noteReceived(receivedNote{id: m.ID.String(), seq: m.Seq, sender: m.Sender, digest: sha256.Sum256(m.Body)})
	}
	for i, r := range c.AckHandles(ctx, handles...) {
		if r.Err == nil {
			d.ledger.noteAcked(messages[i].Seq)
		}
	}
}

// killLeader kills the node that leads the mailbox's group while messages are on their way to it, and starts it again
// when its successor has acknowledged one.
func (d *demo) killLeader(ctx context.Context, c *client.Client, course *course, all int) error {
	if err := course.await(ctx, func() bool { return course.acked >= max(1, all/5) }); err != nil {
		return err
	}
	leader, err := d.leader(ctx, c)
	if err != nil {
		return err
	}
	course.update(func() { course.allowed = all * 3 / 5 })
	if err := d.home.Kill(leader); err != nil {
		return err
	}
	d.doc.killed = leader
	killed := time.Now()
	course.update(func() { course.killed, course.allowed = killed, all*4/5 })
	resumed := func() bool { return !course.resumed.IsZero() || course.acked >= course.allowed }
	if err := course.await(ctx, resumed); err != nil {
		return err
	}
	if !course.resumed.IsZero() {
		d.doc.FailoverMS = millis(course.resumed.Sub(killed))
	}
	if err := d.home.StartNode(ctx, leader); err != nil {
		return err
	}
	course.update(func() { course.allowed = all })
	return nil
}

// leader is the node that leads the group of the receiver's mailbox.
func (d *demo) leader(ctx context.Context, c *client.Client) (string, error) {
	box, err := c.ShowMailbox(ctx, d.mailbox)
	if err != nil {
		return "", err
	}
	status, err := c.Status(ctx)
	if err != nil {
		return "", err
	}
	for _, g := range status.Groups {
		if g.Group == box.Group {
			return g.Leader, nil
		}
	}
	return "", fmt.Errorf("group %d of the mailbox is not in the cluster's status", box.Group)
}
