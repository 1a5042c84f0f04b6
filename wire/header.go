package wire

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/sealmq/sealmq/internal/codec"
)

// HeaderVersion is the version of the clear header.
const HeaderVersion = 1

// ClearHeaderBytes is the length of a clear header without options.
const ClearHeaderBytes = 44

// ClearHeaderMaxBytes is the length of the longest one.
const ClearHeaderMaxBytes = ClearHeaderBytes + 1 + HeaderOptionBytes

// BodyType is the kind of a message's body.
type BodyType uint8

// The kinds of bodies. Only sealed ones are accepted; the other numbers are taken.
const (
	BodySealed BodyType = 1
	BodyBlob   BodyType = 2 // a sealed reference to a blob
	BodyPlain  BodyType = 3
)

// HeaderFlags are the flags of a clear header.
type HeaderFlags uint16

// The flags of a clear header.
const (
	HeaderSigned  HeaderFlags = 1 << 0 // the sealed part begins with a signature
	HeaderOptions HeaderFlags = 1 << 1 // options follow; kept by AppendClearHeader to what Options says
	HeaderReplace HeaderFlags = 1 << 2 // replaces the sender's own message of this id while it is parked as unreadable
	HeaderPadded  HeaderFlags = 1 << 3 // the sealed part ends with padding

	headerFlags = HeaderSigned | HeaderOptions | HeaderReplace | HeaderPadded
)

// The options of a clear header.
const (
	HeaderOrderingKey uint8 = 1 // 8 bytes
	HeaderNotBefore   uint8 = 2 // u32 unix minutes
	HeaderPriority    uint8 = 3 // u8
)

// ClearHeader is what a sender says about a message in the open. The seal authenticates its exact bytes, so it is
// stored and delivered byte for byte.
type ClearHeader struct {
	Type            BodyType
	Flags           HeaderFlags
	NotAfterMinutes uint32
	Epoch           uint32
	Session         [16]byte
	ID              [16]byte // counted: producer 8 | counter 8; keyed: a keyed hash
	Options         Options
}

// Counter returns the counter of a counted message id.
func (h *ClearHeader) Counter() uint64 { return binary.BigEndian.Uint64(h.ID[8:]) }

// Producer returns the producer of a counted message id.
func (h *ClearHeader) Producer() [8]byte { return [8]byte(h.ID[:8]) }

// CountedID returns the message id of a producer's counter.
func CountedID(producer [8]byte, counter uint64) (id [16]byte) {
	copy(id[:8], producer[:])
	binary.BigEndian.PutUint64(id[8:], counter)
	return id
}

// OrderingKey returns the ordering key, if there is one.
func (h *ClearHeader) OrderingKey() (key [8]byte, ok bool) {
	v, ok := h.Options.Get(HeaderOrderingKey)
	copy(key[:], v)
	return key, ok
}

// NotBeforeMinutes returns the minute before which the message is not delivered, if there is one.
func (h *ClearHeader) NotBeforeMinutes() (minutes uint32, ok bool) {
	if v, ok := h.Options.Get(HeaderNotBefore); ok && len(v) == 4 {
		return binary.BigEndian.Uint32(v), true
	}
	return 0, false
}

// Priority returns the priority, if there is one.
func (h *ClearHeader) Priority() (priority uint8, ok bool) {
	if v, ok := h.Options.Get(HeaderPriority); ok && len(v) == 1 {
		return v[0], true
	}
	return 0, false
}

// Needs returns the capabilities that a node must have announced to be sent a message with this header. A node refuses
// one that needs what it does not have, with [CodeUnsupported].
func (h *ClearHeader) Needs() Capabilities {
	var needs Capabilities
	if h.Flags&HeaderReplace != 0 {
		needs |= CapReplace
	}
	for i := range h.Options {
		switch h.Options[i].Number() {
		case HeaderOrderingKey:
			needs |= CapOrderingKey
		case HeaderNotBefore:
			needs |= CapDelay
		case HeaderPriority:
			if h.Options[i].Critical() {
				needs |= CapPriority
			}
		}
	}
	return needs
}

// AppendClearHeader appends the exact bytes of h. The options flag is written as h.Options demands.
func AppendClearHeader(dst []byte, h *ClearHeader) []byte {
	dst = appendHeaderStart(dst, h)
	dst = append(dst, h.Session[:]...)
	dst = append(dst, h.ID[:]...)
	return appendHeaderOptions(dst, h.Options)
}

// ParseClearHeader parses the bytes of one clear header, which it does not copy. It refuses bodies that are not sealed.
func ParseClearHeader(b []byte) (ClearHeader, error) {
	var h ClearHeader
	r := codec.NewReader(b)
	readHeaderStart(&r, &h)
	h.Session = r.Array16()
	h.ID = r.Array16()
	readHeaderOptions(&r, &h)
	return h, r.Done()
}

// CutClearHeader parses the clear header at the front of b and returns what follows it.
func CutClearHeader(b []byte) (h ClearHeader, rest []byte, err error) {
	r := codec.NewReader(b)
	readHeaderStart(&r, &h)
	h.Session = r.Array16()
	h.ID = r.Array16()
	readHeaderOptions(&r, &h)
	return h, r.Rest(), r.Err()
}

// SessionID returns the id of a session: it follows from the session's header and the mailbox that it was made for.
func SessionID(mailbox [16]byte, init []byte) [16]byte {
	sum := sha256.Sum256(codec.PAE("sealmq/session-id/v1", mailbox[:], init))
	return [16]byte(sum[:16])
}

// headerStartBytes is the part of a clear header that every item of a batch carries.
const headerStartBytes = 12

func appendHeaderStart(dst []byte, h *ClearHeader) []byte {
	flags := h.Flags &^ HeaderOptions
	if len(h.Options) != 0 {
		flags |= HeaderOptions
	}
	dst = append(dst, HeaderVersion, byte(h.Type))
	dst = codec.AppendU16(dst, uint16(flags))
	dst = codec.AppendU32(dst, h.NotAfterMinutes)
	return codec.AppendU32(dst, h.Epoch)
}

func readHeaderStart(r *codec.Reader, h *ClearHeader) {
	b := r.Take(headerStartBytes)
	if b == nil {
		return
	}
	h.Type = BodyType(b[1])
	h.Flags = HeaderFlags(binary.BigEndian.Uint16(b[2:]))
	h.NotAfterMinutes = binary.BigEndian.Uint32(b[4:])
	h.Epoch = binary.BigEndian.Uint32(b[8:])
	switch {
	case b[0] != HeaderVersion:
		r.Fail(&FieldError{"header version", ErrVersion})
	case h.Type == BodyPlain:
		r.Fail(&FieldError{"header type", ErrPlain})
	case h.Type != BodySealed:
		r.Fail(&FieldError{"header type", ErrBodyType})
	case h.Flags&^headerFlags != 0:
		r.Fail(&FieldError{"header flags", ErrFlags})
	}
}

func appendHeaderOptions(dst []byte, options Options) []byte {
	if len(options) == 0 {
		return dst
	}
	dst = append(dst, byte(len(options)))
	for i := range options {
		dst = append(dst, options[i].Tag)
		dst = codec.AppendBytes8(dst, options[i].Value)
	}
	return dst
}

func readHeaderOptions(r *codec.Reader, h *ClearHeader) {
	h.Options = h.Options[:0]
	if h.Flags&HeaderOptions == 0 {
		return
	}
	n, before := int(r.U8()), r.Len()
	switch {
	case n > HeaderOptionCount:
		r.Fail(codec.ErrLimit)
	case n == 0:
		r.Fail(&FieldError{"header options", ErrForm})
	}
	last := uint8(0)
	for range n {
		o := Option{Tag: r.U8()}
		o.Value = r.Bytes8()
		if r.Err() != nil {
			return
		}
		if err := checkHeaderOption(o, last); err != nil {
			r.Fail(err)
			return
		}
		last = o.Number()
		h.Options = append(h.Options, o)
	}
	if before-r.Len() > HeaderOptionBytes {
		r.Fail(codec.ErrLimit)
	}
}

func checkHeaderOption(o Option, last uint8) error {
	if o.Number() <= last {
		return &FieldError{"header options", ErrForm}
	}
	size := -1
	switch o.Number() {
	case HeaderOrderingKey:
		size = 8
	case HeaderNotBefore:
		size = 4
	case HeaderPriority:
		size = 1
	default:
		if o.Critical() {
			return &OptionError{o.Number()}
		}
	}
	if size >= 0 && len(o.Value) != size {
		return &FieldError{"header options", ErrForm}
	}
	return nil
}

// headerBound returns an upper bound of the bytes that a header takes in an item, without ids.
func headerBound(h *ClearHeader) int {
	if len(h.Options) == 0 {
		return headerStartBytes
	}
	return headerStartBytes + 1 + HeaderOptionBytes
}
