package wire

import "github.com/sealmq/sealmq/internal/codec"

// OptionCritical is the bit of a tag that asks whoever does not know the option to refuse what carries it.
const OptionCritical uint8 = 0x80

// Option is one typed value in an options area.
type Option struct {
	Tag   uint8 // OptionCritical and the option's number, 1 to 127
	Value []byte
}

// Number returns the option's number within its area.
func (o Option) Number() uint8 { return o.Tag &^ OptionCritical }

// Critical says that the option may not be skipped.
func (o Option) Critical() bool { return o.Tag&OptionCritical != 0 }

// Options is an options area: ascending numbers, each at most once. Options with unknown numbers are kept and mean
// nothing.
type Options []Option

// Get returns the value of the option with this number.
func (o Options) Get(number uint8) (value []byte, ok bool) {
	for i := range o {
		if o[i].Number() == number {
			return o[i].Value, true
		}
	}
	return nil, false
}

// Set returns o with the option in its place, replacing one of the same number.
func (o Options) Set(tag uint8, value []byte) Options {
	i := 0
	for i < len(o) && o[i].Number() < tag&^OptionCritical {
		i++
	}
	if i == len(o) || o[i].Number() != tag&^OptionCritical {
		o = append(o, Option{})
		copy(o[i+1:], o[i:])
	}
	o[i] = Option{tag, value}
	return o
}

// appendOptions appends an options area.
func appendOptions(dst []byte, options Options) []byte {
	dst = append(dst, byte(len(options)))
	for i := range options {
		dst = append(dst, options[i].Tag)
		dst = codec.AppendBytes(dst, options[i].Value)
	}
	return dst
}

// readOptions reads an options area into reuse. Version 1 defines no options outside the clear header, so every
// critical one is refused.
func readOptions(r *codec.Reader, reuse Options) Options {
	reuse = reuse[:0]
	n := int(r.U8())
	if n > OptionCount {
		r.Fail(codec.ErrLimit)
		return reuse
	}
	last := uint8(0)
	for range n {
		o := Option{Tag: r.U8()}
		o.Value = r.Bytes(OptionBytes)
		if r.Err() != nil {
			return reuse
		}
		if o.Number() <= last {
			r.Fail(&FieldError{"options", ErrForm})
			return reuse
		}
		if o.Critical() {
			r.Fail(&OptionError{o.Number()})
			return reuse
		}
		last = o.Number()
		reuse = append(reuse, o)
	}
	return reuse
}

// readItemOptions reads the options area of an item whose flags say that it is there; an empty one has no flag.
func readItemOptions(r *codec.Reader, reuse Options, present bool) Options {
	if !present {
		return reuse[:0]
	}
	reuse = readOptions(r, reuse)
	if len(reuse) == 0 {
		r.Fail(&FieldError{"options", ErrForm})
	}
	return reuse
}

// optionsBound returns an upper bound of the bytes that an options area takes.
func optionsBound(options Options) int {
	n := 1
	for i := range options {
		n += 4 + len(options[i].Value)
	}
	return n
}
