package machine

import (
	"errors"

	"github.com/sealmq/sealmq/storage"
)

// Messages are found when they expire by rows (bucket, mailbox) that say between which numbers the messages are whose
// not-after lies in the bucket. A mailbox keeps its newest bucket open in its state, so that messages that follow each
// other cost no row; only the opening and the closing of a bucket write one.

// bucketMinutes is the width of a bucket. A message that nobody asks for is removed this late at most.
const bucketMinutes = 10

func bucketOf(notAfterMinutes uint32) uint32 { return notAfterMinutes / bucketMinutes }

type expiryKey struct {
	bucket  uint32
	mailbox uint64
}

// gone stands in the overlay for a row that was deleted.
var gone = storage.Expiry{}

// due notes that a message expires.
func (m *Mail) due(mb *mailbox, notAfterMinutes uint32, seq uint64) {
	s := &mb.state
	bucket := bucketOf(notAfterMinutes)
	if s.Bucket == bucket {
		s.BucketLast = seq
		return
	}
	m.closeBucket(mb)
	row, ok := m.readExpiry(expiryKey{bucket, mb.row.Number})
	if !ok {
		row.First = seq
	}
	row.Last = 0
	m.putExpiry(expiryKey{bucket, mb.row.Number}, row)
	s.Bucket, s.BucketFirst, s.BucketLast = bucket, row.First, seq
}

// closeBucket moves the bounds of a mailbox's open bucket to its row.
func (m *Mail) closeBucket(mb *mailbox) {
	s := &mb.state
	if s.Bucket != 0 {
		m.putExpiry(expiryKey{s.Bucket, mb.row.Number}, storage.Expiry{First: s.BucketFirst, Last: s.BucketLast})
		s.Bucket, s.BucketFirst, s.BucketLast = 0, 0, 0
		mb.stateDirty = true
	}
}

func (m *Mail) readExpiry(key expiryKey) (storage.Expiry, bool) {
	if row, ok := m.expiry[key]; ok {
		return row, row != gone
	}
	row, err := m.reader.Expiry(key.bucket, key.mailbox)
	if !errors.Is(err, storage.ErrNotFound) {
		m.failed(err)
	}
	return row, err == nil
}

func (m *Mail) putExpiry(key expiryKey, row storage.Expiry) {
	m.expiry[key] = row
	m.batch.PutExpiry(key.bucket, key.mailbox, &row)
}

func (m *Mail) deleteExpiry(key expiryKey) {
	m.expiry[key] = gone
	m.batch.DeleteExpiry(key.bucket, key.mailbox)
}
