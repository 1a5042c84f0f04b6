package client

import (
	"math/bits"
	"sync"
)

// Buffers for messages on their way: powers of two and the sizes half way between them.
const (
	bufferLeast   = 512
	bufferClasses = 26 // up to 4 MiB
)

var buffers [bufferClasses]sync.Pool

// buffer holds the body of a message and what it was sealed to.
type buffer struct {
	b     []byte
	class int
}

// takeBuffer returns an empty buffer with room for n bytes.
func takeBuffer(n int) *buffer {
	class := bufferClass(n)
	if class < bufferClasses {
		if b, ok := buffers[class].Get().(*buffer); ok {
			return b
		}
		n = bufferSize(class)
	}
	return &buffer{make([]byte, 0, n), class}
}

// giveBack returns the buffer when nobody reads it any more.
func (b *buffer) giveBack() {
	if b.class < bufferClasses {
		b.b = b.b[:0]
		buffers[b.class].Put(b)
	}
}

func bufferSize(class int) int {
	size := bufferLeast << (class / 2)
	if class%2 == 1 {
		size += size / 2
	}
	return size
}

func bufferClass(n int) int {
	if n <= bufferLeast {
		return 0
	}
	doubling := bits.Len(uint(n-1)) - bits.Len(uint(bufferLeast)) // bufferLeast<<doubling < n <= bufferLeast<<(doubling+1)
	class := 2 * doubling
	for bufferSize(class) < n {
		class++
	}
	return class
}
