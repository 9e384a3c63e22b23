package commitlog

import (
	"io"

	"tidemark/internal/model"
)

// CopyInfo describes what Copy wrote.
type CopyInfo struct {
	First model.Offset // what was copied begins here: at or below the offset asked for
	Bytes int64
	Whole bool // false: limit was reached first
}

// Copy writes the raw bytes of all batches from the one that contains from to
// the log end, as they are in the files, damage included, at most limit bytes.
// Where damage hides the boundary it begins with the segment. The caller keeps
// others from appending and truncating; if retention or compaction takes a
// segment away meanwhile, that is an error.
func (l *Log) Copy(from model.Offset, limit int64, w io.Writer) (info CopyInfo, err error) {
	v := l.segments()
	first := max(floorSegment(v, from), 0)
	for i := first; i < len(v); i++ {
		pos := int64(0)
		at := v[i].base
		if i == first {
			if cut, err := v[i].findCut(from); err == nil {
				pos, at = cut.pos, cut.next
			}
			info.First = at
		}
		n := min(v[i].size()-pos, limit-info.Bytes)
		if err := v[i].copyTo(w, pos, n); err != nil {
			return info, err
		}
		info.Bytes += n
		if pos+n < v[i].size() {
			return info, nil
		}
	}
	info.Whole = true
	return info, nil
}

func (s *segment) copyTo(w io.Writer, pos, n int64) error {
	if n <= 0 {
		return nil
	}
	h, err := s.file()
	if err != nil {
		return err
	}
	defer h.release()
	got, err := io.Copy(w, io.NewSectionReader(h.f, pos, n))
	if err == nil && got < n {
		err = io.ErrUnexpectedEOF
	}
	return err
}
