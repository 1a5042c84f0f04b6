package envelope

import (
	"fmt"
	"slices"
	"time"

	"github.com/sealmq/sealmq/internal/codec"
)

// Form says how the inside of a message is laid out. The clear header states it in its flags; this package does not
// read headers, so the form is passed beside the header on both sides. As the header is authenticated, nobody can make
// a receiver that takes the form from there read another one than the sender wrote.
type Form uint8

const (
	// FormSigned puts the sender's signature on this very message. Without it, those who hold the mailbox's epoch key
	// could forge messages of a session to that mailbox.
	FormSigned Form = 1 << iota
	// FormPadded rounds the length up by [PaddedLen].
	FormPadded

	knownForm = FormSigned | FormPadded
)

// Form returns the form that a policy demands of every message. A receiver that has the policy compares it with
// [Opened.Form]: only the header says whether a message is signed, and whoever holds the epoch key can write one that
// says no.
func (p Policy) Form() Form {
	var f Form
	if p&PolicySigned != 0 {
		f |= FormSigned
	}
	if p&PolicyPadded != 0 {
		f |= FormPadded
	}
	return f
}

// Limits of what a message holds.
const (
	MaxBodyBytes         = 1 << 20
	MaxContentTypeBytes  = 255
	MaxCorrelationBytes  = 255
	MaxTraceContextBytes = 1024

	maxOptions     = 16
	maxOptionBytes = 1024

	// MaxSealedBytes is the length of the longest sealed message: body and limits as above, with room for what later
	// versions may add to the options.
	MaxSealedBytes = MaxBodyBytes + 96<<10
)

// Tags of the options inside a message. A tag with the critical bit is refused by whoever does not know it.
const (
	tagContentType  = 1
	tagSent         = 2
	tagCorrelation  = 3
	tagReplyTo      = 4
	tagTraceContext = 5

	tagCritical = 0x80
)

// Options is what a sender may say about a message to the receiver alone. Zero values are absent.
type Options struct {
	ContentType  string
	Sent         time.Time // whole milliseconds
	Correlation  []byte
	ReplyTo      string // a mailbox name
	TraceContext []byte
}

// Message is what is sealed.
type Message struct {
	Form Form
	Body []byte
	Options
}

// Opened is what a receiver finds in a message. All of it is authenticated.
type Opened struct {
	Form     Form
	Sequence uint64 // of the message in its session, from 0; a message sealed again has another
	Body     []byte
	Options
}

// check returns an error if m cannot be sealed.
func (m *Message) check() error {
	switch {
	case m.Form&^knownForm != 0:
		return fmt.Errorf("%w: form %#x", ErrUnsupported, uint8(m.Form))
	case len(m.Body) > MaxBodyBytes:
		return fmt.Errorf("body of %d bytes: %w", len(m.Body), ErrTooLarge)
	}
	return m.Options.check()
}

func (o *Options) check() error {
	switch {
	case len(o.ContentType) > MaxContentTypeBytes:
		return fmt.Errorf("content type: %w", ErrTooLarge)
	case !isPrintable(o.ContentType):
		return fmt.Errorf("content type: %w", ErrMalformed)
	case len(o.Correlation) > MaxCorrelationBytes:
		return fmt.Errorf("correlation: %w", ErrTooLarge)
	case len(o.TraceContext) > MaxTraceContextBytes:
		return fmt.Errorf("trace context: %w", ErrTooLarge)
	case !o.Sent.IsZero() && o.Sent.UnixMilli() < 0:
		return fmt.Errorf("sent time: %w", ErrMalformed)
	}
	if o.ReplyTo != "" {
		if err := checkName(o.ReplyTo); err != nil {
			return fmt.Errorf("reply-to: %w", err)
		}
	}
	return nil
}

// encodedLen returns the length of the options and how many there are.
func (o *Options) encodedLen() (size int, count byte) {
	add := func(n int) {
		if n > 0 {
			count++
			size += 1 + codec.UvarintLen(uint64(n)) + n
		}
	}
	add(len(o.ContentType))
	if !o.Sent.IsZero() {
		add(8)
	}
	add(len(o.Correlation))
	add(len(o.ReplyTo))
	add(len(o.TraceContext))
	return size, count
}

// append appends the options in ascending order of their tags.
func (o *Options) append(dst []byte) []byte {
	if o.ContentType != "" {
		dst = codec.AppendUvarint(append(dst, tagContentType), uint64(len(o.ContentType)))
		dst = append(dst, o.ContentType...)
	}
	if !o.Sent.IsZero() {
		dst = codec.AppendU64(append(dst, tagSent, 8), uint64(o.Sent.UnixMilli()))
	}
	if len(o.Correlation) > 0 {
		dst = codec.AppendBytes(append(dst, tagCorrelation), o.Correlation)
	}
	if o.ReplyTo != "" {
		dst = codec.AppendUvarint(append(dst, tagReplyTo), uint64(len(o.ReplyTo)))
		dst = append(dst, o.ReplyTo...)
	}
	if len(o.TraceContext) > 0 {
		dst = codec.AppendBytes(append(dst, tagTraceContext), o.TraceContext)
	}
	return dst
}

// read reads count options: known ones into o, unknown ones are skipped unless they are critical.
func (o *Options) read(r *codec.Reader, count int) error {
	if count > maxOptions {
		return codec.ErrLimit
	}
	last := -1
	for range count {
		tag := r.U8()
		value := r.Bytes(maxOptionBytes)
		if err := r.Err(); err != nil {
			return err
		}
		number := int(tag &^ tagCritical)
		if number <= last {
			return fmt.Errorf("options are not in ascending order")
		}
		last = number
		if err := o.set(tag, value); err != nil {
			return err
		}
	}
	return o.check()
}

func (o *Options) set(tag byte, value []byte) error {
	switch tag {
	case tagContentType:
		o.ContentType = string(value)
	case tagSent:
		r := codec.NewReader(value)
		o.Sent = time.UnixMilli(int64(r.U64())).UTC()
		return r.Done()
	case tagCorrelation:
		o.Correlation = value
	case tagReplyTo:
		o.ReplyTo = string(value)
	case tagTraceContext:
		o.TraceContext = value
	default:
		if tag&tagCritical != 0 {
			return fmt.Errorf("%w: critical option %d", ErrUnsupported, tag)
		}
		return nil
	}
	if len(value) == 0 {
		return fmt.Errorf("option %d is empty", tag)
	}
	return nil
}

// insideLen returns how many bytes m has inside the seal, without and with padding.
func (m *Message) insideLen(sequence uint64) (plain, padded int) {
	options, _ := m.Options.encodedLen()
	plain = codec.UvarintLen(sequence) + 1 + options + codec.UvarintLen(uint64(len(m.Body))) + len(m.Body)
	if m.Form&FormSigned != 0 {
		plain += signatureBytes
	}
	if m.Form&FormPadded != 0 {
		return plain, PaddedLen(plain)
	}
	return plain, plain
}

// MaxSealedLen returns the length of m when it is sealed, at most: the sequence number takes one to three bytes. Space
// for so much after dst spares [SendSession.Seal] its allocation.
func (m *Message) MaxSealedLen() int {
	_, padded := m.insideLen(MaxSessionMessages - 1)
	return padded + Overhead
}

// seal appends the sealed message to dst.
func (s *sealer) seal(dst, header []byte, sequence uint64, m *Message) []byte {
	_, size := m.insideLen(sequence)
	dst = slices.Grow(dst, Overhead+size)

	// The inside is written where the sealed bytes will begin, and sealed in place.
	start := len(dst)
	inside := dst[start:start:cap(dst)]
	if m.Form&FormSigned != 0 {
		inside = inside[:signatureBytes]
	}
	inside = codec.AppendUvarint(inside, sequence)
	_, count := m.Options.encodedLen()
	inside = m.Options.append(append(inside, count))
	inside = codec.AppendBytes(inside, m.Body)
	written := len(inside)
	inside = inside[:size]
	clear(inside[written:])
	if m.Form&FormSigned != 0 {
		copy(inside, s.sign(header, inside[signatureBytes:]))
	}

	aad := takeAAD(s.mailboxID, header)
	dst = s.aead().Seal(dst, nil, inside, aad.b)
	aad.giveBack()
	return dst
}

// open opens a sealed message into o.
func (s *sealer) open(o *Opened, dst, header, sealed []byte, form Form) error {
	if form&^knownForm != 0 {
		return fmt.Errorf("%w: form %#x", ErrUnsupported, uint8(form))
	}
	if len(sealed) > MaxSealedBytes {
		return fmt.Errorf("sealed message: %w", ErrTooLarge)
	}
	aad := takeAAD(s.mailboxID, header)
	opened, err := s.aead().Open(dst, nil, sealed, aad.b)
	aad.giveBack()
	if err != nil {
		return badSeal("message")
	}
	inside := opened[len(dst):]
	rest := inside
	if form&FormSigned != 0 {
		if len(inside) < signatureBytes {
			return badSeal("message is too short for its signature")
		}
		rest = inside[signatureBytes:]
		if !s.verify(header, rest, inside[:signatureBytes]) {
			return badSeal("message signature")
		}
	}
	*o = Opened{Form: form}
	return o.read(rest, len(inside))
}

// read reads the inside of a message after the signature. size is the length of the inside with it.
func (o *Opened) read(rest []byte, size int) error {
	r := codec.NewReader(rest)
	o.Sequence = r.Uvarint()
	count := int(r.U8())
	if r.Err() == nil {
		if err := o.Options.read(&r, count); err != nil {
			return badInside("options", err)
		}
	}
	o.Body = r.Bytes(MaxBodyBytes)
	if r.Err() != nil {
		return badSeal("inside of the message")
	}
	if o.Sequence >= MaxSessionMessages {
		return badSeal("sequence number above the limit of a session")
	}
	padding := r.Rest()
	want := 0
	if o.Form&FormPadded != 0 {
		plain := size - len(padding)
		want = PaddedLen(plain) - plain
	}
	if len(padding) != want {
		return badSeal("length of the padding")
	}
	if !isZero(padding) {
		return badSeal("padding is not zero")
	}
	return nil
}
