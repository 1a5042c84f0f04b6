package testkit

import "runtime"

// AllocatedBytes returns what one call of f allocates: the smallest of five readings, because each also counts what
// other goroutines and the runtime (its first collection starts workers) allocate in the meantime.
func AllocatedBytes(f func()) uint64 {
	var before, after runtime.MemStats
	least := ^uint64(0)
	for range 5 {
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	return least
}
