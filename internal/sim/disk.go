package sim

import (
	"errors"
	"fmt"

	"tidemark/internal/partition"
	"tidemark/internal/vfs"
)

// What a failing disk answers.
var (
	errEIO    = errors.New("input/output error")
	errENOSPC = errors.New("no space left on device")
)

// disk is what a broker's file system does besides working: it fails, or is full.
type disk struct {
	w      *World
	err    error // nil: it works
	spare  int   // operations that still succeed
	reads  bool  // reads fail, too
	full   bool  // only the reserve is left
	aside  bool  // the checker looks: nothing fails
	failed error // what the running process has met: it ends
}

// inject implements the injector of vfs.NewFaulty.
func (d *disk) inject(op vfs.Op) error {
	if d.err == nil || d.aside || !op.Kind.Mutates() && !(d.reads && op.Kind == vfs.OpRead) {
		return nil
	}
	if d.spare > 0 {
		d.spare--
		return nil
	}
	if op.Kind == vfs.OpWrite && op.Len > 1 {
		return &vfs.ShortWrite{Done: d.w.rng.IntN(op.Len), Err: d.err}
	}
	return d.err
}

// Take implements partition.Space.
func (d *disk) Take(bytes int) error {
	if d.full {
		d.w.rare.hit(DiskFullRefused)
		return fmt.Errorf("%d bytes: %w", bytes, partition.ErrNoSpace)
	}
	return nil
}

// trouble takes an error of the broker's storage. A broken disk ends the
// process, as it does with the only log directory of a broker; any other error
// is a violation. It returns whether there was one.
func (b *broker) trouble(what string, err error) bool {
	switch {
	case err == nil:
		return false
	case b.disk.failed != nil:
		return true
	case !errors.Is(err, errEIO) && !errors.Is(err, errENOSPC):
		b.w.fail("%s: %s: %v", b.name, what, err)
		return true
	}
	b.w.logf(&b.node, "%s: %v: ends", what, err)
	b.disk.failed = err
	b.w.rare.hit(DiskFailed)
	if b.recovering {
		b.w.rare.hit(DiskFailedInRecovery)
	}
	b.w.after(0, &b.node, "disk failed", func() {
		b.die(b.survives())
		b.w.after(100*ms+b.w.upTo(b.w.cfg.Session), nil, "restart", b.restart)
	})
	return true
}

// survives is how much of the unsynced data is left after a crash that must lose
// nothing: with flush on ack that may be any crash.
func (b *broker) survives() int {
	if b.w.cfg.FlushOnAck {
		return []int{0, 50, 100}[b.w.rng.IntN(3)]
	}
	return 100
}

// breakDisk lets a disk fail after some operations, for a while.
func (n *nemesis) breakDisk(b *broker, err error) {
	w := n.w
	b.disk.err, b.disk.spare, b.disk.reads = err, w.rng.IntN(20), w.chance(30)
	w.logf(&b.node, "disk fails after %d operations: %v", b.disk.spare, err)
	w.after(w.upTo(2*w.cfg.Session), nil, "disk works", b.mendDisk)
	if w.chance(30) { // it is met by the recovery
		b.disk.spare += w.rng.IntN(100)
		b.die(b.survives())
		w.after(w.upTo(w.cfg.Session), nil, "restart", b.restart)
	}
}

func (b *broker) mendDisk() { b.disk.err, b.disk.full = nil, false }

// fillDisk leaves only the reserve, for a while.
func (n *nemesis) fillDisk(b *broker) {
	n.w.logf(&b.node, "disk is full")
	b.disk.full = true
	n.w.after(300*ms+n.w.upTo(2*n.w.cfg.Session), nil, "disk has space", b.mendDisk)
}

// blackout takes the power from all brokers at once. With flush on ack nothing
// acknowledged is lost; without, only the processes die.
func (n *nemesis) blackout() {
	w := n.w
	w.rare.hit(Blackout)
	for _, b := range w.brokers {
		percent := b.survives()
		if w.cfg.PowerLoss {
			percent = []int{0, 50}[w.rng.IntN(2)]
		}
		b.die(percent)
		w.after(w.upTo(w.cfg.Session), nil, "restart", b.restart)
	}
}

// jump moves a node's clock, forward more often than back.
func (n *nemesis) jump(b *broker) {
	w := n.w
	to := &b.node
	if l := w.quorum.leader; l != nil && w.chance(30) {
		to = &l.node
	}
	d := w.upTo(10*second) - 3*second
	w.logf(to, "clock jumps by %d ms", d/ms)
	to.skew += d
	w.rare.hit(ClockJumped)
}
