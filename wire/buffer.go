package wire

import "sync"

// The sizes of large buffers. The last one holds any frame.
var bufferBytes = [...]int{32 << 10, 64 << 10, 128 << 10, 256 << 10, 512 << 10, frameLengthBytes + FrameBytes}

// bufferPools keeps large buffers that no connection needs at the moment.
var bufferPools [len(bufferBytes)]sync.Pool

// takeBuffer returns a buffer of at least n bytes, n being at most the largest frame.
func takeBuffer(n int) *[]byte {
	class := 0
	for bufferBytes[class] < n {
		class++
	}
	if b, ok := bufferPools[class].Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, bufferBytes[class])
	return &b
}

// giveBuffer takes back a buffer of takeBuffer that nobody reads any more.
func giveBuffer(b *[]byte) {
	for class, size := range bufferBytes {
		if len(*b) == size {
			bufferPools[class].Put(b)
		}
	}
}
