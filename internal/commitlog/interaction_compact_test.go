package commitlog

import (
	"fmt"
	"strings"
	"time"

	"github.com/cockroachdb/datadriven"

	"tidemark/internal/model"
	"tidemark/internal/record"
)

// runCompact executes the commands of the stories about compaction.
func (s *story) runCompact(d *datadriven.TestData) (err error) { // flat switch
	switch d.Cmd {
	case "put": // put epoch=0 codec=lz4 ts=5 pid=7 seq=0 (the input: lines of key=value, or key for a tombstone)
		err = s.put(d, false)
	case "txn": // txn pid=7 pepoch=0 seq=0: the same inside a transaction
		err = s.put(d, true)
	case "end": // end pid=7 pepoch=0 commit | end pid=7
		err = s.end(d)
	case "clock": // clock ms=1000000
		s.now = time.UnixMilli(arg(d, "ms", 0))
	case "topic": // topic segment-bytes=400 delete-retention-ms=0 min-compaction-lag-ms=0 max-compaction-lag-ms=0 ratio=50
		s.cfg.Compact, s.cfg.Delete = true, false
		s.cfg.SegmentBytes = arg(d, "segment-bytes", s.cfg.SegmentBytes)
		s.cfg.DeleteRetention = time.Duration(arg(d, "delete-retention-ms", s.cfg.DeleteRetention.Milliseconds())) * time.Millisecond
		s.cfg.MinCompactionLag = time.Duration(arg(d, "min-compaction-lag-ms", 0)) * time.Millisecond
		s.cfg.MaxCompactionLag = time.Duration(arg(d, "max-compaction-lag-ms", 0)) * time.Millisecond
		s.cfg.MinCleanableRatio = float64(arg(d, "ratio", 50)) / 100
		if s.l != nil {
			s.l.UpdateConfig(s.cfg)
		}
	case "compact": // compact bound=50 map=24 keep=(7,0,35): a live producer with its last offset
		err = s.compact(d)
	case "records", "dirty": // questions only
	default:
		return fmt.Errorf("unknown command %q", d.Cmd)
	}
	return err
}

func (s *story) put(d *datadriven.TestData, txn bool) error {
	var b record.Builder
	b.SetLeaderEpoch(model.LeaderEpoch(arg(d, "epoch", 0)))
	b.SetBase(model.Offset(arg(d, "base", int64(s.l.End()))))
	if d.HasArg("codec") {
		a, _ := d.Arg("codec")
		c, err := record.ParseCodec(a.Vals[0])
		if err != nil {
			return err
		}
		b.SetCodec(c)
	}
	if d.HasArg("pid") {
		b.SetProducer(model.ProducerID(arg(d, "pid", 0)), model.ProducerEpoch(arg(d, "pepoch", 0)), int32(arg(d, "seq", 0)))
	}
	if txn {
		b.SetTransactional()
	}
	for _, line := range strings.Fields(d.Input) {
		k, v, ok := strings.Cut(line, "=")
		var value []byte
		if ok {
			value = []byte(v)
		}
		b.Add(arg(d, "ts", s.now.UnixMilli()), []byte(k), value)
	}
	_, err := s.l.Append(b.Build())
	return err
}

// end appends a marker, and the transaction to the index, as a partition does.
func (s *story) end(d *datadriven.TestData) error {
	pid, commit := model.ProducerID(arg(d, "pid", 0)), d.HasArg("commit")
	open := openTxns{first: map[model.ProducerID]model.Offset{}}
	if err := s.l.Batches(s.l.Start(), func(b record.Batch) error { open.add(b); return nil }); err != nil {
		return err
	}
	m := record.Marker(pid, model.ProducerEpoch(arg(d, "pepoch", 0)), record.EndTxn{Commit: commit})
	m.Stamp(s.l.End(), model.LeaderEpoch(arg(d, "epoch", 0)))
	if _, err := s.l.Append(m); err != nil {
		return err
	}
	for _, t := range open.add(m) {
		if err := s.l.AppendAborted(t); err != nil {
			return err
		}
	}
	return nil
}

func (s *story) compact(d *datadriven.TestData) (err error) {
	o := CompactOptions{Bound: model.Offset(arg(d, "bound", int64(s.l.End()))), Now: s.now, MapBytes: arg(d, "map", 1<<20)}
	if d.HasArg("keep") {
		var p [3]int64
		a, _ := d.Arg("keep")
		for i, v := range a.Vals {
			fmt.Sscan(v, &p[i])
		}
		o.Producers = func() []ProducerTail {
			return []ProducerTail{{model.ProducerID(p[0]), model.ProducerEpoch(p[1]), model.Offset(p[2])}}
		}
	}
	s.rep, err = s.l.Compact(o)
	return err
}

func (s *story) answerCompact(d *datadriven.TestData) string { // flat switch
	switch d.Cmd {
	case "compact":
		r := s.rep
		return fmt.Sprintf("[%d, %d) of bound %d: %d keys, %d -> %d segments, %d -> %d records, first dirty %d\n%s",
			r.From, r.To, r.Bound, r.Keys, r.Segments, r.SegmentsLeft, r.RecordsRead, r.RecordsLeft, s.l.FirstDirty(), s.records())
	case "dirty": // dirty bound=50
		st, err := s.l.Dirty(model.Offset(arg(d, "bound", int64(s.l.End()))), s.now)
		return fmt.Sprintf("[%d, %d) clean %d dirty %d ratio %.2f overdue %v needed %t %v\n", st.FirstDirty, st.Bound,
			st.CleanBytes, st.DirtyBytes, st.Ratio, st.Overdue, st.Needed, err)
	case "records":
		return s.records()
	}
	return fmt.Sprintf("[%d, %d)\n", s.l.Start(), s.l.End())
}

// records prints every segment with its batches.
func (s *story) records() string {
	var out strings.Builder
	for _, seg := range s.l.Segments() {
		fmt.Fprintf(&out, "segment %d\n", seg.Base)
		must(s.t, s.l.scanFrom(max(seg.Base, s.l.Start()), seg.Next, func(b record.Batch) error {
			must(s.t, b.CheckCRC())
			fmt.Fprintf(&out, "  [%d, %d]", b.BaseOffset(), b.LastOffset())
			if b.ProducerID() >= 0 {
				fmt.Fprintf(&out, " producer %d/%d seq %d", b.ProducerID(), b.ProducerEpoch(), b.LastSequence())
			}
			if h, ok := b.DeleteHorizon(); ok {
				fmt.Fprintf(&out, " horizon %d", h)
			}
			for r, err := range b.Records(0) {
				must(s.t, err)
				switch {
				case b.Control():
					m, _, err := b.EndTxn()
					must(s.t, err)
					fmt.Fprintf(&out, " %d:commit=%t", r.Offset, m.Commit)
				case r.Value == nil:
					fmt.Fprintf(&out, " %d:%s-", r.Offset, r.Key)
				default:
					fmt.Fprintf(&out, " %d:%s=%s", r.Offset, r.Key, r.Value)
				}
			}
			if b.Count() == 0 {
				out.WriteString(" empty")
			}
			out.WriteString("\n")
			return nil
		}))
	}
	return out.String()
}
