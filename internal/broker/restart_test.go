package broker

import (
	"path"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/internal/commitlog"
	"tidemark/internal/vfs"
)

// A node loses its power while a segment is being written. Nearly all of it is
// on the disk, the recovery point says so, and the next start reads only the rest.
func TestPowerLossCostsLittleReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		a0 := tpOf("a", 0)
		records := append(cluster(), topic("a"), part("a", 0, 1, 1))
		n := start(t, fs, 1, func(c *Config) { c.RestartBytes = 20 << 10 })
		n.apply(t, true, records...)
		for range 60 {
			n.produce(t, a0, 50)
			pass(100 * time.Millisecond)
		}
		pass(2 * time.Second)
		p := n.at(t, "a", 0)
		if segments := len(p.Log().Segments()); segments != 1 {
			t.Fatalf("%d segments", segments)
		}
		size := p.Log().Size()
		points, err := commitlog.ReadCheckpoint(fs, path.Join("d1", recoveryPointsName))
		if err != nil || points[a0] < 2500 || points[a0] != p.Log().Flushed() {
			t.Fatalf("recovery point %d, flushed %d (%v)", points[a0], p.Log().Flushed(), err)
		}
		after := fs.CrashClone(0, 1)
		n.Broker.Close(false, 0)

		var read atomic.Int64
		n = start(t, vfs.NewFaulty(after, func(op vfs.Op) error {
			if op.Kind == vfs.OpRead && strings.HasSuffix(op.Name, ".log") {
				read.Add(int64(op.Len))
			}
			return nil
		}), 1, nil)
		n.apply(t, true, records...)
		defer n.Broker.Close(false, 0)
		if end := n.at(t, "a", 0).LogEnd(); end < points[a0] {
			t.Errorf("the log ends at %d, the recovery point was %d", end, points[a0])
		}
		if share := float64(read.Load()) / float64(size); share > 0.1 {
			t.Errorf("%.0f %% of the log were read", 100*share)
		}
	})
}

// A log that gets few records has its restart point when the recovery points
// are written, once it is worth it.
func TestQuietLogsGetRestartPoints(t *testing.T) {
	inBubble(t, 1, func(c *Config) { c.RestartBytes = 64 << 20 }, func(t *testing.T, n *node) {
		n.apply(t, true, append(cluster(), topic("a"), part("a", 0, 1, 1), part("a", 1, 1, 1))...)
		n.produce(t, tpOf("a", 0), unmarkedMin/60)
		n.produce(t, tpOf("a", 1), 100)
		pass(3 * time.Minute)
		if p := n.at(t, "a", 0); p.Log().Flushed() != p.LogEnd() || p.Log().Unmarked() != 0 {
			t.Errorf("flushed %d of %d, %d bytes unmarked", p.Log().Flushed(), p.LogEnd(), p.Log().Unmarked())
		}
		if p := n.at(t, "a", 1); p.Log().Flushed() != 0 {
			t.Errorf("a log of %d bytes was flushed", p.Log().Size())
		}
	})
}
