package wire

// Slice is a range of a log segment that goes out as it lies on disk. A value
// that also has FileRange (package commitlog's does) may be sent by sendfile.
type Slice interface {
	// Len is the number of bytes.
	Len() int
	// ReadInto fills dst from the beginning of the range.
	ReadInto(dst []byte) (int, error)
	// Release gives the segment back. Called once, by whoever sent the slice.
	Release()
}

// Part is one piece of a response: Bytes, or Slice if that isn't nil. The
// parts of a response are its header and body, without the length.
type Part struct {
	Bytes []byte
	Slice Slice
}

// Len is the number of bytes that the part puts on the wire.
func (p Part) Len() int {
	if p.Slice != nil {
		return p.Slice.Len()
	}
	return len(p.Bytes)
}

// ReleaseParts releases the slices of a response that will not be sent.
func ReleaseParts(parts []Part) {
	for _, p := range parts {
		if p.Slice != nil {
			p.Slice.Release()
		}
	}
}
