package broker

import "slices"

// epochRange is key epochs from low to high, both included.
type epochRange struct{ low, high uint32 }

// epochsWithout returns the epochs from low to high that are not among others, as ascending ranges.
func epochsWithout(low, high uint32, others []uint32) []epochRange {
	ranges := []epochRange{{low, high}}
	for _, e := range others {
		i := slices.IndexFunc(ranges, func(r epochRange) bool { return r.low <= e && e <= r.high })
		if i < 0 {
			continue
		}
		r := ranges[i]
		var parts []epochRange
		if r.low < e {
			parts = append(parts, epochRange{r.low, e - 1})
		}
		if e < r.high {
			parts = append(parts, epochRange{e + 1, r.high})
		}
		ranges = slices.Replace(ranges, i, i+1, parts...)
	}
	return ranges
}

const (
	// epochsExcluded and mailboxesExcluded bound what a connection remembers of the keys that its client does not have.
	epochsExcluded    = 64
	mailboxesExcluded = 1024
)

// excludeEpochs keeps key epochs of a mailbox from a connection for as long as it lasts: its client said that it does
// not have their keys.
func (c *conn) excludeEpochs(mailbox [16]byte, epochs []uint32) {
	c.mu.Lock()
	if c.noKey == nil || len(c.noKey) >= mailboxesExcluded && c.noKey[mailbox] == nil {
		c.noKey = map[[16]byte][]uint32{}
	}
	// A new list, because receivers may be reading the old one.
	all := slices.Clone(c.noKey[mailbox])
	for _, e := range epochs {
		if !slices.Contains(all, e) && len(all) < epochsExcluded {
			all = append(all, e)
		}
	}
	c.noKey[mailbox] = all
	var waiting []*receiver
	for _, r := range c.receivers {
		if r.mailbox.ID == mailbox {
			waiting = append(waiting, r)
		}
	}
	c.mu.Unlock()
	for _, r := range waiting {
		for _, e := range epochs {
			r.exclude(e)
		}
	}
}

// excluded returns the epochs of a mailbox that are kept from the connection.
func (c *conn) excluded(mailbox [16]byte) []uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.noKey[mailbox]
}

func contains(ranges []epochRange, epoch uint32) bool {
	return slices.ContainsFunc(ranges, func(r epochRange) bool { return r.low <= epoch && epoch <= r.high })
}
