package commitlog

import (
	"tidemark/internal/model"
	"tidemark/internal/record"
)

// maxDecompressed bounds what one batch may decompress to in a lookup, bytes.
const maxDecompressed = 256 << 20

// OffsetForTimestamp finds the first record at or after Start and below limit
// whose timestamp (ms) isn't below ts; ok is false if there is none. Safe for
// concurrent use.
func (l *Log) OffsetForTimestamp(ts int64, limit model.Offset) (
	off model.Offset, at int64, epoch model.LeaderEpoch, ok bool, err error) {
	for {
		cuts := l.cuts.Load()
		off, at, epoch, ok, err = l.findTimestamp(ts, limit)
		if cuts%2 == 0 && cuts == l.cuts.Load() {
			return off, at, epoch, ok, err
		}
	}
}

func (l *Log) findTimestamp(ts int64, limit model.Offset) (
	off model.Offset, at int64, epoch model.LeaderEpoch, ok bool, err error) {
	start := l.Start()
	limit = min(limit, l.End())
	v := l.segments()
	for i, s := range v {
		if l.upperOf(v, i, limit) <= start || s.base >= limit {
			continue
		}
		from, skip, err := s.beforeTimestamp(ts, i == len(v)-1)
		if err != nil {
			return 0, 0, 0, false, err
		}
		if skip {
			continue
		}
		err = l.scanFrom(max(from, start), l.upperOf(v, i, limit), func(b record.Batch) error {
			if b.MaxTimestamp() < ts {
				return nil
			}
			for r, err := range b.Records(maxDecompressed) {
				if err != nil {
					return err
				}
				if r.Timestamp >= ts && r.Offset >= start && r.Offset < limit {
					off, at, epoch, ok = r.Offset, r.Timestamp, b.LeaderEpoch(), true
					return errStop
				}
			}
			return nil
		})
		if ok || err != nil {
			return off, at, epoch, ok, err
		}
	}
	return 0, 0, model.NoLeaderEpoch, false, nil
}

// beforeTimestamp returns an offset below which no record has the timestamp,
// or skip if the whole (closed) segment is older.
func (s *segment) beforeTimestamp(ts int64, active bool) (from model.Offset, skip bool, err error) {
	if st, ok, err := s.largestStamp(); err != nil || (ok && !active && s.mem.Load() == nil && st.ts < ts) {
		return 0, err == nil, err
	}
	stamps, err := s.stamps()
	if err != nil {
		return 0, false, err
	}
	from = s.base
	for _, st := range stamps {
		if st.ts > ts {
			break
		}
		// Records of the batch that ends at st.rel may already have ts, earlier
		// ones can't: a stamp is the first batch with its timestamp.
		from = s.base + model.Offset(st.rel)
	}
	return from, false, nil
}

// errStop ends a scan early.
var errStop = stop{}

type stop struct{}

func (stop) Error() string { return "stop" }

// scanFrom is Batches within [from, limit): fn may return errStop.
func (l *Log) scanFrom(from, limit model.Offset, fn func(record.Batch) error) error {
	for from < limit {
		sl, err := l.Read(from, l.End(), loadBlock, true)
		if err != nil {
			return err
		}
		next, err := sl.each(from, fn)
		sl.Release()
		if err == errStop {
			return nil
		}
		if err != nil {
			return err
		}
		if next <= from {
			return nil
		}
		from = next
	}
	return nil
}

// MaxTimestampOffset finds the first record with the largest timestamp below
// limit (KIP-734); ok is false if the log is empty. Safe for concurrent use.
func (l *Log) MaxTimestampOffset(limit model.Offset) (
	off model.Offset, at int64, epoch model.LeaderEpoch, ok bool, err error) {
	for {
		cuts := l.cuts.Load()
		off, at, epoch, ok, err = l.findMaxTimestamp(limit)
		if cuts%2 == 0 && cuts == l.cuts.Load() {
			return off, at, epoch, ok, err
		}
	}
}

func (l *Log) findMaxTimestamp(limit model.Offset) (
	off model.Offset, at int64, epoch model.LeaderEpoch, ok bool, err error) {
	limit = min(limit, l.End())
	start := l.Start()
	largest := int64(-1)
	v := l.segments()
	from := start
	for i, s := range v {
		if s.base >= limit || l.upperOf(v, i, limit) <= start {
			continue
		}
		st, found, err := s.largestStamp()
		if err != nil {
			return 0, 0, 0, false, err
		}
		// The last segments may hold newer records than their index says, or
		// records beyond the limit: those are scanned below.
		if found && s.mem.Load() == nil && l.upperOf(v, i, l.End()) <= limit && s.base >= start {
			if st.ts > largest {
				largest, from = st.ts, s.base+model.Offset(st.rel)
			}
			continue
		}
		at, o, err := l.largestIn(max(s.base, start), l.upperOf(v, i, limit), limit)
		if err != nil {
			return 0, 0, 0, false, err
		}
		if at > largest {
			largest, from = at, o
		}
	}
	if largest < 0 { // no record has a time: the first of those counts, as in Kafka
		return l.findTimestamp(record.NoTimestamp, limit)
	}
	return l.firstAtOrAfter(largest, from, limit)
}

// largestIn scans headers for the largest timestamp of the batches that lie
// below limit, and returns the last offset of the first batch that has it.
func (l *Log) largestIn(from, upper, limit model.Offset) (ts int64, off model.Offset, err error) {
	ts = -1
	err = l.scanFrom(from, upper, func(b record.Batch) error {
		if b.LastOffset() < limit && b.MaxTimestamp() > ts {
			ts, off = b.MaxTimestamp(), b.LastOffset()
		}
		return nil
	})
	return ts, off, err
}

// firstAtOrAfter is OffsetForTimestamp from a given offset on.
func (l *Log) firstAtOrAfter(ts int64, from, limit model.Offset) (
	off model.Offset, at int64, epoch model.LeaderEpoch, ok bool, err error) {
	start := l.Start()
	err = l.scanFrom(from, limit, func(b record.Batch) error {
		for r, err := range b.Records(maxDecompressed) {
			if err != nil {
				return err
			}
			if r.Timestamp >= ts && r.Offset >= start && r.Offset < limit {
				off, at, epoch, ok = r.Offset, r.Timestamp, b.LeaderEpoch(), true
				return errStop
			}
		}
		return nil
	})
	return off, at, epoch, ok, err
}
