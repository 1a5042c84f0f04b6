package machine

import (
	"cmp"
	"slices"

	"github.com/sealmq/sealmq/internal/codec"
	"github.com/sealmq/sealmq/storage"
)

// Tick moves time when nothing else does, removes messages past their not-after and drops the tables whose window has
// passed. It does a bounded amount of work; its outcome says whether there is More.
type Tick struct{}

// Append appends the command to an entry.
func (c *Tick) Append(dst []byte) []byte {
	start := len(dst)
	return frame(begin(dst, KindTick), start)
}

func (c *Tick) decode(*codec.Reader, names) {}

func (m *Mail) tick(o *Outcome) {
	m.dropWindows()
	o.More = !m.expireDue(TickMessages)
}

// dropWindows drops what no lookup reaches any more: each window and day with one range, and no range twice.
func (m *Mail) dropWindows() {
	if alive := m.window - min(m.window, 1); alive > m.group.DedupWindow {
		m.batch.DropDedup(m.group.DedupWindow, alive)
		m.group.DedupWindow, m.groupDirty = alive, true
	}
	today := storage.SessionDay(m.now)
	if alive := today - min(today, storage.SessionDays); alive > m.group.SessionDay {
		m.batch.DropSessions(m.group.SessionDay, alive)
		m.group.SessionDay, m.groupDirty = alive, true
	}
}

type expiryRow struct {
	expiryKey
	storage.Expiry
}

// expireDue removes messages whose bucket has ended, and reports whether that was all of them. It looks at no more than
// budget messages and mailboxes; what is left of a bucket stands in its row.
func (m *Mail) expireDue(budget int) bool {
	g := &m.group
	now := uint32(m.now / (bucketMinutes * minuteMillis))
	rows := m.dueRows(expiryKey{g.ExpiryBucket, g.ExpiryMailbox}, now, budget)
	for _, row := range rows {
		if m.err != nil {
			return false
		}
		g.ExpiryBucket, g.ExpiryMailbox, m.groupDirty = row.bucket, row.mailbox, true
		if budget <= 0 {
			return false
		}
		budget--
		if mb := m.mailboxNumbered(row.mailbox); mb != nil {
			spent, whole := m.expireRow(mb, row, budget)
			if budget -= spent; !whole {
				return false
			}
		}
		m.deleteExpiry(row.expiryKey)
	}
	if len(rows) == 0 && now > g.ExpiryBucket {
		g.ExpiryBucket, g.ExpiryMailbox, m.groupDirty = now, 0, true
	}
	return len(rows) == 0 || budget > 0
}

// dueRows returns the rows of buckets before one, from a key on, as this run has left them: at least limit of them if
// there are so many.
func (m *Mail) dueRows(from expiryKey, before uint32, limit int) []expiryRow {
	var rows []expiryRow
	add := func(bucket uint32, mailbox uint64, e storage.Expiry) error {
		key := expiryKey{bucket, mailbox}
		if _, changed := m.expiry[key]; !changed {
			rows = append(rows, expiryRow{key, e})
		}
		if len(rows) > limit {
			return storage.ErrStop
		}
		return nil
	}
	m.failed(m.reader.Expiries(from.bucket, from.mailbox, before, add))
	for key, e := range m.expiry {
		if e != gone && key.bucket < before && key.compare(from) >= 0 {
			rows = append(rows, expiryRow{key, e})
		}
	}
	slices.SortFunc(rows, func(a, b expiryRow) int { return a.compare(b.expiryKey) })
	return rows
}

func (k expiryKey) compare(l expiryKey) int {
	return cmp.Or(cmp.Compare(k.bucket, l.bucket), cmp.Compare(k.mailbox, l.mailbox))
}

func (m *Mail) bucketEnded(notAfterMinutes uint32) bool {
	return int64(bucketOf(notAfterMinutes)+1)*bucketMinutes*minuteMillis <= m.now
}

// expireRow removes the messages of a row that have expired and that no lease holds; a lease's are removed when it
// gives them back. It returns how many numbers it looked at, and whether that was the whole row.
func (m *Mail) expireRow(mb *mailbox, row expiryRow, budget int) (spent int, whole bool) {
	s := &mb.state
	if s.Bucket == row.bucket {
		row.First, row.Last = s.BucketFirst, s.BucketLast
		m.closeBucket(mb)
	}
	for seq := max(row.First, s.Head); seq <= row.Last && m.err == nil; {
		if spent >= budget {
			m.putExpiry(row.expiryKey, storage.Expiry{First: seq, Last: row.Last})
			m.advance(mb)
			return spent, false
		}
		p := m.states(mb, seq/storage.PageSeqs)
		last := min(row.Last, p.end(), s.Next-1)
		m.pieceScratch = p.pieces(m.pieceScratch[:0], p.offset(seq), p.offset(last))
		for _, piece := range m.pieceScratch {
			if piece.State == storage.SpanDone || piece.State == storage.SpanLeased {
				continue
			}
			m.byNotAfter(mb, p, piece, m.bucketEnded, func(part storage.Span, ended bool) {
				if ended {
					m.move(mb, p, part, doneSpan)
				}
			})
		}
		spent += int(last-seq) + 1
		seq = last + 1
	}
	m.advance(mb)
	return spent, true
}
