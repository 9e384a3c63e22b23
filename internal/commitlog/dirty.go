package commitlog

import (
	"time"

	"tidemark/internal/model"
)

// DirtyStat says what a compaction of a log would have to do.
type DirtyStat struct {
	// [FirstDirty, Bound) would be cleaned. Bound is the begin of a segment;
	// Bound <= FirstDirty: nothing to do.
	FirstDirty, Bound model.Offset
	CleanBytes        int64         // below FirstDirty
	DirtyBytes        int64         // of the segments of [FirstDirty, Bound)
	UncleanableBytes  int64         // from Bound on
	Ratio             float64       // DirtyBytes / (CleanBytes + DirtyBytes)
	EarliestDirty     int64         // ms: the first timestamp above FirstDirty in a closed segment; 0 unknown
	Overdue           time.Duration // by how much that exceeds max.compaction.lag.ms; 0 if it doesn't
	Needed            bool          // by cleanup.policy, min.cleanable.dirty.ratio and max.compaction.lag.ms
}

// FirstDirty is the offset below which the log has been compacted: what the
// cleaner-offset-checkpoint holds. Never below Start. Safe for concurrent use.
func (l *Log) FirstDirty() model.Offset {
	return max(model.Offset(l.firstDirty.Load()), l.Start())
}

// Dirty computes what a compaction up to bound at now would find. The caller's
// bound is the smaller of high watermark and last stable offset; the active
// segment and min.compaction.lag.ms limit it further. Safe for concurrent use.
func (l *Log) Dirty(bound model.Offset, now time.Time) (st DirtyStat, err error) {
	for range readTries {
		if st, err = l.dirty(bound, now); !stale(err) || l.closed.Load() {
			break
		}
	}
	return st, err
}

func (l *Log) dirty(bound model.Offset, now time.Time) (DirtyStat, error) {
	cfg := l.config.Load()
	v := l.segments()
	st := DirtyStat{FirstDirty: l.FirstDirty()}
	n := len(v) - 1 // segments that may be cleaned
	for n > 0 && l.upperOf(v, n-1, bound) > bound {
		n--
	}
	dirty := max(floorSegment(v[:n], st.FirstDirty), 0)
	if lag := cfg.MinCompactionLag; lag > 0 {
		for i := dirty; i < n; i++ {
			if largest, ok, err := v[i].largestStamp(); err != nil {
				return st, err
			} else if ok && largest.ts > now.Add(-lag).UnixMilli() {
				n = i
			}
		}
	}
	st.Bound = v[n].base
	for i, s := range v {
		switch {
		case i >= n:
			st.UncleanableBytes += s.size()
		case l.upperOf(v, i, bound) <= st.FirstDirty:
			st.CleanBytes += s.size()
		case s.base < st.FirstDirty: // Kafka counts the whole segment as dirty, and as clean too
			st.CleanBytes += s.size()
			st.DirtyBytes += s.size()
		default:
			st.DirtyBytes += s.size()
		}
	}
	if total := st.CleanBytes + st.DirtyBytes; total > 0 {
		st.Ratio = float64(st.DirtyBytes) / float64(total)
	}
	if err := l.dirtyAge(&st, v[dirty:len(v)-1], cfg, now); err != nil {
		return st, err
	}
	st.Needed = cfg.Compact && st.DirtyBytes > 0 && (st.Overdue > 0 || st.Ratio > cfg.MinCleanableRatio)
	return st, nil
}

// dirtyAge finds the oldest first timestamp of the closed dirty segments. Without
// max.compaction.lag.ms only the first segment is looked at.
func (l *Log) dirtyAge(st *DirtyStat, closed []*segment, cfg *Config, now time.Time) error {
	limited := cfg.MaxCompactionLag > 0 && cfg.MaxCompactionLag < 1<<62
	for _, s := range closed {
		ts, err := s.firstTimestamp()
		if err != nil {
			return err
		}
		if ts > 0 && (st.EarliestDirty == 0 || ts < st.EarliestDirty) {
			st.EarliestDirty = ts
		}
		if !limited {
			break
		}
	}
	if limited && st.EarliestDirty > 0 {
		st.Overdue = max(now.Sub(time.UnixMilli(st.EarliestDirty))-cfg.MaxCompactionLag, 0)
	}
	return nil
}

// firstTimestamp is the largest timestamp (ms) of the first batch of a closed
// segment, -1 if it has none.
func (s *segment) firstTimestamp() (int64, error) {
	if p := s.first.Load(); p != nil {
		return *p, nil
	}
	ts := int64(-1)
	if s.size() > 0 {
		h, err := s.file()
		if err != nil {
			return 0, err
		}
		defer h.release()
		var scan headerScan
		scan.aim(h.f, s.size(), s.base)
		defer scan.close()
		b, _, err := scan.header(0)
		if err != nil {
			return 0, err
		}
		ts = b.MaxTimestamp()
	}
	s.first.Store(&ts)
	return ts, nil
}
