package storage

import "github.com/sealmq/sealmq/internal/codec"

// Expiry is the row of a bucket of ten minutes and a mailbox: the messages whose not-after lies in the bucket are among
// these. Last is 0 while the bucket is open in the mailbox's state.
type Expiry struct {
	First, Last uint64
}

func (e *Expiry) append(dst []byte) []byte {
	dst = append(dst, rowVersion)
	dst = codec.AppendUvarint(dst, e.First)
	return codec.AppendUvarint(dst, e.Last)
}

func (e *Expiry) decode(row []byte) error {
	r := codec.NewReader(row)
	version(&r)
	e.First, e.Last = r.Uvarint(), r.Uvarint()
	return damaged("expiry", r.Done())
}
