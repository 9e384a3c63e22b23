package commitlog

import (
	"bytes"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"tidemark/internal/vfs"
)

// countReads counts the bytes that are read from segment files.
func countReads(fsys vfs.FS, n *atomic.Int64) vfs.FS {
	return vfs.NewFaulty(fsys, func(op vfs.Op) error {
		if op.Kind == vfs.OpRead && strings.HasSuffix(op.Name, logSuffix) {
			n.Add(int64(op.Len))
		}
		return nil
	})
}

// restartLog is a log of one segment, killed with a restart point at 90 %.
func restartLog(t *testing.T) (m *vfs.Mem, o Options, want string) {
	m = newMem(t)
	o = memOptions(m)
	o.Config.IndexInterval = 4096
	o.ProducerSnapshot = func() []byte { return encodeProducers(nil) }
	dirty := 0
	o.RestartBytes, o.OnDirty = 100<<10, func() { dirty++ }
	l := open(t, o)
	for i := range 1000 {
		_, err := l.Append(batch(l.End(), 1, 2, int64(i), 1000))
		must(t, err)
		if dirty > 0 && i < 900 {
			must(t, mark(l))
			dirty = 0
		}
	}
	if l.Unmarked() < 100*2000 || l.Unmarked() > 220*2000 {
		t.Fatalf("%d bytes behind the last restart point", l.Unmarked())
	}
	must(t, l.Checkpointed(l.Flushed()))
	names, err := m.List(testDir)
	must(t, err)
	snapshots := 0
	for _, e := range names {
		if strings.HasSuffix(e.Name, snapshotSuffix) {
			snapshots++
		}
	}
	if snapshots != 1 {
		t.Errorf("%d snapshots of earlier restart points stayed", snapshots)
	}
	o.RecoveryPoint, o.OnDirty = l.Flushed(), nil
	return m.CrashClone(100, 1), o, contents(t, l)
}

func TestRecoveryReadsFromTheRestartPoint(t *testing.T) {
	m, o, want := restartLog(t)
	var read atomic.Int64
	o.FS = countReads(m, &read)
	l := open(t, o)
	if share := float64(read.Load()) / float64(l.Size()); share > 0.25 || share == 0 {
		t.Errorf("recovery read %.0f %% of the log", 100*share)
	}
	if got := contents(t, l); got != want {
		t.Errorf("found %s\nwant %s", got, want)
	}
	checkLookups(t, "after recovery", l)
	if l.Flushed() != o.RecoveryPoint {
		t.Errorf("flushed %d, the recovery point was %d", l.Flushed(), o.RecoveryPoint)
	}
}

// TestRestartPointNeedsItsFiles damages one of the files that a restart point
// consists of: then the whole segment is read, and nothing is missed.
func TestRestartPointNeedsItsFiles(t *testing.T) {
	for _, c := range []struct {
		suffix string
		harm   func(t *testing.T, fsys vfs.FS, name string)
	}{
		{indexSuffix, flipAt(100)}, {indexSuffix, flipAt(8)}, {indexSuffix, cutTo(1003)}, {indexSuffix, gone1}, {indexSuffix, zeros},
		{timeSuffix, flipAt(120)}, {timeSuffix, cutTo(1003)}, {timeSuffix, gone1},
		{snapshotSuffix, flipAt(9)}, {snapshotSuffix, gone1},
	} {
		m, o, want := restartLog(t)
		name := l0(t, m, c.suffix)
		c.harm(t, m, name)
		o.FS = m
		l := open(t, o)
		if got := contents(t, l); got != want {
			t.Errorf("%s: found %s\nwant %s", name, got, want)
		}
		checkLookups(t, name, l)
		must(t, l.Close(true))
		o.Clean = true
		checkLookups(t, name+", closed", open(t, o))
	}
}

// l0 is the only file of a suffix.
func l0(t *testing.T, fsys vfs.FS, suffix string) string {
	names, err := fsys.List(testDir)
	must(t, err)
	for _, e := range names {
		if strings.HasSuffix(e.Name, suffix) {
			return testDir + "/" + e.Name
		}
	}
	t.Fatalf("no %s file among %v", suffix, names)
	return ""
}

func flipAt(at int64) func(*testing.T, vfs.FS, string) {
	return func(t *testing.T, fsys vfs.FS, name string) {
		f, err := fsys.Open(name)
		must(t, err)
		var p [1]byte
		_, err = f.ReadAt(p[:], at)
		must(t, err)
		p[0] ^= 0x40
		_, err = f.WriteAt(p[:], at)
		must(t, err)
		must(t, f.Sync())
	}
}

func cutTo(size int64) func(*testing.T, vfs.FS, string) {
	return func(t *testing.T, fsys vfs.FS, name string) { must(t, cutFileTo(fsys, name, size, true)) }
}

func gone1(t *testing.T, fsys vfs.FS, name string) { must(t, fsys.Remove(name)) }

// zeros is what a JVM's preallocated index ends in after a crash.
func zeros(t *testing.T, fsys vfs.FS, name string) {
	p, err := vfs.ReadFile(fsys, name)
	must(t, err)
	must(t, cutFileTo(fsys, name, int64(len(p))+80, true))
}

// A cut while a restart point is being made durable: what was prepared isn't
// taken for one, and the next one is made where the log is then.
func TestCutDuringARestartPoint(t *testing.T) {
	m := newMem(t)
	o := memOptions(m)
	o.ProducerSnapshot = func() []byte { return encodeProducers(nil) }
	var l *Log
	cut := false
	o.FS = vfs.NewFaulty(m, func(op vfs.Op) error {
		if op.Kind == vfs.OpSync && strings.HasSuffix(op.Name, snapshotSuffix) && !cut {
			cut = true
			_, err := l.TruncateTo(40)
			return err
		}
		return nil
	})
	l = open(t, o)
	fill(t, l, 1, 10, 10)
	must(t, mark(l))
	if !cut {
		t.Fatal("no snapshot was synced")
	}
	if n := l.Unmarked(); n != l.Size() || l.End() != 40 {
		t.Errorf("log end %d, %d of %d bytes behind the last restart point, want all", l.End(), n, l.Size())
	}
	l.mu.Lock()
	known := slices.Clone(l.mu.restarts) // their snapshots go when there are later ones
	l.mu.Unlock()
	if len(known) != 0 {
		t.Errorf("restart points %v of a log that ends at %d", known, l.End())
	}
	fill(t, l, 2, 3, 10)
	must(t, mark(l))
	if n := l.Unmarked(); n != 0 {
		t.Errorf("%d bytes behind a restart point at the end", n)
	}
	want := contents(t, l)
	o.FS, o.RecoveryPoint = m.CrashClone(0, 1), l.Flushed()
	l = open(t, o)
	if got := contents(t, l); got != want {
		t.Errorf("found %s\nwant %s", got, want)
	}
	checkLookups(t, "after recovery", l)
}

// The index of a segment below the recovery point ends in zeros, as a JVM leaves
// it after a crash: it is built again.
func TestIndexOfATrustedSegmentEndsInZeros(t *testing.T) {
	m := newMem(t)
	o := memOptions(m)
	o.Config.SegmentBytes = 600
	l := open(t, o)
	fill(t, l, 1, 7, 10)
	must(t, l.Flush(l.End()))
	o.FS, o.RecoveryPoint = m.CrashClone(100, 1), l.End()
	name := testDir + "/" + segmentFile(0, indexSuffix)
	read := func() []byte {
		p, err := vfs.ReadFile(o.FS, name)
		must(t, err)
		return p
	}
	before := read()
	zeros(t, o.FS, name)
	l = open(t, o)
	if got := read(); len(before) == 0 || !bytes.Equal(got, before) {
		t.Errorf("index %x, was %x", got, before)
	}
	checkLookups(t, "after recovery", l)
}
