package machine

// code adds n answers to those of the current command.
func (m *Mail) code(c Code, n int) {
	if last := len(m.codes) - 1; last >= 0 && m.codes[last].Code == c {
		m.codes[last].Count += uint32(n)
		return
	}
	m.codes = append(m.codes, CodeRun{Count: uint32(n), Code: c})
}

// takeCodes returns the answers of the current command, if anybody wants them.
func (m *Mail) takeCodes() []CodeRun {
	if !m.wantOutcomes {
		return nil
	}
	return take(&m.slab.codes, m.codes)
}

// take copies what belongs into an outcome to memory that nothing else will use, cut from larger pieces.
func take[T any](slab *[]T, from []T) []T {
	if len(from) == 0 {
		return nil
	}
	const piece = 256
	if cap(*slab)-len(*slab) < len(from) {
		*slab = make([]T, 0, max(piece, len(from)))
	}
	start := len(*slab)
	*slab = append(*slab, from...)
	return (*slab)[start:len(*slab):len(*slab)]
}
