package client

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/sealmq/sealmq/envelope"
	"github.com/sealmq/sealmq/wire"
)

const (
	// epochLength is how long messages are sealed to one key.
	epochLength = 7 * 24 * time.Hour
	// recordLength is how long a key record is good for: a recipient may be away for so long and still get mail.
	recordLength = envelope.MaxValidity
	// keepEvery is how often a receiver that owns its mailbox looks whether its keys are due.
	keepEvery = time.Hour
	// drainedAfter is how long after a key was replaced nobody seals to it any more: sessions last a day at most.
	drainedAfter = envelope.MaxSessionLifetime + time.Hour
	// takeOverAfter is how long a key record is left alone that another keyring made: two of them, which share a mailbox
	// by mistake, would otherwise publish in turns for ever.
	takeOverAfter = 24 * time.Hour
	// delayMost is how much longer than its time to live a message may be kept from receivers.
	delayMost = 24 * time.Hour
)

// keep returns what is known about the mailbox and, where this client is its owner, sees to the mailbox's keys: there
// is always one in use and the next one published, and old ones are destroyed when nothing waits for them.
func (b *mailbox) keep(ctx context.Context) (known *resolved, err error) {
	b.mu.Lock()
	known = b.known
	fresh := known != nil && !known.at.IsZero() && time.Since(b.keptAt) < keepEvery
	b.mu.Unlock()
	if fresh {
		return known, nil
	}
	err = b.c.retry(ctx, func(ctx context.Context) (err error) {
		known, err = b.keeping.do(ctx, b.c, b.keepNow)
		return err
	})
	return known, err
}

func (b *mailbox) keepNow(ctx context.Context) (*resolved, error) {
	known, err := b.resolving.do(ctx, b.c, b.ask)
	if err != nil {
		return nil, err
	}
	if b.owns(known) {
		next, err := b.rotate(ctx, known, envelope.PolicySealed)
		ring, _ := b.c.opts.KeyStore.ring(known.ref.ID)
		switch _, _, held := ring.epochs(); {
		case err == nil:
			known = next
		case !held || known.record == nil:
			return nil, err
		default:
			// What was published before is good for weeks: reading goes on.
			b.c.log.Warn("cannot renew the keys of a mailbox", "error", err)
		}
	}
	b.mu.Lock()
	b.keptAt = time.Now()
	b.mu.Unlock()
	return known, nil
}

// owns reports whether this client is the mailbox's owner: by its key record, or where there is none yet by the word of
// the nodes, which will not take a record from anybody else.
func (b *mailbox) owns(known *resolved) bool {
	id := b.c.opts.Identity
	if id == nil || b.c.opts.KeyStore == nil {
		return false
	}
	if known.record == nil {
		return known.owner == b.c.Principal()
	}
	return known.record.Owner().Key == id.PublicKey()
}

// rotate brings the mailbox's keys up to date. policy is that of the first record; later ones keep theirs.
func (b *mailbox) rotate(ctx context.Context, known *resolved, policy envelope.Policy) (*resolved, error) {
	store := b.c.opts.KeyStore
	now := time.Now()
	ring, err := store.ring(known.ref.ID)
	if err != nil {
		return nil, definite(CodeConfig, err, "")
	}
	if known.record != nil && foreign(known.record, ring, now) {
		b.c.log.Warn("the key store lacks keys of a mailbox that this identity published: share one keyring directory")
	}
	if !planKeys(known.record, ring, now).due {
		b.tidy(ctx, known, ring)
		return known, nil
	}
	// The private keys are on disk, and were read back from it, before anybody can seal to them.
	var plan keyPlan
	ring, err = store.change(known.ref.ID, b.name, func(k *keyring) error {
		if k.publishedAfter(known.version) {
			return errOtherKeeper
		}
		// What the next record replaces is noted before it is replaced: afterwards no record tells of it.
		k.notePublished(known)
		plan = planKeys(known.record, k, now)
		return plan.generate(k)
	})
	if errors.Is(err, errOtherKeeper) {
		return b.resolving.do(ctx, b.c, b.ask)
	} else if err != nil {
		return nil, definite(CodeConfig, err, "")
	}
	record := nextRecord(b.name, known, plan.epochs, now, policy)
	raw, err := record.Sign(b.c.opts.Identity)
	if err != nil {
		return nil, definite(CodeInternal, err, "signing the key record")
	}
	known, err = b.publish(ctx, known, record, raw)
	if err != nil {
		return nil, err
	}
	if known.record != nil && known.version == record.Version {
		b.c.log.Info("published a key record", "version", record.Version, "epoch", plan.epochs[len(plan.epochs)-1].Number)
	}
	b.tidy(ctx, known, ring)
	return known, nil
}

// errOtherKeeper means that a process that shares the keyring has published since this one looked.
var errOtherKeeper = errors.New("another keeper was first")

// publishedAfter reports whether a key was published in a later record than that of a version.
func (k *keyring) publishedAfter(version uint64) bool {
	return slices.ContainsFunc(k.keys, func(key ringKey) bool { return key.published > version })
}

// notePublished notes which keys are in a record, and that those with lower numbers were in one before it: a process
// may have ended before it noted that, and a key that is kept for nothing costs less than one that messages wait for.
// It reports whether that was news.
func (k *keyring) notePublished(known *resolved) (changed bool) {
	if known.record == nil {
		return false
	}
	highest := known.record.Epochs[len(known.record.Epochs)-1].Number
	for i := range k.keys {
		key := &k.keys[i]
		if key.published == 0 && key.Number() <= highest && !second(known.record, *key) {
			key.published, changed = known.version, true
		}
	}
	return changed
}

// second reports whether a record has another key under a key's number. Only then is it certain that a keeper that came
// second made it, and that nobody ever sealed to it.
func second(record *envelope.KeyRecord, key ringKey) bool {
	e, missing := record.Epoch(key.Number())
	return missing == nil && e.ID() != key.ID()
}

// publish stores a record if the one before it is still the newest. If another keeper was first, its record counts.
func (b *mailbox) publish(ctx context.Context, known *resolved, record *envelope.KeyRecord, raw []byte,
) (*resolved, error) {
	message := &wire.KeyRecordPublish{
		Mailbox: known.ref, Name: b.name, Version: record.Version, PreviousHash: record.Previous,
		OwnerKey: record.Owner().Key, Record: raw,
	}
	var done wire.Done
	err := b.c.toSlot(ctx, b.slot, message, &done)
	if err != nil && !isCode(err, CodePreconditionFailed) {
		return nil, err
	}
	fresh, asked := b.resolving.do(ctx, b.c, b.ask)
	switch {
	case asked != nil:
		return nil, asked
	case fresh.record == nil || fresh.version <= known.version:
		if err == nil {
			err = unreachable(nil, "the node does not show the key record that was published")
		}
		return nil, err
	}
	return fresh, nil
}

// keyPlan is which epochs the next key record has.
type keyPlan struct {
	epochs  []envelope.EpochPublic
	missing []epochSpan // epochs behind those whose keys have to be made
	highest uint32      // number that was used
	due     bool        // there is something to publish
}

type epochSpan struct{ from, until time.Time }

// planKeys decides what the next key record has to hold: the epoch in use and the one after it, both of keys that are
// here. Numbers go up and are never used twice.
func planKeys(record *envelope.KeyRecord, ring *keyring, now time.Time) keyPlan {
	var plan keyPlan
	usable, highest := usableEpochs(record, ring, now)
	plan.highest = highest
	current := -1
	for i := range usable {
		if !usable[i].NotBefore.After(now) {
			current = i
		}
	}
	if record != nil && ring != nil && len(ring.keys) > 0 && foreign(record, ring, now) &&
		now.Before(record.NotAfter.Add(takeOverAfter-recordLength)) {
		return plan
	}
	if current < 0 {
		// None, or one for later only, which would end up with a lower number than the one that is needed now.
		begin := now.Truncate(time.Minute)
		next := begin.Add(epochLength)
		plan.missing = []epochSpan{{begin, next}, {next, next.Add(epochLength)}}
	} else {
		plan.epochs = usable[current:min(current+2, len(usable))]
		if len(plan.epochs) == 1 {
			end := usable[current].NotAfter
			plan.missing = []epochSpan{{end, end.Add(epochLength)}}
		}
	}
	plan.due = len(plan.missing) > 0 || record == nil || record.NotAfter.Sub(now) < recordLength/2 ||
		!published(record, plan.epochs)
	return plan
}

// usableEpochs returns the epochs that are not over, ascending: those of the record whose private keys are here, and
// those whose keys were made and not published yet. highest is the highest number that was ever used.
func usableEpochs(record *envelope.KeyRecord, ring *keyring, now time.Time,
) (usable []envelope.EpochPublic, highest uint32) {
	if record != nil {
		highest = record.Epochs[len(record.Epochs)-1].Number
		for _, e := range record.Epochs {
			if e.NotAfter.After(now) && ring.find(e.ID(), e.Number) != nil {
				usable = append(usable, e)
			}
		}
	}
	if ring == nil {
		return usable, highest
	}
	for _, key := range ring.keys {
		if key.Number() > highest && key.published == 0 && key.Public().NotAfter.After(now) {
			usable = append(usable, key.Public())
		}
	}
	if n := len(ring.keys); n > 0 {
		highest = max(highest, ring.keys[n-1].Number())
	}
	return usable, highest
}

// foreign reports whether a record has an epoch that is not over and whose key is not here.
func foreign(record *envelope.KeyRecord, ring *keyring, now time.Time) bool {
	return slices.ContainsFunc(record.Epochs, func(e envelope.EpochPublic) bool {
		return e.NotAfter.After(now) && ring.find(e.ID(), e.Number) == nil
	})
}

// published reports whether a record holds all these epochs.
func published(record *envelope.KeyRecord, epochs []envelope.EpochPublic) bool {
	for _, e := range epochs {
		if _, err := record.Epoch(e.Number); err != nil {
			return false
		}
	}
	return true
}

// generate makes the keys that the plan lacks and puts them into the keyring.
func (p *keyPlan) generate(k *keyring) error {
	for _, span := range p.missing {
		p.highest++
		key, err := envelope.GenerateEpochKey(p.highest, span.from, span.until)
		if err != nil {
			return err
		}
		k.keys = append(k.keys, ringKey{EpochKey: key})
		p.epochs = append(p.epochs, key.Public())
	}
	p.missing = nil
	return nil
}

// nextRecord returns the record after the one that is known, not signed yet.
func nextRecord(name string, known *resolved, epochs []envelope.EpochPublic, now time.Time, policy envelope.Policy,
) *envelope.KeyRecord {
	r := &envelope.KeyRecord{
		MailboxID: known.ref.ID, Name: name, Version: known.version + 1, NotAfter: now.Add(recordLength),
		Policy: policy, Epochs: epochs,
	}
	if known.record != nil {
		r.Previous = known.record.Hash()
		r.Policy = known.record.Policy
	}
	return r
}

// tidy notes in the keyring what has been published and replaced, and destroys keys that nothing can need any more. It
// is done again at the next look if it fails.
func (b *mailbox) tidy(ctx context.Context, known *resolved, ring *keyring) {
	if known.record == nil || ring == nil {
		return
	}
	now := time.Now()
	drained := b.drained(ctx, known, ring, now)
	if next := tidied(ring, known, drained, now); next == nil {
		return
	}
	_, err := b.c.opts.KeyStore.change(known.ref.ID, b.name, func(k *keyring) error {
		if next := tidied(k, known, drained, now); next != nil {
			k.keys = next.keys
		}
		return nil
	})
	if err != nil {
		b.c.log.Warn("cannot update a keyring", "error", err)
	}
}

// tidied returns the keyring as it should be, nil if it is so already.
func tidied(k *keyring, known *resolved, drained []uint32, now time.Time) *keyring {
	current, err := known.record.Choose(now)
	k = k.clone()
	changed := k.notePublished(known)
	k.keys = slices.DeleteFunc(k.keys, func(key ringKey) bool {
		e, missing := known.record.Epoch(key.Number())
		inRecord := missing == nil && e.ID() == key.ID()
		overdue := !key.replaced.IsZero() && now.Sub(key.replaced) > drainedAfter+known.ttl+delayMost
		never := key.published == 0 && second(known.record, key)
		gone := !inRecord && (overdue || never || slices.Contains(drained, key.Number()))
		changed = changed || gone
		return gone
	})
	for i := range k.keys {
		key := &k.keys[i]
		if err == nil && key.Number() < current.Number && key.published != 0 && key.replaced.IsZero() {
			key.replaced, changed = now.UTC().Truncate(time.Millisecond), true
		}
	}
	if !changed {
		return nil
	}
	return k
}

// drained returns the replaced epochs that nothing waits for any more, by the nodes' word.
func (b *mailbox) drained(ctx context.Context, known *resolved, ring *keyring, now time.Time) []uint32 {
	var old []uint32
	for _, key := range ring.keys {
		if !key.replaced.IsZero() && now.Sub(key.replaced) > drainedAfter {
			old = append(old, key.Number())
		}
	}
	if len(old) == 0 {
		return nil
	}
	var info wire.MailboxInfo
	if err := b.c.toSlot(ctx, b.slot, &wire.MailboxShow{Name: b.name}, &info); err != nil || info.ID != known.ref.ID {
		return nil
	}
	counted := uint64(0)
	for _, w := range info.Waiting {
		counted += w.Messages
		if w.Messages > 0 {
			old = slices.DeleteFunc(old, func(n uint32) bool { return n == w.Epoch })
		}
	}
	// A count that leaves messages out must not cost anybody their key.
	if counted != info.Ready+info.Leased+info.Parked+info.Dead {
		return nil
	}
	return old
}
