package wire

import (
	"errors"
	"fmt"

	"github.com/sealmq/sealmq/internal/codec"
)

// What can be wrong with bytes that this package reads, beside the errors of internal/codec.
var (
	// ErrFrameTooLarge means that a frame announced more than its limit. It comes as a [*FrameError].
	ErrFrameTooLarge = errors.New("frame is above its limit")
	// ErrBadFrame means that a frame is too short to hold a type and a request id. It comes as a [*FrameError].
	ErrBadFrame = errors.New("frame is too short")
	// ErrUnknownType means a message type that this version does not know.
	ErrUnknownType = errors.New("unknown message type")
	// ErrNoHello means a message before the connection's hello.
	ErrNoHello = errors.New("connection has no hello yet")
	// ErrOutOfOrder means a message that its sender may not send, or not now.
	ErrOutOfOrder = errors.New("message is not allowed here")
	// ErrRequestID means request id 0 where an id is needed, or an id where 0 is.
	ErrRequestID = errors.New("request id is not allowed here")
	// ErrMagic means that a hello does not begin as one.
	ErrMagic = errors.New("not a SealMQ hello")
	// ErrVersion means a format version that this one does not know.
	ErrVersion = errors.New("unknown version")
	// ErrFlags means that reserved flag bits are set.
	ErrFlags = errors.New("reserved flags are set")
	// ErrForm means bytes that say in a second way what another encoding says, such as items out of order.
	ErrForm = errors.New("not the one encoding of its value")
	// ErrRange means a number outside what its field allows.
	ErrRange = errors.New("value is out of range")
	// ErrBodyType means a kind of message body that this version does not know.
	ErrBodyType = errors.New("unknown body type")
	// ErrPlain means a body that is not sealed.
	ErrPlain = errors.New("plain bodies are not accepted")
	// ErrName means a mailbox name or pattern that breaks the rules of [CheckName] or [CheckPattern].
	ErrName = errors.New("not a valid name")
	// ErrText means text with bytes that are not printable.
	ErrText = errors.New("text is not printable")
	// ErrHandle means a text that is not a lease handle, or a mistyped one.
	ErrHandle = errors.New("not a lease handle")
)

// FrameError says why a frame was refused. It is [ErrFrameTooLarge] or [ErrBadFrame], and fatal to its connection.
type FrameError struct {
	Err        error
	SizeBytes  uint32 // what the frame's length field announced
	LimitBytes int
	Speaks     string // the protocol that the bytes look like instead, or ""
}

func (e *FrameError) Error() string {
	if e.Speaks != "" {
		return fmt.Sprintf("the other side speaks %s; this port speaks the SealMQ protocol inside TLS", e.Speaks)
	}
	return fmt.Sprintf("%v: %d bytes announced, limit %d", e.Err, e.SizeBytes, e.LimitBytes)
}

func (e *FrameError) Unwrap() error { return e.Err }

// DecodeError says which message could not be decoded and why. It never holds a value of the message.
type DecodeError struct {
	Type Type
	Err  error
}

func (e *DecodeError) Error() string { return fmt.Sprintf("decoding %v: %v", e.Type, e.Err) }
func (e *DecodeError) Unwrap() error { return e.Err }

// FieldError names the field that broke a rule. It never holds the field's value.
type FieldError struct {
	Field string
	Err   error
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Err.Error() }
func (e *FieldError) Unwrap() error { return e.Err }

// OptionError means an option that this version does not know and that its sender marked as critical.
type OptionError struct {
	Number uint8
}

func (e *OptionError) Error() string { return fmt.Sprintf("unknown critical option %d", e.Number) }

// CodeOf returns the code that answers a frame or message that could not be read. closes says that the connection has
// to end after the answer: the bytes were not written by a client of this protocol that has no bug.
func CodeOf(err error) (code Code, closes bool) {
	var option *OptionError
	var decode *DecodeError
	switch {
	case errors.Is(err, ErrFrameTooLarge):
		return CodeTooLarge, true
	case errors.Is(err, ErrNoHello):
		return CodeUnauthenticated, true
	case errors.Is(err, ErrUnknownType):
		return CodeUnsupported, false
	case !errors.As(err, &decode):
		return CodeBadRequest, true
	case errors.As(err, &option), errors.Is(err, ErrVersion), errors.Is(err, ErrFlags), errors.Is(err, ErrBodyType):
		return CodeUnsupported, false
	case errors.Is(err, codec.ErrLimit):
		return CodeTooLarge, false
	case errors.Is(err, ErrPlain):
		return CodePlainRefused, false
	case errors.Is(err, ErrRange), errors.Is(err, ErrName), errors.Is(err, ErrText):
		return CodeBadRequest, false
	}
	return CodeBadRequest, true
}
