package broker

import (
	"sync/atomic"

	"github.com/sealmq/sealmq/wire"
)

// How MemoryBytes is dealt out. The eighth that is left is for rows and outcomes on their way.

func (o *Options) entryCacheBytes() int64   { return o.MemoryBytes / 4 }
func (o *Options) storeCacheBytes() int64   { return o.MemoryBytes / 8 }
func (o *Options) machineCacheBytes() int64 { return o.MemoryBytes / 8 / int64(o.Groups) }
func (o *Options) outboxBytes() int64       { return o.MemoryBytes / 8 }

// proposalBytes is what one group may hold that is proposed and not applied. It is never less than one
// full entry.
func (o *Options) proposalBytes() int {
	return int(max(o.MemoryBytes/8/int64(o.Groups+1), entryClosesAt))
}

// largeFrames is how many connections may be reading a large frame at once.
func (o *Options) largeFrames() int { return int(o.MemoryBytes/8) / wire.FrameBytes }

// budget is memory that many holders share. It never refuses: holders look whether it is used up before they take what
// can wait.
type budget struct {
	limitBytes int64
	used       atomic.Int64
}

func (b *budget) add(bytes int) { b.used.Add(int64(bytes)) }
func (b *budget) usedUp() bool  { return b.used.Load() > b.limitBytes }

// places bounds how many do something at once.
type places chan struct{}

func (p places) leave() { <-p }
