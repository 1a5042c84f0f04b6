package broker

import (
	"math"
	"slices"
	"testing"
)

func TestEpochsWithout(t *testing.T) {
	const most = math.MaxUint32
	for _, x := range []struct {
		low, high uint32
		others    []uint32
		want      []epochRange
	}{
		{1, 9, nil, []epochRange{{1, 9}}},
		{1, 9, []uint32{0, 10, 77}, []epochRange{{1, 9}}},
		{1, 9, []uint32{5}, []epochRange{{1, 4}, {6, 9}}},
		{1, 9, []uint32{1, 9}, []epochRange{{2, 8}}},
		{1, 9, []uint32{9, 5, 1, 6, 5}, []epochRange{{2, 4}, {7, 8}}},
		{4, 4, []uint32{4}, nil},
		{0, most, []uint32{0, most}, []epochRange{{1, most - 1}}},
		{0, 2, []uint32{1, 0, 2}, nil},
	} {
		got := epochsWithout(x.low, x.high, x.others)
		if !slices.Equal(got, x.want) {
			t.Errorf("%d to %d without %v: %v, not %v", x.low, x.high, x.others, got, x.want)
		}
		for _, e := range x.others {
			if contains(got, e) {
				t.Errorf("%v has %d", got, e)
			}
		}
	}
}

func TestExcludedEpochsAreBounded(t *testing.T) {
	c := &conn{}
	for i := range uint32(1000) {
		c.excludeEpochs([16]byte{1}, []uint32{i, i})
	}
	if got := c.excluded([16]byte{1}); len(got) != epochsExcluded || got[1] != 1 {
		t.Errorf("%d epochs of one mailbox: %v", len(got), got)
	}
	for i := range 5000 {
		c.excludeEpochs([16]byte{byte(i), byte(i >> 8)}, []uint32{1})
	}
	if len(c.noKey) > mailboxesExcluded {
		t.Errorf("%d mailboxes", len(c.noKey))
	}
}
