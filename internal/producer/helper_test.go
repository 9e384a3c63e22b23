package producer

import (
	"testing"

	"tidemark/internal/model"
	"tidemark/internal/record"
)

// send describes one batch; the zero value is sequence 0 of producer 0.
type send struct {
	pid   model.ProducerID
	epoch model.ProducerEpoch
	seq   int32
	n     int // records, 0 means 1
	at    model.Offset
	ts    int64
	txn   bool
}

func (s send) batch() record.Batch {
	var b record.Builder
	b.SetBase(s.at)
	b.SetProducer(s.pid, s.epoch, s.seq)
	if s.txn {
		b.SetTransactional()
	}
	for range max(s.n, 1) {
		b.Add(s.ts, nil, []byte("v"))
	}
	return b.Build()
}

func marker(pid model.ProducerID, epoch model.ProducerEpoch, at model.Offset, m record.EndTxn) record.Batch {
	b := record.Marker(pid, epoch, m)
	b.Stamp(at, 0)
	return b
}

// leader is a table with the log end of its partition: offer does what a
// leader does with a produce request.
type leader struct {
	*Table
	end model.Offset
	log []record.Batch
}

func newLeader() *leader { return &leader{Table: New()} }

func (l *leader) offer(s send) (Verdict, error) {
	v, err := l.Check(s.batch(), Client)
	if err == nil && !v.Duplicate {
		v.Base, v.Last = l.add(s.batch())
	}
	return v, err
}

func (l *leader) add(b record.Batch) (base, last model.Offset) {
	b.Stamp(l.end, 0)
	l.end = b.NextOffset()
	l.log = append(l.log, b)
	l.Appended(b)
	return b.BaseOffset(), b.LastOffset()
}

func (l *leader) mustAccept(t *testing.T, s send) {
	t.Helper()
	if v, err := l.offer(s); err != nil || v.Duplicate {
		t.Fatalf("%+v: %+v %v", s, v, err)
	}
}

// replay builds the table that the given log makes.
func replay(log []record.Batch) *Table {
	t := New()
	for _, b := range log {
		t.Appended(b)
	}
	return t
}
