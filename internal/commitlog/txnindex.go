package commitlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"sort"

	"tidemark/internal/model"
	"tidemark/internal/vfs"
)

// AbortedTxn is one aborted transaction: its records lie in [First, Last],
// where Last is the abort marker. LSO is the last stable offset when the marker
// was appended.
type AbortedTxn struct {
	ProducerID       model.ProducerID
	First, Last, LSO model.Offset
}

const txnEntrySize = 34

func appendAbortedTxn(p []byte, t AbortedTxn) []byte {
	p = binary.BigEndian.AppendUint16(p, 0)
	p = binary.BigEndian.AppendUint64(p, uint64(t.ProducerID))
	p = binary.BigEndian.AppendUint64(p, uint64(t.First))
	p = binary.BigEndian.AppendUint64(p, uint64(t.Last))
	return binary.BigEndian.AppendUint64(p, uint64(t.LSO))
}

func parseAborted(p []byte) ([]AbortedTxn, error) {
	if len(p)%txnEntrySize != 0 {
		return nil, fmt.Errorf("transaction index has %d bytes: %w", len(p), ErrCorrupt)
	}
	out := make([]AbortedTxn, 0, len(p)/txnEntrySize)
	for ; len(p) > 0; p = p[txnEntrySize:] {
		if v := binary.BigEndian.Uint16(p); v != 0 {
			return nil, fmt.Errorf("transaction index version %d: %w", v, ErrCorrupt)
		}
		at := func(i int) int64 { return int64(binary.BigEndian.Uint64(p[i:])) }
		out = append(out, AbortedTxn{model.ProducerID(at(2)), model.Offset(at(10)), model.Offset(at(18)), model.Offset(at(26))})
	}
	return out, nil
}

// readAborted returns the entries of one segment, ordered by Last.
func (s *segment) readAborted() ([]AbortedTxn, error) {
	if !s.aborted.Load() {
		return nil, nil
	}
	if p := s.abortedMem.Load(); p != nil {
		return *p, nil
	}
	p, err := vfs.ReadFile(s.env.fs, s.env.path(s.base, txnSuffix))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, ioError(err)
	}
	return parseAborted(p)
}

// AppendAborted adds aborted transactions to the index of the segment that
// holds their markers, which have just been appended.
func (l *Log) AppendAborted(txns ...AbortedTxn) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.writable(); err != nil {
		return err
	}
	for _, t := range txns {
		i := floorSegment(l.segments(), t.Last)
		if i < 0 {
			return l.outOfRange("aborted transaction", t.Last)
		}
		if err := l.segments()[i].addAborted(t); err != nil {
			return l.fail(err)
		}
		l.mu.dirDirty = true
	}
	return nil
}

func (s *segment) addAborted(txns ...AbortedTxn) error {
	if len(txns) == 0 {
		return nil
	}
	f, err := s.env.fs.OpenOrCreate(s.env.path(s.base, txnSuffix))
	if err != nil {
		return err
	}
	size, err := f.Size()
	var p []byte
	for _, t := range txns {
		p = appendAbortedTxn(p, t)
	}
	if err == nil {
		_, err = f.WriteAt(p, size-size%txnEntrySize)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	s.aborted.Store(true)
	s.indexVersion.Add(1)
	return err
}

// truncateAborted removes the transactions whose markers are at or after end.
func (s *segment) truncateAborted(end model.Offset) error {
	txns, err := s.readAborted()
	if err != nil || len(txns) == 0 {
		return err
	}
	keep := sort.Search(len(txns), func(i int) bool { return txns[i].Last >= end })
	f, err := s.env.fs.Open(s.env.path(s.base, txnSuffix))
	if err != nil {
		return err
	}
	if err = f.Truncate(int64(keep) * txnEntrySize); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// AbortedTxns returns the aborted transactions that overlap [from, to), ordered
// by their markers. Safe for concurrent use.
func (l *Log) AbortedTxns(from, to model.Offset) ([]AbortedTxn, error) {
	v := l.segments()
	var out []AbortedTxn
	for _, s := range v[max(floorSegment(v, from), 0):] {
		txns, err := s.readAborted()
		if err != nil {
			return nil, err
		}
		for _, t := range txns {
			if t.Last >= from && t.First < to {
				out = append(out, t)
			}
			if t.LSO >= to { // later markers belong to later transactions
				return out, nil
			}
		}
	}
	return out, nil
}
