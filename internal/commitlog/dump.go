package commitlog

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"tidemark/internal/record"
	"tidemark/internal/vfs"
)

// Dump writes a partition's directory, or one of its files, as text: batch
// headers with their records, index entries, checkpoints. It changes nothing
// and goes on after damage, which it names.
func Dump(fsys vfs.FS, name string, w io.Writer) error {
	e, err := fsys.Stat(name)
	if err != nil {
		return ioError(err)
	}
	if !e.IsDir {
		return dumpFile(fsys, name, w)
	}
	entries, err := fsys.List(name)
	if err != nil {
		return ioError(err)
	}
	for _, e := range entries {
		if e.IsDir {
			continue
		}
		if err := dumpFile(fsys, filepath.Join(name, e.Name), w); err != nil {
			return err
		}
	}
	return nil
}

func dumpFile(fsys vfs.FS, name string, w io.Writer) error {
	e, err := fsys.Stat(name)
	if err != nil {
		return ioError(err)
	}
	base := filepath.Base(name)
	for strings.HasSuffix(base, deletedSuffix) || strings.HasSuffix(base, cleanedSuffix) || strings.HasSuffix(base, swapSuffix) {
		base = strings.TrimSuffix(base, filepath.Ext(base))
	}
	_, suffix, ok := parseSegmentName(base)
	fmt.Fprintf(w, "%s: %d bytes\n", filepath.Base(name), e.Size)
	switch {
	case ok && suffix == logSuffix:
		return dumpLog(fsys, name, w)
	case strings.HasSuffix(name, ".checkpoint"): // a metadata snapshot: batches too
		return dumpLog(fsys, name, w)
	case ok:
		p, err := vfs.ReadFile(fsys, name)
		if err != nil {
			return ioError(err)
		}
		dumpIndex(suffix, p, w)
	case e.Size <= loadBlock:
		return dumpText(fsys, name, w)
	}
	return nil
}

func dumpText(fsys vfs.FS, name string, w io.Writer) error {
	p, err := vfs.ReadFile(fsys, name)
	if err != nil {
		return ioError(err)
	}
	if !utf8.Valid(p) {
		return nil
	}
	for line := range strings.Lines(string(p)) {
		fmt.Fprintf(w, "  %s\n", strings.TrimRight(line, "\n"))
	}
	return nil
}

func dumpLog(fsys vfs.FS, name string, w io.Writer) error {
	f, err := fsys.Open(name)
	if err != nil {
		return ioError(err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return ioError(err)
	}
	scan := newBatchScan(f, 0, size)
	for {
		b, pos, err := scan.next()
		if err == io.EOF {
			return nil
		}
		if errors.Is(err, ErrIO) {
			return err
		}
		if err != nil {
			fmt.Fprintf(w, "  damaged: %v\n", err)
			return nil
		}
		dumpBatch(b, pos, w)
	}
}

func dumpBatch(b record.Batch, pos int64, w io.Writer) {
	fmt.Fprintf(w, "  batch baseOffset: %d lastOffset: %d count: %d leaderEpoch: %d position: %d size: %d codec: %v",
		b.BaseOffset(), b.LastOffset(), b.Count(), b.LeaderEpoch(), pos, len(b), b.Codec())
	fmt.Fprintf(w, " baseTimestamp: %d maxTimestamp: %d appendTime: %t", b.BaseTimestamp(), b.MaxTimestamp(), b.LogAppendTime())
	if b.ProducerID() >= 0 {
		fmt.Fprintf(w, " producerId: %d producerEpoch: %d sequence: [%d, %d] transactional: %t",
			b.ProducerID(), b.ProducerEpoch(), b.BaseSequence(), b.LastSequence(), b.Transactional())
	}
	if h, ok := b.DeleteHorizon(); ok {
		fmt.Fprintf(w, " deleteHorizon: %d", h)
	}
	fmt.Fprintf(w, " control: %t\n", b.Control())
	if err := b.CheckCRC(); err != nil {
		fmt.Fprintf(w, "    damaged: %v\n", err)
		return
	}
	for r, err := range b.Records(maxDecompressed) {
		if err != nil {
			fmt.Fprintf(w, "    damaged: %v\n", err)
			return
		}
		fmt.Fprintf(w, "    offset: %d timestamp: %d", r.Offset, r.Timestamp)
		if b.Control() {
			typ, err := record.ParseControlKey(r.Key)
			fmt.Fprintf(w, " control: %d", typ)
			if err != nil {
				fmt.Fprintf(w, " (%v)", err)
			}
		} else {
			fmt.Fprintf(w, " key: %s", printable(r.Key))
		}
		fmt.Fprintf(w, " value: %s", printable(r.Value))
		for _, h := range r.Headers {
			fmt.Fprintf(w, " header %s: %s", printable([]byte(h.Key)), printable(h.Value))
		}
		fmt.Fprintln(w)
	}
}

func printable(p []byte) string {
	const most = 256
	switch {
	case p == nil:
		return "null"
	case len(p) > most:
		return printable(p[:most]) + fmt.Sprintf("... (%d bytes)", len(p))
	case utf8.Valid(p):
		return fmt.Sprintf("%q", p)
	}
	return "0x" + hex.EncodeToString(p)
}

func dumpIndex(suffix string, p []byte, w io.Writer) {
	var err error
	switch suffix {
	case indexSuffix:
		var places []place
		if places, err = parsePlaces(p, 1<<32); err == nil {
			for _, e := range places {
				fmt.Fprintf(w, "  offset: +%d position: %d\n", e.rel(), e.pos())
			}
		}
	case timeSuffix:
		var stamps []stamp
		if stamps, err = parseStamps(p); err == nil {
			for _, e := range stamps {
				fmt.Fprintf(w, "  timestamp: %d offset: +%d\n", e.ts, e.rel)
			}
		}
	case txnSuffix:
		var txns []AbortedTxn
		if txns, err = parseAborted(p); err == nil {
			for _, t := range txns {
				fmt.Fprintf(w, "  producerId: %d firstOffset: %d lastOffset: %d lastStableOffset: %d\n",
					t.ProducerID, t.First, t.Last, t.LSO)
			}
		}
	case snapshotSuffix:
		if !intactSnapshot(p) {
			err = fmt.Errorf("producer snapshot of %d bytes: %w", len(p), ErrCorrupt)
		} else {
			dumpSnapshot(p, w)
		}
	}
	if err != nil {
		fmt.Fprintf(w, "  damaged: %v\n", err)
	}
}
