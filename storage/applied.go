package storage

import (
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2"

	"github.com/sealmq/sealmq/internal/codec"
)

// Applied says up to where a group's log is in a store, and which membership configuration was current there. Config is
// opaque.
type Applied struct {
	Index, Term uint64
	ConfigIndex uint64
	Config      []byte
}

// appendApplied is the applied row: the replicated time stands with the index because both change with every entry.
func appendApplied(dst []byte, a Applied, timeMillis int64) []byte {
	dst = append(dst, rowVersion)
	dst = codec.AppendU64(dst, a.Index)
	dst = codec.AppendU64(dst, a.Term)
	return codec.AppendU64(dst, uint64(timeMillis))
}

func decodeApplied(row []byte, a *Applied) (timeMillis int64, err error) {
	r := codec.NewReader(row)
	version(&r)
	a.Index, a.Term, timeMillis = r.U64(), r.U64(), int64(r.U64())
	return timeMillis, damaged("applied", r.Done())
}

func appendConfig(dst []byte, a Applied) []byte {
	dst = append(dst, rowVersion)
	dst = codec.AppendU64(dst, a.ConfigIndex)
	return append(dst, a.Config...)
}

func decodeConfig(row []byte, a *Applied) error {
	r := codec.NewReader(row)
	version(&r)
	a.ConfigIndex = r.U64()
	a.Config = append([]byte(nil), r.Rest()...)
	return damaged("configuration", r.Done())
}

// putApplied writes a group's applied row, and its configuration row if that changed.
func putApplied(b *pebble.Batch, group uint16, a Applied, timeMillis int64, config bool) error {
	var k, v [maxKey]byte
	if err := b.Set(newKey(k[:], group, tableApplied), appendApplied(v[:0], a, timeMillis), nil); err != nil {
		return err
	}
	if !config {
		return nil
	}
	return b.Set(newKey(k[:], group, tableConfig), appendConfig(nil, a), nil)
}

// readApplied returns what a store has applied of a group, zero if nothing.
func readApplied(from pebble.Reader, group uint16) (Applied, error) {
	a, _, err := readAppliedTime(from, group)
	return a, err
}

func readAppliedTime(from pebble.Reader, group uint16) (a Applied, timeMillis int64, err error) {
	err = get(from, newKey(nil, group, tableApplied), func(row []byte) error {
		timeMillis, err = decodeApplied(row, &a)
		return err
	})
	if err == nil {
		err = get(from, newKey(nil, group, tableConfig), func(row []byte) error { return decodeConfig(row, &a) })
	}
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	return a, timeMillis, err
}

// Applied returns what state/ and keys/ have applied of a group, durable or not, and the replicated time.
func (s *Stores) Applied(group uint16) (state, keys Applied, timeMillis int64, err error) {
	if state, timeMillis, err = readAppliedTime(s.dbs[State], group); err != nil {
		return state, keys, 0, err
	}
	s.keysMu.Lock()
	keys, noted := s.keysBehind[group]
	s.keysMu.Unlock()
	if !noted {
		keys, err = readApplied(s.dbs[Keys], group)
	}
	return state, keys, timeMillis, err
}

// DurableApplied returns what a crash now would keep of a group: the lower of its two stores. Raft is told this at
// start, and replays what is above it.
func (s *Stores) DurableApplied(group uint16) (Applied, error) {
	state, err := durableApplied(s.dbs[State], group)
	if err != nil {
		return Applied{}, fmt.Errorf("reading what store state holds: %w", err)
	}
	keys, err := durableApplied(s.dbs[Keys], group)
	if err != nil {
		return Applied{}, fmt.Errorf("reading what store keys holds: %w", err)
	}
	if keys.Index < state.Index {
		return keys, nil
	}
	return state, nil
}

// durableApplied reads both rows through one iterator: they belong to one moment.
func durableApplied(db *pebble.DB, group uint16) (a Applied, err error) {
	lower := newKey(nil, group, tableApplied)
	upper := newKey(nil, group, tableConfig+1)
	iter, err := db.NewIter(&pebble.IterOptions{
		LowerBound: lower, UpperBound: upper, OnlyReadGuaranteedDurable: true,
	})
	if err != nil {
		return a, err
	}
	defer func() { err = errors.Join(err, iter.Close()) }()
	for ok := iter.First(); ok; ok = iter.Next() {
		switch iter.Key()[2] {
		case tableApplied:
			_, err = decodeApplied(iter.Value(), &a)
		case tableConfig:
			err = decodeConfig(iter.Value(), &a)
		}
		if err != nil {
			return a, err
		}
	}
	return a, iter.Error()
}

// get reads one row and hands it to decode, which must not keep it.
func get(from pebble.Reader, k []byte, decode func(row []byte) error) error {
	row, closer, err := from.Get(k)
	if errors.Is(err, pebble.ErrNotFound) {
		return ErrNotFound
	}
	if err != nil {
		return err
	}
	return closeAfter(closer, decode(row))
}

func closeAfter(c io.Closer, err error) error {
	if closed := c.Close(); err == nil {
		err = closed
	}
	return err
}
