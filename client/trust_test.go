package client

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealmq/sealmq/envelope"
)

func key(b byte) (k [32]byte) {
	for i := range k {
		k[i] = b
	}
	return k
}

func TestPinsFirstUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pins.toml")
	p, err := OpenPins(path)
	if err != nil {
		t.Fatal(err)
	}
	if isNew, err := p.Check("billing", key(1)); !isNew || err != nil {
		t.Fatalf("the first sight: %v, %v", isNew, err)
	}
	if isNew, err := p.Check("billing", key(1)); isNew || err != nil {
		t.Fatalf("the second: %v, %v", isNew, err)
	}
	_, err = p.Check("billing", key(2))
	var changed *KeyChangedError
	if !errors.As(err, &changed) {
		t.Fatalf("another key: %v", err)
	}
	for _, part := range []string{
		envelope.Fingerprint(key(1)), envelope.Fingerprint(key(2)), "sealmq trust accept billing",
	} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
	// Another process sees the pin and what was offered, and accepts it.
	other, err := OpenPins(path)
	if err != nil {
		t.Fatal(err)
	}
	pin, found, err := other.Lookup("billing")
	if err != nil || !found || pin.Key != key(1) || pin.Offered != key(2) || !pin.Changed() {
		t.Fatalf("%+v, %v, %v", pin, found, err)
	}
	if _, err := other.Accept("nobody"); err == nil {
		t.Error("accepted a name that is not pinned")
	}
	if pin, err = other.Accept("billing"); err != nil || pin.Key != key(2) || pin.Changed() {
		t.Errorf("%+v, %v", pin, err)
	}
	if _, err := other.Accept("billing"); err == nil {
		t.Error("accepted twice")
	}
	if _, found, _ := p.Lookup("billing"); !found {
		t.Error("lost")
	}
	if isNew, err := p.Check("billing", key(2)); isNew || err != nil {
		t.Errorf("after accepting: %v, %v", isNew, err)
	}
	if info, err := os.Stat(path); err != nil || othersMay(info.Mode()) {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestOwnersArePinned(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pins.toml")
	p, err := OpenPins(path)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for i := range 500 {
			if err := p.CheckOwner(fmt.Sprint("box.", i), "bob"); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := p.Sync(); err != nil {
		t.Fatal(err)
	}
	// Another process, later.
	other, err := OpenPins(path)
	if err != nil {
		t.Fatal(err)
	}
	err = other.CheckOwner("box.7", "mallory")
	var changed *OwnerChangedError
	if !errors.As(err, &changed) || changed.Pinned != "bob" || changed.Offered != "mallory" {
		t.Fatalf("%v", err)
	}
	if strings.Contains(err.Error(), "box.7") {
		t.Errorf("the error names the mailbox: %v", err)
	}
	if err := p.CheckOwner("box.7", "bob"); err != nil {
		t.Error(err)
	}
	if _, err := other.Accept("box.7"); err != nil {
		t.Fatal(err)
	}
	third, err := OpenPins(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := third.CheckOwner("box.7", "mallory"); err != nil {
		t.Error(err)
	}
	if err := third.CheckOwner("box.8", "bob"); err != nil {
		t.Error(err)
	}
}

// A node that says after a restart of the sender that the mailbox is somebody else's is not believed.
func TestMailboxIsNotGivenAway(t *testing.T) {
	f := newFake(t, 1)
	alice, bob := pair(t, f)
	mustSend(t, alice, "box", "1")
	mallory := f.client(t, "mallory")
	if err := bob.DeleteMailbox(context.Background(), "box"); err != nil {
		t.Fatal(err)
	}
	mustCreate(t, mallory, "box")
	o := f.optionsFor("alice", alice.opts.Identity, alice.opts.KeyStore)
	o.Pins = alice.opts.Pins
	again := connect(t, o)
	if _, err := again.Send(context.Background(), "box", []byte("2")); !errors.As(err, new(*OwnerChangedError)) {
		t.Errorf("%v", err)
	}
}

func TestPinsGolden(t *testing.T) {
	at := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	all := newPinned()
	all.pins["billing"] = Pin{Name: "billing", Key: key(1), FirstSeen: at}
	all.pins[`quo"te`] = Pin{Name: `quo"te`, Key: key(2), FirstSeen: at, Offered: key(3), OfferedAt: at.Add(time.Hour)}
	all.owners["team.box"] = owner{name: "billing"}
	all.owners["team.other"] = owner{"billing", "mallory"}
	got := marshalPins(all)
	if *update {
		if err := os.WriteFile("testdata/pins.toml", got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/pins.toml")
	if err != nil || string(got) != string(want) {
		t.Errorf("%v\n%s", err, got)
	}
	back, err := parsePins("pins.toml", got)
	if err != nil || !maps.Equal(back.pins, all.pins) || !maps.Equal(back.owners, all.owners) {
		t.Errorf("read back as %+v, %v", back, err)
	}
}

func TestPinsOfManyProcesses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pins.toml")
	var all sync.WaitGroup
	names := []string{"a", "b.c", `quo"te\`, "sp ace", "=#[x]"}
	var mu sync.Mutex
	first := 0
	for range 8 {
		p, err := OpenPins(path)
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			for i, name := range names {
				isNew, err := p.Check(name, key(byte(i+1)))
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				if isNew {
					first++
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	p, err := OpenPins(path)
	if err != nil {
		t.Fatal(err)
	}
	pins, err := p.List()
	if err != nil || len(pins) != len(names) || first != len(names) {
		t.Errorf("%d pins, %d times the first, %v", len(pins), first, err)
	}
}

func TestPinsFileIsStrict(t *testing.T) {
	const good = "version = 1\n[pin.a]\nkey = \"" + "0101010101010101010101010101010101010101010101010101010101010101" +
		"\"\nfirst_seen = \"2026-11-23T10:00:00Z\"\n"
	if _, err := parsePins("pins.toml", []byte(good)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ old, new, want string }{
		{"version = 1", "version = 2", "pins.toml:1: version 2"},
		{"version = 1\n", "", "version is missing"},
		{"version = 1", "version = 1\nextra = 2", "pins.toml:2: unknown key extra"},
		{"[pin.a]", "[nip.a]", "pins.toml:2: unknown table"},
		{"[pin.a]", "[pin.a.b]", "pins.toml:2: unknown table"},
		{"key = \"01", "key = \"0z", "pins.toml:3: key must be"},
		{"key = \"01", "key = \"", "pins.toml:3: key must be"},
		{"key =", "yek =", "key is missing"},
		{"2026-11-23T10:00:00Z", "yesterday", "first_seen must be a time"},
		{"first_seen = ", "offered = \"00\"\nfirst_seen = ", "offered must be"},
		{"[pin.a]", "[pin.a]\nx = 1", "unknown key x"},
		{"[pin.a]", "[mailbox.b]\nowner = \"\"\n[pin.a]", "pins.toml:2: owner and offered must be"},
		{"[pin.a]", "[mailbox.b]\nowner = \"a\"\noffered = \"a\"\n[pin.a]", "pins.toml:2: owner and offered must be"},
		{"[pin.a]", "[mailbox.b]\n[pin.a]", "owner is missing"},
	} {
		_, err := parsePins("pins.toml", []byte(strings.Replace(good, tt.old, tt.new, 1)))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q for %q: %v, want %q", tt.new, tt.old, err, tt.want)
		}
	}
	path := filepath.Join(t.TempDir(), "pins.toml")
	if err := os.WriteFile(path, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenPins(path); err == nil {
		t.Error("a file that is none was opened")
	}
	if err := errors.Join(os.WriteFile(path, []byte(good), 0o600), os.Chmod(path, 0o644)); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenPins(path); err == nil {
		t.Error("a file that others may read was opened")
	}
}

// renew replaces the identity of a service by a new one of the same name, as after the loss of its files.
func renewIdentity(t *testing.T, f *fakeCluster, name string, keys *KeyStore) *Client {
	t.Helper()
	id, err := envelope.NewIdentity(name)
	if err != nil {
		t.Fatal(err)
	}
	return connect(t, f.optionsFor(name, id, keys))
}

func TestSenderRefusesAChangedOwner(t *testing.T) {
	f := newFake(t, 1)
	alice, bob := pair(t, f)
	ctx := context.Background()
	mustCreate(t, bob, "other")
	mustSend(t, alice, "box", "1")
	bob2 := renewIdentity(t, f, "bob", bob.opts.KeyStore)
	if err := bob2.DeleteMailbox(ctx, "other"); err != nil {
		t.Fatal(err)
	}
	mustCreate(t, bob2, "other")
	_, err := alice.Send(ctx, "other", []byte("2"))
	var changed *KeyChangedError
	if !isCode(err, CodeKeyChanged) || !errors.As(err, &changed) || changed.Name != "bob" ||
		asError(err).Outcome != Definite {
		t.Fatalf("%v", err)
	}
	if m, _ := bob2.ShowMailbox(ctx, "other"); m.Ready != 0 {
		t.Error("the message was sealed to the new key")
	}
	if _, err := alice.opts.Pins.Accept("bob"); err != nil {
		t.Fatal(err)
	}
	mustSend(t, alice, "other", "3")
}

func TestReceiverRefusesAChangedSender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 1)
		alice, bob := pair(t, f)
		ctx := t.Context()
		mustSend(t, alice, "box", "1")
		ms, err := bob.Receive(ctx, "box")
		if err != nil || ms[0].Trust != TrustNew {
			t.Fatal(err)
		}
		ms[0].Ack(ctx)
		imposter := renewIdentity(t, f, "alice", nil)
		mustSend(t, imposter, "box", "2")
		mustSend(t, alice, "box", "3")
		ms, err = bob.Receive(ctx, "box", Max(5))
		if err != nil || len(ms) != 1 || string(ms[0].Body) != "3" || ms[0].Trust != TrustPinned {
			t.Fatalf("%d messages, %v", len(ms), err)
		}
		ms[0].Ack(ctx)
		// Put aside, it comes again, and is refused again, without counting as a failure.
		_, err = bob.Receive(ctx, "box", Wait(refusedDelay*3/2))
		var changed *KeyChangedError
		if !errors.As(err, &changed) || changed.Pinned != alice.opts.Identity.Fingerprint() ||
			changed.Offered != imposter.opts.Identity.Fingerprint() {
			t.Fatalf("%v", err)
		}
		if state, _, failures := f.state("box", 2); state != stateDelayed || failures != 0 {
			t.Errorf("state %d, %d failures", state, failures)
		}
		if _, err := bob.opts.Pins.Accept("alice"); err != nil {
			t.Fatal(err)
		}
		ms, err = bob.Receive(ctx, "box", Wait(2*refusedDelay))
		if err != nil || len(ms) != 1 || string(ms[0].Body) != "2" {
			t.Errorf("after accepting: %d messages, %v", len(ms), err)
		}
	})
}

// A subscription goes on past a sender it does not trust, and tells of it.
func TestSubscriptionRefusesAChangedSender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, 1)
		alice, bob := pair(t, f)
		bob.opts.Pins.Check("alice", key(9))
		carol := f.client(t, "carol")
		mustSend(t, alice, "box", "untrusted")
		mustSend(t, carol, "box", "trusted")
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		var errs []error
		var bodies []string
		err := bob.Subscribe(ctx, "box", func(_ context.Context, m *Message) error {
			bodies = append(bodies, string(m.Body))
			return nil
		}, OnError(func(err error) { errs = append(errs, err) }))
		if err != nil || len(bodies) != 1 || bodies[0] != "trusted" {
			t.Errorf("%v, %v", bodies, err)
		}
		if len(errs) != 1 || !isCode(errs[0], CodeKeyChanged) {
			t.Errorf("%v", errs)
		}
		if state, _, _ := f.state("box", 1); state != stateDelayed {
			t.Errorf("state %d", state)
		}
	})
}

// A record of the mailbox with the owner's name and another key, made up by the nodes, is refused.
func TestForgedRecordIsRefused(t *testing.T) {
	f := newFake(t, 1)
	alice, bob := pair(t, f)
	ctx := context.Background()
	mustSend(t, alice, "box", "1")
	mallory, err := envelope.NewIdentity("bob")
	if err != nil {
		t.Fatal(err)
	}
	box, _ := bob.mailbox("box")
	known := box.current()
	for name, change := range map[string]func(*envelope.KeyRecord){
		"another key":        func(*envelope.KeyRecord) {},
		"another name":       func(r *envelope.KeyRecord) { r.Name = "other" },
		"another mailbox id": func(r *envelope.KeyRecord) { r.MailboxID[0] ^= 1 },
	} {
		r := nextRecord("box", known, known.record.Epochs, time.Now(), known.record.Policy)
		change(r)
		raw, err := r.Sign(mallory)
		if err != nil {
			t.Fatal(err)
		}
		f.mu.Lock()
		f.boxes["box"].record, f.boxes["box"].version = raw, r.Version
		f.mu.Unlock()
		fresh := connect(t, f.optionsFor("alice", alice.opts.Identity, alice.opts.KeyStore))
		fresh.opts.Pins = alice.opts.Pins
		_, err = fresh.Send(ctx, "box", []byte("2"))
		if !isCode(err, CodeKeyChanged) && !isCode(err, CodeBadSeal) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
