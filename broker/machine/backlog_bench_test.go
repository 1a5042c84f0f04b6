package machine

import (
	"math/rand/v2"
	"testing"
)

// BenchmarkBacklog measures sends of one message to mailboxes that nobody receives from, by four producers with a
// session each: what is kept in memory of a mailbox must not grow with its backlog.
func BenchmarkBacklog(b *testing.B) {
	const mailboxes, producers = 2_500, 4
	s := newBench(b, benchLoad{batch: 1, mailboxes: mailboxes})
	for i := range mailboxes {
		put := &SessionPut{Principal: "sender", Mailbox: boxID(uint64(i))}
		for p := range producers {
			put.Items = append(put.Items, SessionItem{
				sessionID(uint64(1_000_000 + i*producers + p)), minutes(testNow) + 600, make([]byte, 1300),
			})
		}
		apply(b, s.m, s.log.entry(put))
	}
	s.m.cache.limit = 8 << 20 // a node's, with four groups
	random := rand.New(rand.NewPCG(1, 1))
	counters := make([]uint64, mailboxes*producers)
	var entries []Entry
	b.ReportAllocs()
	b.ResetTimer()
	b.StopTimer()
	for done := 0; done < b.N; {
		entries = entries[:0]
		for range 32 {
			s.log.now += 5
			s.log.index++
			data := AppendEntryHeader(make([]byte, 0, 300<<10), s.log.now, 1)
			for ; len(data) < 256<<10; done++ {
				at := random.IntN(len(counters))
				counters[at]++
				c := Send{
					Principal: "sender", Mailbox: boxID(uint64(at / producers)), Producer: [8]byte{byte(at % producers), 1},
					Lowest: counters[at], Sessions: [][16]byte{sessionID(uint64(1_000_000 + at))},
					Items: []SendItem{{
						Counter: counters[at], Epoch: 7, NotAfterMinutes: minutes(s.log.now) + 1440, Header: s.header,
						Sealed: s.sealed,
					}},
				}
				data = c.Append(data)
			}
			entries = append(entries, Entry{Index: s.log.index, Term: 1, Data: data})
		}
		s.timed(entries)
	}
	b.ReportMetric(float64(s.m.cache.cost)/mailboxes, "cache-B/mailbox")
	b.ReportMetric(float64(len(s.m.cache.byID)), "cached")
}
