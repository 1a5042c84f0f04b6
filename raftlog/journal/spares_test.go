package journal_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealmq/sealmq/internal/testkit"
)

// Zeros are written over a spare where flushes are short. Where they are long the disk would write everything twice.
func TestSparesAreFilledForShortFlushes(t *testing.T) {
	for _, test := range []struct {
		name         string
		appends, len int
		filled       bool
	}{
		{"none", 0, 0, false},
		{"short flushes, less than a quarter of the segment", 30, 4 << 10, false},
		{"short flushes", 100, 4 << 10, true},
		{"long flushes", 2, 300 << 10, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				files := testkit.NewCrashFS()
				o := options(t, files)
				o.SegmentBytes, o.SpareSegments = 1<<20, 2
				j := openNew(t, o)
				defer j.Close()
				synctest.Wait()
				var writes atomic.Int64
				files.Hook(func(op testkit.Op, name string) testkit.Fault {
					if op == testkit.OpWrite && strings.HasSuffix(name, ".spare") {
						writes.Add(1)
					}
					return testkit.Fault{}
				})
				for i := range test.appends {
					appendOne(t, j, uint64(i+1), make([]byte, test.len))
				}
				time.Sleep(time.Minute)
				if rolls := j.Stats().Rolls; rolls != 0 {
					t.Fatalf("%d segments ended: the test is about one", rolls)
				}
				if filled := writes.Load() > 0; filled != test.filled {
					t.Errorf("%d writes to a spare, want some: %v", writes.Load(), test.filled)
				}
			})
		})
	}
}
