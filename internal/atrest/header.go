package atrest

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"

	"github.com/sealmq/sealmq/internal/codec"
)

// HeaderSize is the length of the header of every sealed file.
const HeaderSize = 128

const (
	fileMagic     = "ENCF"
	formatVersion = 1
	// boundSize is how much of the header goes into the key derivation as it stands; the commitment follows it.
	boundSize = 64

	minChunkLog2 = 9
	maxChunkLog2 = 22
)

// StoreID names one store: its first byte is a [StoreKind], the rest is drawn when the store is made. A file of one
// store does not open in another.
type StoreID [16]byte

// StoreKind says what a store holds.
type StoreKind byte

// The kinds of stores.
const (
	StoreJournal StoreKind = 1
	StoreState   StoreKind = 2
	StoreBodies  StoreKind = 3
	StoreKeys    StoreKind = 4
	StoreNode    StoreKind = 5
)

// NewStoreID draws the id of a new store.
func NewStoreID(kind StoreKind) StoreID {
	var id StoreID
	rand.Read(id[1:])
	id[0] = byte(kind)
	return id
}

func (id StoreID) String() string { return hex.EncodeToString(id[:]) }

// Mode is how the bytes after the header are laid out.
type Mode byte

// The modes; the package comment says what each looks like.
const (
	ModeChunk   Mode = 1
	ModeFrame   Mode = 2
	ModeJournal Mode = 3
	ModeRecord  Mode = 4
)

// KeyID names a data key: the first byte is its [RingKind], the rest is random.
type KeyID [8]byte

func (id KeyID) String() string { return hex.EncodeToString(id[:]) }

// Header is what a file's header says in clear. None of it is proved until the file has been opened with its key.
type Header struct {
	Mode       Mode
	ChunkLog2  uint8
	Key        KeyID
	Store      StoreID
	salt       [saltSize]byte
	commitment [commitmentSize]byte
}

// ParseHeader reads the header at the front of b without any key, for tools that only want to say what a file is.
func ParseHeader(b []byte) (Header, error) {
	var h Header
	if len(b) < HeaderSize {
		return h, damaged("%d bytes are too few for a file header", len(b))
	}
	r := codec.NewReader(b[:HeaderSize])
	if string(r.Take(len(fileMagic))) != fileMagic {
		return h, damaged("not a sealed file")
	}
	if v := r.U8(); v != formatVersion {
		return h, unknownVersion("file format", v)
	}
	h.Mode = Mode(r.U8())
	if v := r.U8(); v != suiteAES256GCM {
		return h, unknownVersion("cipher suite", v)
	}
	h.ChunkLog2 = r.U8()
	copy(h.Key[:], r.Take(len(h.Key)))
	h.Store = r.Array16()
	h.salt = r.Array32()
	h.commitment = r.Array32()
	if !isZero(r.Rest()) {
		return h, damaged("reserved header bytes are not zero")
	}
	if err := checkShape(h.Mode, h.ChunkLog2); err != nil {
		return h, damaged("%v", err)
	}
	return h, nil
}

// append adds the header's bytes; its first boundSize bytes do not depend on the commitment.
func (h *Header) append(dst []byte) []byte {
	dst = append(dst, fileMagic...)
	dst = append(dst, formatVersion, byte(h.Mode), suiteAES256GCM, h.ChunkLog2)
	dst = append(dst, h.Key[:]...)
	dst = append(dst, h.Store[:]...)
	dst = append(dst, h.salt[:]...)
	dst = append(dst, h.commitment[:]...)
	return append(dst, make([]byte, HeaderSize-boundSize-commitmentSize)...)
}

// checkShape says whether a file of that mode may have that chunk size. Records have none; the others have 2^9 to 2^22.
func checkShape(mode Mode, chunkLog2 uint8) error {
	switch mode {
	case ModeChunk, ModeFrame, ModeJournal:
		if chunkLog2 < minChunkLog2 || chunkLog2 > maxChunkLog2 {
			return fmt.Errorf("chunk size 2^%d is outside 2^%d to 2^%d", chunkLog2, minChunkLog2, maxChunkLog2)
		}
	case ModeRecord:
		if chunkLog2 != 0 {
			return fmt.Errorf("a record has no chunk size")
		}
	default:
		return fmt.Errorf("no mode %d", mode)
	}
	return nil
}
