package machine

import (
	"errors"
	"sync"

	"github.com/sealmq/sealmq/internal/codec"
	"github.com/sealmq/sealmq/storage"
)

// Mail is the machine of a mail group: mailboxes and what is in them. Apply is for one goroutine; everything else that
// is exported is for any.
type Mail struct {
	*base
	cache  cache
	lookup lookup
	group  storage.GroupState
	window uint32 // of dedup, at the current time
	// filters are of the current window and of the one before.
	filters [2]filter

	// turn is held by Apply and WriteOut: memory is one goroutine's at a time.
	turn    sync.Mutex
	pending pending

	// What was changed and not yet written, or written to the batch where reads do not see it.
	touched    []*mailbox
	producers  []*producer
	groupDirty bool
	byName     map[string]bool   // names that exist by now, or do not
	deleted    map[[16]byte]bool // ids that do not exist by now
	numbers    map[uint64]bool   // numbers whose rows in the store are of deleted mailboxes
	keyed      keyedRows
	expiry     map[expiryKey]storage.Expiry // Last == gone: deleted
	forget     [][16]byte                   // rows that Lookup must read again
	// In keys/: secrets that exist by now, and mailboxes whose stored ones do not.
	secrets        map[secretID]bool
	secretsDeleted map[[16]byte]bool

	commands struct {
		keyPut        KeyPut
		keyDelete     KeyDelete
		mailboxCreate MailboxCreate
		mailboxDelete MailboxDelete
		publish       KeyRecordPublish
		sessionPut    SessionPut
		send          Send
		lease         Lease
		ack           Ack
		nack          Nack
		extend        Extend
		release       Release
		expire        Expire
		tick          Tick
	}
	warming      warming
	sending      sending
	leasing      leasing
	pieceScratch []storage.Span
	packed       []storage.InlineProducer // of the state row that is being written
	codes        []CodeRun
}

// OpenMail opens the machine of a mail group on what its stores hold. cacheBytes bounds the mailboxes in memory; 0 is
// 16 MiB.
func OpenMail(stores *storage.Stores, group uint16, cacheBytes int64) (*Mail, error) {
	b, err := openBase(stores, group)
	if err != nil {
		return nil, err
	}
	m := &Mail{
		base: b, cache: newCache(cacheBytes), lookup: newLookup(),
		byName: map[string]bool{}, deleted: map[[16]byte]bool{}, numbers: map[uint64]bool{},
		expiry:  map[expiryKey]storage.Expiry{},
		secrets: map[secretID]bool{}, secretsDeleted: map[[16]byte]bool{},
	}
	m.window = dedupWindow(m.now)
	if m.group, err = b.reader.Group(); errors.Is(err, storage.ErrNotFound) {
		m.group, err = storage.GroupState{NextMailbox: 1}, nil
	}
	if err == nil {
		err = m.readFilters(filterReadIDs)
	}
	return m, err
}

// Apply applies a run of entries, and the configuration that was committed in or after it if there is one. What it does
// to messages may stay in memory until [Mail.WriteOut]. An error means that a store failed; the machine must not be used
// any more.
//
// With outcomes, there is one result for each entry and in it one outcome for each command. An entry whose framing is
// broken has one outcome that says so; one without data, and one that both stores already hold, has none.
func (m *Mail) Apply(entries []Entry, config *Applied, outcomes bool) ([][]Outcome, error) {
	m.turn.Lock()
	defer m.turn.Unlock()
	return m.run(entries, config, outcomes, m)
}

func (m *Mail) command(kind Kind, r *codec.Reader, o *Outcome) {
	c := &m.commands
	m.pending.note(kind)
	switch kind {
	case KindKeyPut:
		if m.decode(&c.keyPut, r, o) {
			m.keyPut(&c.keyPut, o)
		}
	case KindKeyDelete:
		if m.decode(&c.keyDelete, r, o) {
			m.keyDelete(&c.keyDelete, o)
		}
	case KindMailboxCreate:
		if m.decode(&c.mailboxCreate, r, o) {
			m.mailboxCreate(&c.mailboxCreate, o)
		}
	case KindMailboxDelete:
		if m.decode(&c.mailboxDelete, r, o) {
			m.mailboxDelete(&c.mailboxDelete, o)
		}
	case KindKeyRecordPublish:
		if m.decode(&c.publish, r, o) {
			m.keyRecordPublish(&c.publish, o)
		}
	case KindTick:
		if m.decode(&c.tick, r, o) {
			m.tick(o)
		}
	default:
		m.messageCommand(kind, r, o)
	}
}

func (m *Mail) messageCommand(kind Kind, r *codec.Reader, o *Outcome) {
	c := &m.commands
	switch kind {
	case KindSessionPut:
		if m.decode(&c.sessionPut, r, o) {
			m.sessionPut(&c.sessionPut, o)
		}
	case KindSend:
		if m.decode(&c.send, r, o) {
			m.send(&c.send, o)
		}
	case KindLease:
		if m.decode(&c.lease, r, o) {
			m.lease(&c.lease, o)
		}
	case KindAck:
		if m.decode(&c.ack, r, o) {
			m.ack(&c.ack, o)
		}
	case KindNack:
		if m.decode(&c.nack, r, o) {
			m.nack(&c.nack, o)
		}
	case KindExtend:
		if m.decode(&c.extend, r, o) {
			m.extend(&c.extend, o)
		}
	case KindRelease:
		if m.decode(&c.release, r, o) {
			m.release(&c.release, o)
		}
	case KindExpire:
		if m.decode(&c.expire, r, o) {
			m.expire(&c.expire, o)
		}
	default:
		o.Code = CodeUnsupported
	}
}

// find returns the mailbox that a command is about, nil after telling the outcome that there is none.
func (m *Mail) find(id [16]byte, o *Outcome) *mailbox {
	o.Mailbox = id
	mb := m.mailbox(id)
	if mb == nil {
		o.Code = CodeNoMailbox
	}
	return mb
}

// timeMoved writes what is remembered of senders under the window that their sends fell into before a new one begins,
// and the one before that is dropped: which rows there are must not depend on where a run of Apply ends.
func (m *Mail) timeMoved(int64) {
	if window := dedupWindow(m.now); window != m.window {
		m.writeProducers()
		m.keyed.write(m.batch)
		m.beginWindow(window)
	}
}

func (m *Mail) write() {
	m.writeProducers()
	m.keyed.write(m.batch)
	for _, mb := range m.touched {
		if mb.deleted {
			continue
		}
		for _, p := range mb.pages {
			if !p.dirty {
				continue
			}
			p.dirty = false
			if p.number == mb.inlinePage {
				mb.stateDirty = true
				continue
			}
			p.Normalize()
			m.batch.PutPage(mb.row.Number, p.number, &p.Page)
		}
		if mb.stateDirty {
			mb.stateDirty = false
			m.pack(mb)
			m.batch.PutState(mb.row.Number, &mb.state)
			mb.state.Producers, mb.state.Inline = nil, nil
		}
	}
	if m.groupDirty {
		m.groupDirty = false
		m.batch.PutGroup(&m.group)
	}
}

func (m *Mail) written() {
	m.lookup.forget(m.forget)
	m.forget = m.forget[:0]
	for i, mb := range m.touched {
		if !mb.deleted {
			m.cache.settle(mb)
		}
		m.touched[i] = nil
	}
	m.touched = m.touched[:0]
	m.cache.shrink()
	m.pending.reset()
	clear(m.byName)
	clear(m.deleted)
	clear(m.numbers)
	m.keyed.reset()
	clear(m.expiry)
	clear(m.secrets)
	clear(m.secretsDeleted)
}
