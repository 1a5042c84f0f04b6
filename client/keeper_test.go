package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealmq/sealmq/envelope"
	"github.com/sealmq/sealmq/wire"
)

const day = 24 * time.Hour

// newSlowFake is a cluster for tests that run over weeks.
func newSlowFake(t *testing.T) *fakeCluster {
	f := newFake(t, 1)
	f.lookEvery = 1000 * day
	return f
}

// record returns the key record that the cluster has of a mailbox.
func (f *fakeCluster) recordOf(t *testing.T, box string) *envelope.KeyRecord {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	r, err := envelope.ParseKeyRecord(f.boxes[box].record)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestCreatedMailboxHasTwoEpochs(t *testing.T) {
	f := newFake(t, 1)
	_, bob := pair(t, f)
	r := f.recordOf(t, "box")
	if err := r.Verify(time.Now(), "box"); err != nil {
		t.Fatal(err)
	}
	if len(r.Epochs) != 2 || r.Epochs[0].NotAfter != r.Epochs[1].NotBefore || r.Version != 1 ||
		r.Epochs[0].NotAfter.Sub(r.Epochs[0].NotBefore) != epochLength || r.Policy != envelope.PolicySealed {
		t.Errorf("%+v", r)
	}
	if left := time.Until(r.NotAfter); left < recordLength-time.Hour {
		t.Errorf("the record is good for %v", left)
	}
	ring, err := bob.opts.KeyStore.ring(r.MailboxID)
	if err != nil || len(ring.keys) != 2 || ring.keys[0].published != 1 || ring.keys[1].published != 1 {
		t.Errorf("%+v, %v", ring, err)
	}
}

// For ten weeks a sender sends every day and the owner receives every day: every message is read, epochs follow one
// another, and keys of the past are destroyed.
func TestEpochsRotate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newSlowFake(t)
		alice, bob := pair(t, f)
		for d := range 70 {
			mustSend(t, alice, "box", fmt.Sprint(d))
			ms, err := bob.Receive(t.Context(), "box", Max(5))
			if err != nil || len(ms) != 1 || string(ms[0].Body) != fmt.Sprint(d) {
				t.Fatalf("day %d: %d messages, %v", d, len(ms), err)
			}
			if err := ms[0].Ack(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(day)
		}
		r := f.recordOf(t, "box")
		if last := r.Epochs[len(r.Epochs)-1].Number; last != 11 || len(r.Epochs) != 2 {
			t.Errorf("after ten weeks there are %d epochs to number %d", len(r.Epochs), last)
		}
		ring, _ := bob.opts.KeyStore.ring(r.MailboxID)
		if low, high, _ := ring.epochs(); low < 9 || high != 11 {
			t.Errorf("the keyring holds epochs %d to %d", low, high)
		}
		epochs := map[uint32]bool{}
		for _, m := range taken[*wire.Send](f) {
			epochs[m.Items[0].Header.Epoch] = true
		}
		if len(epochs) != 10 {
			t.Errorf("messages were sealed to %d epochs", len(epochs))
		}
	})
}

// A key is kept while a message waits for it, whatever the calendar says.
func TestKeysAreKeptWhileMessagesWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newSlowFake(t)
		alice, bob := pair(t, f)
		mustSend(t, alice, "box", "old")
		box, _ := bob.mailbox("box")
		for range 12 {
			time.Sleep(day)
			if _, err := box.keep(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		ring, _ := bob.opts.KeyStore.ring(box.current().ref.ID)
		if low, high, _ := ring.epochs(); low != 1 || high != 3 {
			t.Errorf("the keyring holds epochs %d to %d", low, high)
		}
		ms, err := bob.Receive(t.Context(), "box")
		if err != nil || len(ms) != 1 || string(ms[0].Body) != "old" {
			t.Fatalf("%d messages, %v", len(ms), err)
		}
		ms[0].Ack(t.Context())
		time.Sleep(2 * time.Hour)
		if _, err := box.keep(t.Context()); err != nil {
			t.Fatal(err)
		}
		ring, _ = bob.opts.KeyStore.ring(box.current().ref.ID)
		if low, _, _ := ring.epochs(); low != 2 {
			t.Errorf("the drained key is still there: from epoch %d", low)
		}
	})
}

// A node whose counts leave messages out must not cost a key.
func TestKeysAreKeptWithoutACount(t *testing.T) {
	now := time.Now()
	f := newSlowFake(t)
	alice, bob := pair(t, f)
	mustSend(t, alice, "box", "old")
	box, _ := bob.mailbox("box")
	ring, _ := bob.opts.KeyStore.ring(box.current().ref.ID)
	ring = ring.clone()
	ring.keys[0].replaced = now.Add(-2 * day)
	if got := box.drained(context.Background(), box.current(), ring, now); len(got) != 0 {
		t.Errorf("drained %v although a message waits", got)
	}
	f.onRequest(func(r *fakeRequest) fault { return fault{} })
	f.mu.Lock()
	f.boxes["box"].messages[0].item.Header.Epoch = 77
	f.mu.Unlock()
	if got := box.drained(context.Background(), box.current(), ring, now); len(got) != 1 {
		t.Errorf("not drained although nothing waits: %v", got)
	}
}

// The owner is away for weeks: mail still comes in, sealed to the last key, and is read on return.
func TestOwnerAwayForWeeks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newSlowFake(t)
		f.ttl = 40 * day
		alice, bob := pair(t, f)
		bob.Close()
		for d := range 28 {
			mustSend(t, alice, "box", fmt.Sprint(d))
			time.Sleep(day)
		}
		back := connect(t, f.optionsFor("bob", bob.opts.Identity, bob.opts.KeyStore))
		ms, err := back.Receive(t.Context(), "box", Max(50))
		if err != nil || len(ms) != 28 {
			t.Fatalf("%d messages, %v", len(ms), err)
		}
		for i, m := range ms {
			if string(m.Body) != fmt.Sprint(i) || m.Ack(t.Context()) != nil {
				t.Fatalf("message %d is %q", i, m.Body)
			}
		}
		// On return there are fresh keys, which the sender uses from its next session on.
		if r := f.recordOf(t, "box"); r.Version != 2 || time.Until(r.NotAfter) < recordLength-time.Hour {
			t.Errorf("%+v", r)
		}
		time.Sleep(2 * time.Hour)
		mustSend(t, alice, "box", "fresh")
		all := taken[*wire.Send](f)
		if epoch := all[len(all)-1].Items[0].Header.Epoch; epoch != 3 {
			t.Errorf("sealed to epoch %d after the return", epoch)
		}
	})
}

// Away for longer than the record is good for: senders are told who has to do what, and it helps.
func TestOwnerAwayForTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newSlowFake(t)
		alice, bob := pair(t, f)
		mustSend(t, alice, "box", "before")
		time.Sleep(31 * day)
		_, err := alice.Send(t.Context(), "box", []byte("x"))
		e := asErrorOrNil(err)
		if e == nil || e.Code != CodeNoKey || e.Outcome != Definite || !strings.Contains(e.Hint, "Ask bob to run") {
			t.Fatalf("%#v", err)
		}
		if _, err := bob.Receive(t.Context(), "box"); err != nil {
			t.Fatal(err)
		}
		mustSend(t, alice, "box", "after")
	})
}

func TestEmptyMailboxGetsKeysFromItsOwner(t *testing.T) {
	f := newSlowFake(t)
	alice, bob := f.client(t, "alice"), f.client(t, "bob")
	ctx := context.Background()
	if _, err := bob.CreateMailbox(ctx, "box", NoKeys()); err != nil {
		t.Fatal(err)
	}
	if _, err := alice.Receive(ctx, "box"); !isCode(err, CodeNoKey) {
		t.Errorf("somebody else: %v", err)
	}
	if ms, err := bob.Receive(ctx, "box"); err != nil || len(ms) != 0 {
		t.Fatalf("%v", err)
	}
	mustSend(t, alice, "box", "x")
}

// Two consumers share a keyring and both try to rotate; with a keyring each, one of them comes second.
func TestTwoKeepers(t *testing.T) {
	for _, shared := range []bool{true, false} {
		t.Run(fmt.Sprintf("shared=%v", shared), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { twoKeepers(t, shared) })
		})
	}
}

func twoKeepers(t *testing.T, shared bool) {
	f := newSlowFake(t)
	alice, bob := pair(t, f)
	keys, err := OpenKeyStore(bob.opts.KeyStore.dir)
	if err != nil {
		t.Fatal(err)
	}
	if !shared {
		if keys, err = OpenKeyStore(t.TempDir() + "/keyring"); err != nil {
			t.Fatal(err)
		}
	}
	bob2 := connect(t, f.optionsFor("bob", bob.opts.Identity, keys))
	for week := range 4 {
		time.Sleep(epochLength + time.Hour)
		errs := make(chan error, 2)
		for _, c := range []*Client{bob, bob2} {
			go func() {
				_, err := c.Receive(t.Context(), "box")
				errs <- err
			}()
		}
		for range 2 {
			// With a keyring each, one of the two may be left without any key.
			if err := <-errs; err != nil && (shared || !isCode(err, CodeNoKey)) {
				t.Errorf("week %d: %v", week, err)
			}
		}
		mustSend(t, alice, "box", "x")
	}
	r := f.recordOf(t, "box")
	if err := r.Verify(time.Now(), "box"); err != nil {
		t.Fatal(err)
	}
	stores := []*KeyStore{bob.opts.KeyStore, keys}
	if shared {
		// Keys were made once and not by each.
		if n := r.Epochs[len(r.Epochs)-1].Number; n > 6 {
			t.Errorf("four weeks took %d epochs", n)
		}
		for _, s := range stores {
			ring, _ := s.look(r.MailboxID)
			for _, e := range r.Epochs {
				if ring.find(e.ID(), e.Number) == nil {
					t.Errorf("epoch %d is published and not in the keyring", e.Number)
				}
			}
		}
		return
	}
	for range 48 {
		time.Sleep(keepEvery)
		for _, c := range []*Client{bob, bob2} {
			if _, err := c.Receive(t.Context(), "box"); err != nil && !isCode(err, CodeNoKey) {
				t.Error(err)
			}
		}
	}
	if now := f.recordOf(t, "box"); now.Version > r.Version+6 {
		t.Errorf("two keyrings published %d records in two days", now.Version-r.Version)
	}
	r = f.recordOf(t, "box")
	for _, e := range r.Epochs {
		a, _ := stores[0].look(r.MailboxID)
		b, _ := stores[1].look(r.MailboxID)
		if a.find(e.ID(), e.Number) == nil && b.find(e.ID(), e.Number) == nil {
			t.Errorf("nobody holds the key of epoch %d", e.Number)
		}
	}
}

// A keeper that died between storing a key and publishing it does not waste the key, nor a number.
func TestKeeperDiesBeforePublishing(t *testing.T) {
	for _, what := range []fault{{before: true}, {after: true}} {
		synctest.Test(t, func(t *testing.T) {
			f := newSlowFake(t)
			_, bob := pair(t, f)
			time.Sleep(8 * day)
			f.onRequest(func(r *fakeRequest) fault {
				if r.t == wire.TypeKeyRecordPublish {
					go bob.Close()
					return what
				}
				return fault{}
			})
			if _, err := bob.Receive(t.Context(), "box"); !isCode(err, CodeClosed) && !errors.Is(err, errClosed) {
				t.Errorf("%v", err)
			}
			synctest.Wait()
			f.onRequest(nil)
			back := connect(t, f.optionsFor("bob", bob.opts.Identity, bob.opts.KeyStore))
			if _, err := back.Receive(t.Context(), "box"); err != nil {
				t.Fatal(err)
			}
			r := f.recordOf(t, "box")
			ring, _ := back.opts.KeyStore.ring(r.MailboxID)
			if len(ring.keys) != 3 || r.Version != 2 || r.Epochs[len(r.Epochs)-1].Number != 3 {
				t.Errorf("%d keys, record version %d, epochs %d", len(ring.keys), r.Version, r.Epochs[len(r.Epochs)-1].Number)
			}
		})
	}
}

// A keeper that died after publishing its first keys, and before it noted that, comes back when the first is over and
// publishes the next record: the first key is kept until what waits for it is read.
func TestKeeperDiesBeforeNoting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newSlowFake(t)
		alice, bob := f.client(t, "alice"), f.client(t, "bob")
		mustCreate(t, bob, "box", NoKeys())
		f.onRequest(func(r *fakeRequest) fault {
			if r.t == wire.TypeKeyRecordPublish {
				go bob.Close()
				return fault{after: true}
			}
			return fault{}
		})
		if _, err := bob.Receive(t.Context(), "box"); !isCode(err, CodeClosed) && !errors.Is(err, errClosed) {
			t.Errorf("%v", err)
		}
		synctest.Wait()
		f.onRequest(nil)
		id := f.recordOf(t, "box").MailboxID
		keys := func() []ringKey {
			ring, err := bob.opts.KeyStore.look(id)
			if err != nil {
				t.Fatal(err)
			}
			return ring.keys
		}
		if k := keys(); len(k) != 2 || k[0].published != 0 {
			t.Fatalf("%+v: nothing is put to the test", k)
		}
		mustSend(t, alice, "box", "old")
		time.Sleep(8 * day)
		back := connect(t, f.optionsFor("bob", bob.opts.Identity, bob.opts.KeyStore))
		ms, err := back.Receive(t.Context(), "box")
		if err != nil || len(ms) != 1 || string(ms[0].Body) != "old" {
			t.Fatalf("%d messages, %v", len(ms), err)
		}
		if k := keys(); len(k) != 3 || k[0].published != 1 || k[1].published != 1 || k[2].published != 2 ||
			k[0].replaced.IsZero() || !k[1].replaced.IsZero() {
			t.Errorf("%+v", k)
		}
		if err := ms[0].Ack(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * day)
		if _, err := back.Receive(t.Context(), "box"); err != nil {
			t.Fatal(err)
		}
		if k := keys(); len(k) != 2 || k[0].Number() != 2 {
			t.Errorf("the drained key is still there: %+v", k)
		}
	})
}

// Whether a key was published is taken from the record where the keyring does not say. Only a key under whose number
// the record has another one is known to be nobody's.
func TestTidied(t *testing.T) {
	now := time.Now()
	made := func(number uint32, from time.Time) ringKey {
		key, err := envelope.GenerateEpochKey(number, from, from.Add(epochLength))
		if err != nil {
			t.Fatal(err)
		}
		return ringKey{EpochKey: key}
	}
	replaced := func(key ringKey, ago time.Duration) ringKey {
		key.published, key.replaced = 1, now.Add(-ago)
		return key
	}
	first, fourth := made(1, now.Add(-2*epochLength)), made(4, now.Add(2*epochLength))
	second, third := made(2, now.Add(-epochLength/2)), made(3, now.Add(epochLength/2))
	known := &resolved{version: 5, ttl: day, record: &envelope.KeyRecord{
		NotAfter: now.Add(recordLength), Epochs: []envelope.EpochPublic{second.Public(), third.Public()},
	}}
	tests := []struct {
		name      string
		key       ringKey
		drained   []uint32
		gone      bool
		published uint64
		replaced  bool
	}{
		{"in the record, not noted", second, nil, false, 5, false},
		{"before the record, not noted", first, nil, false, 5, true},
		{"after the record", fourth, nil, false, 0, false},
		{"another of the record's number", made(2, now), nil, true, 0, false},
		{"replaced", replaced(first, day), nil, false, 1, true},
		{"replaced and drained", replaced(first, 2*day), []uint32{1}, true, 0, false},
		{"overdue", replaced(first, 4*day), nil, true, 0, false},
		{"overdue by its date, in the record", replaced(second, 4*day), nil, false, 1, true},
	}
	for _, tt := range tests {
		k := &keyring{keys: []ringKey{tt.key}}
		next := tidied(k, known, tt.drained, now)
		if k.keys[0] != tt.key {
			t.Errorf("%s: the keyring that others see was changed", tt.name)
		}
		if next == nil {
			next = k
		}
		if gone := len(next.keys) == 0; gone != tt.gone {
			t.Errorf("%s: destroyed: %v", tt.name, gone)
		} else if !gone && (next.keys[0].published != tt.published || next.keys[0].replaced.IsZero() == tt.replaced) {
			t.Errorf("%s: published in %d, replaced at %v", tt.name, next.keys[0].published, next.keys[0].replaced)
		}
		if again := tidied(next, known, tt.drained, now); again != nil {
			t.Errorf("%s: a second look changes something: %+v", tt.name, again.keys)
		}
	}
}

// The key store is lost: the owner makes new keys, and says what it cannot read.
func TestKeyStoreLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newSlowFake(t)
		alice, bob := pair(t, f)
		mustSend(t, alice, "box", "lost")
		empty, err := OpenKeyStore(t.TempDir() + "/keyring")
		if err != nil {
			t.Fatal(err)
		}
		again := connect(t, f.optionsFor("bob", bob.opts.Identity, empty))
		if ms, err := again.Receive(t.Context(), "box"); err != nil || len(ms) != 0 {
			t.Fatalf("%d messages, %v", len(ms), err)
		}
		time.Sleep(2 * time.Hour)
		mustSend(t, alice, "box", "new")
		ms, err := again.Receive(t.Context(), "box", Max(5))
		if err != nil || len(ms) != 1 || string(ms[0].Body) != "new" {
			t.Errorf("%d messages, %v", len(ms), err)
		}
		if r := f.recordOf(t, "box"); r.Epochs[0].Number != 3 {
			t.Errorf("a number was used twice: %d", r.Epochs[0].Number)
		}
	})
}

// A consumer that is not the owner reads with the owner's keyring and publishes nothing.
func TestConsumerIsNoKeeper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newSlowFake(t)
		alice, bob := pair(t, f)
		id, _ := envelope.NewIdentity("worker")
		worker := connect(t, f.optionsFor("worker", id, bob.opts.KeyStore))
		mustSend(t, alice, "box", "1")
		time.Sleep(8 * day)
		ms, err := worker.Receive(t.Context(), "box")
		if err != nil || len(ms) != 1 {
			t.Fatalf("%d messages, %v", len(ms), err)
		}
		if n := len(taken[*wire.KeyRecordPublish](f)); n != 1 {
			t.Errorf("%d records were published", n)
		}
	})
}

// A subscription learns of a key that another process stored.
func TestSubscriptionSeesNewKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 1)
		alice, bob := pair(t, f)
		box, _ := bob.mailbox("box")
		known := box.current()
		all, err := bob.opts.KeyStore.ring(known.ref.ID)
		if err != nil {
			t.Fatal(err)
		}
		// The worker's key store holds the first epoch only.
		keys, err := OpenKeyStore(t.TempDir() + "/keyring")
		if err != nil {
			t.Fatal(err)
		}
		store := func(n int) {
			t.Helper()
			_, err := keys.change(known.ref.ID, "box", func(k *keyring) error { k.keys = all.keys[:n]; return nil })
			if err != nil {
				t.Fatal(err)
			}
		}
		store(1)
		id, _ := envelope.NewIdentity("worker")
		worker := connect(t, f.optionsFor("worker", id, keys))
		ctx, cancel := context.WithCancel(t.Context())
		got := make(chan string, 10)
		done := make(chan error)
		go func() {
			done <- worker.Subscribe(ctx, "box", func(_ context.Context, m *Message) error {
				got <- string(m.Body)
				return nil
			})
		}()
		mustSend(t, alice, "box", "1")
		if s := <-got; s != "1" {
			t.Errorf("%q", s)
		}
		sealToSecond(t, alice, known)
		mustSend(t, alice, "box", "2")
		time.Sleep(time.Minute)
		if len(got) != 0 || len(taken[*wire.Nack](f)) != 0 {
			t.Error("a message was delivered to a consumer without its key")
		}
		store(2)
		if s := <-got; s != "2" {
			t.Errorf("%q", s)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// sealToSecond makes a client seal to the second epoch of a mailbox called box.
func sealToSecond(t *testing.T, c *Client, known *resolved) {
	t.Helper()
	s, err := openEpoch(c.opts.Identity, known, known.record.Epochs[1].Number, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	box, _ := c.mailbox("box")
	box.use(s)
}

// An epoch that lies between two that a consumer holds, but is not among them: the message goes back for others.
func TestEpochMissing(t *testing.T) {
	f := newFake(t, 1)
	alice, bob := pair(t, f)
	box, _ := bob.mailbox("box")
	known := box.current()
	all, _ := bob.opts.KeyStore.ring(known.ref.ID)
	keys, err := OpenKeyStore(t.TempDir() + "/keyring")
	if err != nil {
		t.Fatal(err)
	}
	third, _ := envelope.GenerateEpochKey(3, time.Now(), time.Now().Add(time.Hour))
	_, err = keys.change(known.ref.ID, "box", func(k *keyring) error {
		k.keys = []ringKey{all.keys[0], {EpochKey: third, published: 1}}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	id, _ := envelope.NewIdentity("worker")
	worker := connect(t, f.optionsFor("worker", id, keys))
	mustSend(t, alice, "box", "1")
	sealToSecond(t, alice, known)
	mustSend(t, alice, "box", "2")
	ms, err := worker.Receive(context.Background(), "box", Max(5))
	if err != nil || len(ms) != 1 || string(ms[0].Body) != "1" {
		t.Errorf("%d messages, %v", len(ms), err)
	}
	waitFor(t, func() bool { return len(taken[*wire.Nack](f)) == 1 })
	if n := taken[*wire.Nack](f)[0]; n.Code != wire.NackNoKey {
		t.Errorf("nacked with %v", n.Code)
	}
	if ms, err := bob.Receive(context.Background(), "box"); err != nil || len(ms) != 1 || string(ms[0].Body) != "2" {
		t.Errorf("the consumer with the key: %d messages, %v", len(ms), err)
	}
}
