package journal_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealmq/sealmq/internal/atrest"
	"github.com/sealmq/sealmq/internal/testkit"
	"github.com/sealmq/sealmq/raftlog/journal"
)

// tailTests run each on a specimen of their own, while time stands still.
type tailTests map[string]func(t *testing.T, s *specimen)

func (tests tailTests) run(t *testing.T) {
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, newSpecimen(t)) })
		})
	}
}

// The first chunks of the specimen's flushes, and its older segments.
const (
	flushA, flushB, flushC = 1, 2, 6

	older, oldest = "0000000000000002.seg", "0000000000000001.seg"
)

func (s *specimen) place(chunk int) int64 { return s.chunks[chunk].Offset }

// At or above the last durable point, which is where flush C begins, everything wrong is a torn tail.
func TestTornTail(t *testing.T) {
	tailTests{
		"untouched": func(t *testing.T, s *specimen) { s.opens(t, 4) },
		"last flush torn": func(t *testing.T, s *specimen) {
			s.edit(t, s.last, wipe(s.place(flushC+2), s.end))
			s.opens(t, 3)
		},
		"last flush zeroed": func(t *testing.T, s *specimen) {
			s.edit(t, s.last, wipe(s.place(flushC), s.end))
			s.opens(t, 3)
		},
		"first chunk of the last flush lost, later ones there": func(t *testing.T, s *specimen) {
			s.edit(t, s.last, wipe(s.place(flushC), s.place(flushC+1)))
			s.opens(t, 3)
		},
		"middle chunk of the last flush flipped": func(t *testing.T, s *specimen) {
			s.edit(t, s.last, flip(s.place(flushC+1)+500))
			s.opens(t, 3)
		},
		"last tag rotted": func(t *testing.T, s *specimen) {
			s.edit(t, s.last, flip(lastByte(s.chunks[flushC+3])))
			s.opens(t, 3)
		},
		"padding of the last chunk not zero": func(t *testing.T, s *specimen) {
			s.edit(t, s.last, flip(s.end-1))
			s.opens(t, 3)
		},
		"cut inside the last flush": func(t *testing.T, s *specimen) {
			s.edit(t, s.last, cutAt(s.place(flushC+1)+100))
			s.opens(t, 3)
		},
		"tail of zeros": func(t *testing.T, s *specimen) {
			s.edit(t, s.last, func(b []byte) []byte { return append(b[:s.end], make([]byte, 1<<20)...) })
			s.opens(t, 4)
		},
		"tail of noise": func(t *testing.T, s *specimen) {
			s.edit(t, s.last, func(b []byte) []byte { return append(b[:s.end], specimenData...) })
			s.opens(t, 4)
		},
		"tail of another journal's chunks": func(t *testing.T, s *specimen) {
			other := newSpecimen(t)
			old, _ := other.files.ReadFile(filepath.Join(other.o.Dir, other.last))
			s.edit(t, s.last, func(b []byte) []byte { return append(b[:s.place(flushC)], old[s.place(flushC):]...) })
			s.opens(t, 3)
		},
		"tail of an older segment's chunks": func(t *testing.T, s *specimen) {
			old, _ := s.files.ReadFile(filepath.Join(s.o.Dir, older))
			s.edit(t, s.last, func(b []byte) []byte {
				copy(b[s.end:], old[512:])
				return b
			})
			s.opens(t, 4)
		},
		"own chunks again at a later place": func(t *testing.T, s *specimen) {
			s.edit(t, s.last, func(b []byte) []byte {
				copy(b[s.end:], b[s.place(flushB):s.end])
				return b
			})
			s.opens(t, 4)
		},
	}.run(t)
}

// Below the last durable point everything wrong is damage, whatever follows.
func TestDamageBelowDurablePoint(t *testing.T) {
	tailTests{
		"flush B flipped": func(t *testing.T, s *specimen) {
			s.edit(t, s.last, flip(s.place(flushB+1)+40))
			s.damaged(t, s.last, s.place(flushB+1))
		},
		"flush A flipped": func(t *testing.T, s *specimen) {
			s.edit(t, s.last, flip(s.place(flushA)+5))
			s.damaged(t, s.last, s.place(flushA))
		},
		"flush B zeroed": func(t *testing.T, s *specimen) {
			s.edit(t, s.last, wipe(s.place(flushB), s.place(flushC)))
			s.damaged(t, s.last, s.place(flushB))
		},
		"flush B flipped, most of C lost": func(t *testing.T, s *specimen) {
			s.edit(t, s.last, flip(s.place(flushB)))
			s.edit(t, s.last, wipe(s.place(flushC+1), s.end))
			s.damaged(t, s.last, s.place(flushB))
		},
		"state block flipped": func(t *testing.T, s *specimen) {
			s.edit(t, s.last, flip(s.place(0)+70))
			s.damaged(t, s.last, s.place(0))
		},
		"state block zeroed": func(t *testing.T, s *specimen) {
			s.edit(t, s.last, wipe(512, s.end))
			s.damaged(t, s.last, 512)
		},
		"header flipped": func(t *testing.T, s *specimen) {
			s.edit(t, s.last, flip(40))
			s.damaged(t, s.last, 0)
		},
		"header's padding flipped": func(t *testing.T, s *specimen) {
			s.edit(t, s.last, flip(300))
			s.damaged(t, s.last, 128)
		},
		"emptied": func(t *testing.T, s *specimen) {
			s.edit(t, s.last, cutAt(0))
			s.damaged(t, s.last, 0)
		},
	}.run(t)
}

// The older segment that holds entry 1 must be there, whole, and the one that the newest was written after.
func TestOlderSegments(t *testing.T) {
	tailTests{
		"older segment flipped": func(t *testing.T, s *specimen) {
			s.edit(t, older, flip(1024+50))
			s.damaged(t, older, 1024)
		},
		"older segment's index flipped": func(t *testing.T, s *specimen) {
			s.edit(t, older, flip(1536+50))
			s.damaged(t, older, 1536)
		},
		"older segment cut": func(t *testing.T, s *specimen) {
			s.edit(t, older, cutAt(1600))
			s.damaged(t, older, 1600)
		},
		"older segment missing": func(t *testing.T, s *specimen) {
			if err := s.files.Remove(filepath.Join(s.o.Dir, older)); err != nil {
				t.Fatal(err)
			}
			s.damaged(t, older, 0)
		},
		"older segment renamed": func(t *testing.T, s *specimen) {
			s.swap(t, older, oldest)
			s.damaged(t, older, 0)
		},
		"newest and older segment swapped": func(t *testing.T, s *specimen) {
			s.swap(t, older, s.last)
			s.damaged(t, s.last, 0)
		},
		"older segment of another journal": func(t *testing.T, s *specimen) {
			other := newSpecimen(t)
			theirs, _ := other.files.ReadFile(filepath.Join(other.o.Dir, older))
			s.edit(t, older, func([]byte) []byte { return theirs })
			s.damaged(t, older, 0)
		},
		"older segment of another journal under the same key ring": func(t *testing.T, s *specimen) {
			o := s.o
			o.Dir, o.Store = "/other", atrest.NewStoreID(atrest.StoreJournal)
			j := openNew(t, o)
			appendOne(t, j, 1, specimenData[:50])
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			theirs, _ := s.files.ReadFile(filepath.Join("/other", older))
			s.edit(t, older, func([]byte) []byte { return theirs })
			s.damaged(t, older, 0)
		},
		"older segment of another life of this journal": func(t *testing.T, s *specimen) {
			// Two copies of one journal go on separately and write segments of the same number, name and shape.
			live := func(data []byte) *testkit.CrashFS {
				files := s.files.PowerCut(nil, 0)
				o := s.o
				o.FS = files
				for range 2 {
					j, err := journal.Open(o)
					if err != nil {
						t.Fatal(err)
					}
					appendOne(t, j, j.Group(1).LastIndex()+1, data)
					if err := j.Close(); err != nil {
						t.Fatal(err)
					}
				}
				return files
			}
			other := live(specimenData[16:32])
			s.files = live(specimenData[:16])
			s.o.FS = s.files
			const name = "0000000000000004.seg"
			theirs, _ := other.ReadFile(filepath.Join(s.o.Dir, name))
			s.edit(t, name, func([]byte) []byte { return theirs })
			s.damaged(t, name, -1)
		},
		"segment that no entry is in missing": func(t *testing.T, s *specimen) {
			if err := s.files.Remove(filepath.Join(s.o.Dir, oldest)); err != nil {
				t.Fatal(err)
			}
			s.opens(t, 4)
		},
	}.run(t)
}

// What else the directory holds or lacks.
func TestDirectory(t *testing.T) {
	tailTests{
		"newest segment missing": func(t *testing.T, s *specimen) {
			if err := s.files.Remove(filepath.Join(s.o.Dir, s.last)); err != nil {
				t.Fatal(err)
			}
			s.damaged(t, s.last, 0)
		},
		"all segments missing": func(t *testing.T, s *specimen) {
			for _, name := range []string{oldest, older, s.last} {
				if err := s.files.Remove(filepath.Join(s.o.Dir, name)); err != nil {
					t.Fatal(err)
				}
			}
			s.damaged(t, s.last, 0)
		},
		"spares hold anything": func(t *testing.T, s *specimen) {
			segment, _ := s.files.ReadFile(filepath.Join(s.o.Dir, s.last))
			for i := range 3 {
				name := fmt.Sprintf("%016x.spare", 100+i)
				if err := s.files.WriteFile(filepath.Join(s.o.Dir, name), segment); err != nil {
					t.Fatal(err)
				}
			}
			s.opens(t, 4)
		},
		"strange files": func(t *testing.T, s *specimen) {
			for _, name := range []string{"lost+found", "mark.new", "1.seg", "000000000000000G.seg", "00000000000000FF.seg"} {
				if err := s.files.WriteFile(filepath.Join(s.o.Dir, name), []byte("x")); err != nil {
					t.Fatal(err)
				}
			}
			s.opens(t, 4)
		},
	}.run(t)
}

func TestMarkFile(t *testing.T) {
	tailTests{
		"mark missing": func(t *testing.T, s *specimen) {
			if err := s.files.Remove(filepath.Join(s.o.Dir, "mark")); err != nil {
				t.Fatal(err)
			}
			s.damaged(t, "mark", 0)
		},
		"mark cut": func(t *testing.T, s *specimen) {
			s.edit(t, "mark", cutAt(9000))
			s.damaged(t, "mark", 9000)
		},
		"one slot of the mark torn": func(t *testing.T, s *specimen) {
			s.edit(t, "mark", wipe(8192+100, 12288))
			s.opens(t, 4)
		},
		"both slots of the mark rotted": func(t *testing.T, s *specimen) {
			s.edit(t, "mark", flip(5000))
			s.edit(t, "mark", flip(9000))
			s.damaged(t, "mark", 4096)
		},
		"slots of the mark swapped": func(t *testing.T, s *specimen) {
			s.edit(t, "mark", func(b []byte) []byte {
				return append(append(append([]byte(nil), b[:4096]...), b[8192:]...), b[4096:8192]...)
			})
			s.damaged(t, "mark", 4096)
		},
		"mark of another journal": func(t *testing.T, s *specimen) {
			other := newSpecimen(t)
			theirs, _ := other.files.ReadFile(filepath.Join(other.o.Dir, "mark"))
			s.edit(t, "mark", func([]byte) []byte { return theirs })
			s.damaged(t, "mark", 0)
		},
		"wrong key ring": func(t *testing.T, s *specimen) {
			s.o.Ring = ring(t)
			s.damaged(t, "mark", 0)
		},
	}.run(t)
}

// Once the mark says that a flush was durable, no damage of it is a torn tail any more.
func TestMarkEndsTheTornTail(t *testing.T) {
	tests := map[string]func(s *specimen) func([]byte) []byte{
		"zeroed":    func(s *specimen) func([]byte) []byte { return wipe(s.chunks[6].Offset, s.end) },
		"torn":      func(s *specimen) func([]byte) []byte { return wipe(s.chunks[9].Offset, s.end) },
		"last tag":  func(s *specimen) func([]byte) []byte { return flip(lastByte(s.chunks[9])) },
		"cut":       func(s *specimen) func([]byte) []byte { return cutAt(s.chunks[9].Offset) },
		"cut short": func(s *specimen) func([]byte) []byte { return cutAt(s.end - 1) },
		"all cut":   func(s *specimen) func([]byte) []byte { return cutAt(s.chunks[1].Offset) },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSpecimen(t)
				j, err := journal.Open(s.o)
				if err != nil {
					t.Fatal(err)
				}
				appendOne(t, j, 2, specimenData[:100])
				appendOne(t, j, 3, specimenData)
				appendOne(t, j, 4, specimenData)
				before := j.Stats().Marks
				time.Sleep(time.Second)
				if j.Stats().Marks == before {
					t.Fatal("a second after a flush the mark has not been written")
				}
				s.files = s.files.PowerCut(nil, 0)
				if err := j.Close(); err != nil {
					t.Fatal(err)
				}
				s.o.FS = s.files
				s.look(t)
				s.edit(t, s.last, change(s))
				s.damaged(t, s.last, -1)
			})
		})
	}
}
