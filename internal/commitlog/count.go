package commitlog

// SegmentCount is the number of segments. Unlike Segments it reads no file.
func (l *Log) SegmentCount() int { return len(l.segments()) }
