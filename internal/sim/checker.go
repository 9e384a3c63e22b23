package sim

import (
	"fmt"
	"hash/crc32"
	"runtime/debug"
	"slices"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/partition"
	"tidemark/internal/record"
	"tidemark/internal/replica"
)

func stack() []byte { return debug.Stack() }

// checker knows what must hold, and looks after every event.
type checker struct {
	w       *World
	ledgers map[part]*ledger
	acks    []ack // of the event that is running
	buf     []byte

	deletedIDs map[model.TopicID]bool
}

// ledger is the truth about one partition: every batch that was ever below a
// leader's high watermark.
type ledger struct {
	part
	lossy
	batches []committed
	hw      model.Offset // the highest ever exposed
	start   model.Offset // deleted on purpose below
	leaders map[model.LeaderEpoch]model.BrokerID
	seqs    map[model.ProducerID]int32 // next expected
	where   map[producerSeq]model.Offset
	last    map[model.ProducerID]model.Offset // where its last batch is
	acked   int
}

type producerSeq struct {
	id  model.ProducerID
	seq int32
}

type committed struct {
	base, next model.Offset
	epoch      model.LeaderEpoch
	sum        uint32 // of the bytes
	id         model.ProducerID
	seq        int32
}

type ack struct {
	h     *hosted
	epoch model.LeaderEpoch
	seq   producerSeq
	base  model.Offset
	next  model.Offset
}

func newChecker(w *World) *checker {
	return &checker{w: w, ledgers: map[part]*ledger{}, deletedIDs: map[model.TopicID]bool{}}
}

func (c *checker) ledger(of part) *ledger {
	l := c.ledgers[of]
	if l == nil {
		l = &ledger{
			part: of, leaders: map[model.LeaderEpoch]model.BrokerID{}, seqs: map[model.ProducerID]int32{},
			where: map[producerSeq]model.Offset{}, last: map[model.ProducerID]model.Offset{},
		}
		c.ledgers[of] = l
	}
	return l
}

// at is the index of the batch that contains off, or the next one.
func (l *ledger) at(off model.Offset) int {
	i, _ := slices.BinarySearchFunc(l.batches, off, func(b committed, off model.Offset) int {
		if b.next <= off {
			return -1
		}
		return 1
	})
	return i
}

// replica looks at a replica after each of its changes.
func (c *checker) replica(h *hosted) {
	w, l := c.w, c.ledger(h.part)
	hw, end, start := h.p.HighWatermark(), h.p.Log().End(), h.p.LogStart()
	leads, epoch := h.p.Leads()
	if h.b.disk.failed != nil && !leads { // broken off in the middle, and offline
		return
	}
	if l.excused(leads, epoch) {
		h.lastEnd, h.lastHW, h.lastLead, h.verified = end, hw, model.NoLeaderEpoch, 0
		return
	}
	if start > hw || hw > end || h.p.LastStable() > hw {
		w.fail("%s %s: log start %d, last stable %d, high watermark %d, log end %d",
			h.b.name, h.tp, start, h.p.LastStable(), hw, end)
		return
	}
	if leads && h.lastLead == epoch && hw < h.lastHW {
		w.fail("MonotonicHighWatermark: %s %s: from %d to %d in epoch %d", h.b.name, h.tp, h.lastHW, hw, epoch)
	}
	raised := h.lastLead == epoch || !l.forked // not what a checkpoint said before a loss
	h.lastLead = model.NoLeaderEpoch
	if leads {
		h.lastLead = epoch
	}
	if end < h.lastEnd {
		h.rebuilt, h.kept = end, min(h.kept, end)
		w.logf(&h.b.node, "truncates %s from %d to %d", h.tp, h.lastEnd, end)
		if end < l.hw {
			w.rare.hit(TruncatedBelowOldHW)
			_, p, ok := w.quorum.image().PartitionByID(h.key())
			if ok && !h.b.lossy && !w.lossAllowed() && slices.Contains(p.ISR, model.BrokerID(h.b.id)) {
				w.fail("CommittedNotTruncated: %s %s: member of the isr %v cut to %d, high watermark is %d",
					h.b.name, h.tp, p.ISR, end, l.hw)
			}
		}
		if end < h.verified && start < end && !w.lossAllowed() {
			w.fail("CommittedNotTruncated: %s %s: cut to %d, agreed with the ledger up to %d",
				h.b.name, h.tp, end, h.verified)
		}
	}
	h.verified = min(h.verified, end)
	h.lastEnd, h.lastHW = end, hw
	h.verified = max(h.verified, start)
	if hw > h.verified {
		c.verify(h, l, hw, leads)
	}
	if leads && hw > l.hw {
		l.hw = hw
		c.covered(h, l, epoch)
		if hold, ok := h.p.Hold(); ok && raised && hold.Reason == replica.ReasonUnderMinISR {
			w.fail("StrictMinISR: %s %s: high watermark rose to %d with too few in-sync replicas", h.b.name, h.tp, hw)
		}
	}
}

// verify compares a replica below its high watermark with the ledger, and lets
// a leader write the ledger further.
func (c *checker) verify(h *hosted, l *ledger, to model.Offset, leads bool) {
	err := c.scan(h, h.verified, to, func(b record.Batch) error {
		return l.see(b, leads, c)
	})
	if err != nil {
		c.w.fail("LogsAgreeBelowHighWatermark: %s %s (leads %v): %v", h.b.name, h.tp, leads, err)
		return
	}
	h.verified = to
}

// scan reads the batches of a replica in [from, to).
func (c *checker) scan(h *hosted, from, to model.Offset, fn func(record.Batch) error) error {
	h.b.disk.aside = true
	defer func() { h.b.disk.aside = false }()
	for from < to {
		sl, err := h.p.Log().Read(from, h.p.Log().End(), 16<<10, true)
		if err != nil {
			return err
		}
		if sl.Len() == 0 {
			sl.Release()
			return fmt.Errorf("nothing to read at %d, log is [%d, %d)", from, h.p.LogStart(), h.p.Log().End())
		}
		if cap(c.buf) < sl.Len() {
			c.buf = make([]byte, sl.Len())
		}
		buf := c.buf[:sl.Len()]
		_, err = sl.ReadInto(buf)
		sl.Release()
		for err == nil && len(buf) > 0 && from < to {
			var b record.Batch
			if b, buf, err = record.Next(buf); err == nil {
				err = fn(b)
				from = b.NextOffset()
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func sumOf(b record.Batch) uint32 { return crc32.ChecksumIEEE(b) }

// see compares one batch with the ledger, or adds it.
func (l *ledger) see(b record.Batch, mayAdd bool, c *checker) error {
	got := committed{b.BaseOffset(), b.NextOffset(), b.LeaderEpoch(), sumOf(b), b.ProducerID(), b.BaseSequence()}
	if i := l.at(got.base); i < len(l.batches) {
		if want := l.batches[i]; want != got {
			return fmt.Errorf("batch %+v, committed before was %+v", got, want)
		}
		return nil
	}
	if !mayAdd {
		return fmt.Errorf("batch %+v is below a follower's high watermark, no leader has committed it", got)
	}
	if n := len(l.batches); n > 0 && l.batches[n-1].next != got.base || n == 0 && got.base != 0 {
		return fmt.Errorf("batch %+v leaves a gap after %d batches", got, n)
	}
	if n := len(l.batches); n > 0 && l.batches[n-1].epoch > got.epoch {
		return fmt.Errorf("batch %+v has an older epoch than the one before, %d", got, l.batches[n-1].epoch)
	}
	l.batches = append(l.batches, got)
	if id := b.ProducerID(); id != model.NoProducerID { // NoDuplicateNoGap
		if want := l.seqs[id]; b.BaseSequence() != want && !l.forked {
			return fmt.Errorf("batch %+v of producer %d begins with sequence %d, want %d", got, id, b.BaseSequence(), want)
		}
		l.seqs[id] = b.LastSequence() + 1
		l.where[producerSeq{id, b.BaseSequence()}] = got.base
		l.last[id] = got.base
	}
	c.w.mix(uint64(got.sum))
	return nil
}

// covered is ISRCoversHighWatermark: whoever the controller may elect holds
// everything below the high watermark.
func (c *checker) covered(h *hosted, l *ledger, epoch model.LeaderEpoch) {
	_, p, ok := c.w.quorum.image().PartitionByID(h.key())
	if !ok || p.LeaderEpoch != epoch {
		return
	}
	c.holders(l, p.ISR, "ISRCoversHighWatermark")
}

// holders checks that each of these replicas holds all that was committed.
func (c *checker) holders(l *ledger, ids []model.BrokerID, what string) {
	if c.w.lossAllowed() {
		return
	}
	for _, id := range ids {
		b := c.w.brokers[id-1]
		end, known := b.endOf(l.part)
		if b.lossy || !known || end >= l.hw {
			continue
		}
		c.w.fail("%s: %s: %s ends at %d, high watermark is %d, isr %v", what, l.tp, b.name, end, l.hw, ids)
	}
}

// endOf is the log end of a replica, alive or dead.
func (b *broker) endOf(of part) (model.Offset, bool) {
	if b.up && b.published {
		if h := b.find(of.tp); h != nil && h.topic == of.topic {
			return h.p.Log().End(), true
		}
		return 0, false
	}
	end, ok := b.lastEnds[of]
	return end, ok
}

// becameLeader is SingleLeaderPerEpoch and LeaderCompleteness.
func (c *checker) becameLeader(h *hosted, epoch model.LeaderEpoch) {
	l := c.ledger(h.part)
	id := model.BrokerID(h.b.id)
	if old, ok := l.leaders[epoch]; ok && old != id {
		c.w.fail("SingleLeaderPerEpoch: %s: %d and %d lead in epoch %d", h.tp, old, id, epoch)
	}
	l.leaders[epoch] = id
	if c.survives(h, l, epoch) || l.excused(true, epoch) {
		return
	}
	_, p, ok := c.w.quorum.image().PartitionByID(h.key())
	if !ok || p.LeaderEpoch != epoch {
		return
	}
	end := h.p.Log().End()
	if end < l.hw {
		c.w.fail("LeaderCompleteness: %s: %s leads in epoch %d with log end %d, %d was committed",
			h.tp, h.b.name, epoch, end, l.hw)
		return
	}
	err := c.scan(h, max(h.verified, h.p.LogStart()), l.hw, func(b record.Batch) error { return l.see(b, false, c) })
	if err != nil {
		c.w.fail("LeaderCompleteness: %s: %s leads in epoch %d: %v", h.tp, h.b.name, epoch, err)
	}
}

// metadata checks every committed change of the cluster's state (I11, I12).
func (c *checker) metadata(before *metadata.Image, u metadata.Update) {
	img := u.Image
	changed, deleted := u.Delta.Topics()
	for _, id := range deleted {
		c.deletedIDs[id] = true
	}
	for _, t := range changed {
		if c.deletedIDs[t.New.ID] {
			c.w.fail("DeletedNeverResurrects: %s: topic %s had been deleted", t.New.Name, t.New.ID)
		}
		for _, d := range t.Partitions {
			tp := part{model.TopicPartition{Topic: t.New.Name, Partition: d.Index}, t.New.ID}
			if err := checkSets(img, d.New, c.w.cfg.MinISR); err != nil {
				c.w.fail("%s: %v: %+v", tp, err, *d.New)
			}
			if d.Old != nil {
				c.change(tp, d.Old, d.New)
			}
			c.w.mix(uint64(d.New.Leader)<<32 | uint64(d.New.PartitionEpoch))
		}
	}
	for _, id := range u.Delta.Brokers() {
		if o, n := before.Brokers[id], img.Brokers[id]; o != nil && n != nil && n.Epoch < o.Epoch {
			c.w.fail("broker %d: epoch went back from %d to %d", id, o.Epoch, n.Epoch)
		}
	}
}

func checkSets(img *metadata.Image, p *metadata.Partition, minISR int) error {
	for _, id := range p.ISR {
		if !slices.Contains(p.Replicas, id) {
			return fmt.Errorf("ISR member %d is no replica", id)
		}
		if slices.Contains(p.ELR, id) {
			return fmt.Errorf("%d is in ISR and ELR", id)
		}
		if b := img.Brokers[id]; (b == nil || b.Fenced) && p.Leader != model.NoBroker {
			return fmt.Errorf("fenced broker %d in the ISR", id)
		}
	}
	for _, id := range p.ELR {
		if !slices.Contains(p.Replicas, id) {
			return fmt.Errorf("ELR member %d is no replica", id)
		}
	}
	if len(p.ELR) > 0 && len(p.ISR) >= min(minISR, len(p.Replicas)) {
		return fmt.Errorf("ELR %v beside an ISR that is large enough", p.ELR)
	}
	if len(p.ISR) == 0 && p.Leader != model.NoBroker {
		return fmt.Errorf("leader %d of an empty ISR", p.Leader)
	}
	if p.Leader != model.NoBroker && !slices.Contains(p.ISR, p.Leader) {
		return fmt.Errorf("leader %d is not in the ISR", p.Leader)
	}
	return nil
}

// change checks one step of a partition.
func (c *checker) change(tp part, o, n *metadata.Partition) {
	w := c.w
	w.logf(nil, "%s: leader %d epoch %d/%d isr %v replicas %v", tp, n.Leader, n.LeaderEpoch, n.PartitionEpoch, n.ISR, n.Replicas)
	if n.PartitionEpoch <= o.PartitionEpoch || n.LeaderEpoch < o.LeaderEpoch {
		w.fail("%s: epochs %d/%d after %d/%d", tp, n.LeaderEpoch, n.PartitionEpoch, o.LeaderEpoch, o.PartitionEpoch)
	}
	if n.Leader != o.Leader && n.LeaderEpoch == o.LeaderEpoch {
		w.fail("SingleLeaderPerEpoch: %s: leader %d after %d in epoch %d", tp, n.Leader, o.Leader, n.LeaderEpoch)
	}
	c.holders(c.ledger(tp), n.ISR, "ISR commits without a complete copy")
	c.holders(c.ledger(tp), n.ELR, "ELR without a complete copy")
	if n.Leader != model.NoBroker && n.Leader != o.Leader && n.PartitionEpoch == o.PartitionEpoch+1 { // one change
		c.elected(tp, o, n)
	}
	switch {
	case len(n.ISR) < len(o.ISR):
		w.rare.hit(ISRShrunk)
	case len(n.ISR) > len(o.ISR):
		w.rare.hit(ISRExpanded)
	}
	if n.Leader == o.Leader || o.Leader == model.NoBroker {
		return
	}
	old := w.brokers[o.Leader-1]
	if !old.up {
		return
	}
	if h := old.find(tp.tp); h != nil {
		switch h.p.State().ISRState {
		case "pending-expand":
			w.rare.hit(ElectionDuringExpansion)
		}
		w.rare.hit(ZombieLeader)
	}
}

// elected checks where a leader comes from (I10): the ISR, or what its change adds
// to that, or when that is empty the ELR. Who led last when both are empty may have
// lost something, and has to recover first.
func (c *checker) elected(tp part, o, n *metadata.Partition) {
	w := c.w
	switch {
	case c.uncleanly(tp, o, n):
	case slices.Contains(o.ISR, n.Leader):
	case n.Recovery != metadata.Recovering && slices.Contains(o.ELR, n.Leader):
		w.rare.hit(ELRElected)
	case n.Recovery != metadata.Recovering && len(n.ISR) > 1: // added by the change that ends a reassignment
	case n.Recovery == metadata.Recovering && w.cfg.ELR && slices.Equal(o.LastKnownELR, []model.BrokerID{n.Leader}):
		w.rare.hit(LastKnownElected)
	default:
		w.fail("LeaderFromISR: %s: %d was elected, isr %v, elr %v, last known %v", tp, n.Leader, o.ISR, o.ELR, o.LastKnownELR)
	}
}

// acked notes that acks=all is about to be answered with success.
func (c *checker) acked(h *hosted, batch []byte, a partition.Appended) {
	b := record.Batch(batch)
	c.acks = append(c.acks, ack{
		h: h, epoch: a.Epoch, seq: producerSeq{b.ProducerID(), b.BaseSequence()}, base: a.Base, next: a.Base + model.Offset(b.Count()),
	})
}

// settleAcks is AckedRecordsSurvive at the moment of the promise: the batch is
// in the ledger, at the offset that was told. The ledger is never unwritten.
func (c *checker) settleAcks() {
	for _, a := range c.acks {
		l := c.ledger(a.h.part)
		if l.excused(true, a.epoch) {
			continue
		}
		if at, ok := l.where[a.seq]; !ok || at != a.base || l.hw < a.next {
			c.w.fail("AckedRecordsSurvive: %s: batch %d of producer %d acknowledged at %d (high watermark %d), committed at %d, %v",
				a.h.tp, a.seq.seq, a.seq.id, a.base, l.hw, at, ok)
		}
		l.acked++
	}
	c.acks = c.acks[:0]
}

func (c *checker) isCommitted(tp part, id model.ProducerID, seq int32) bool {
	_, ok := c.ledger(tp).where[producerSeq{id, seq}]
	return ok
}

// inLog tells whether a batch is in a replica above what was verified.
func (c *checker) inLog(h *hosted, batch record.Batch) (found bool) {
	_ = c.scan(h, h.verified, h.p.Log().End(), func(b record.Batch) error {
		found = found || b.ProducerID() == batch.ProducerID() && b.BaseSequence() == batch.BaseSequence()
		return nil
	})
	return found
}

// lastOfProducers is the lowest offset at which an idempotent producer's last batch
// is, or one that it may still send again.
func (c *checker) lastOfProducers(tp part) model.Offset {
	low := model.Offset(1 << 62)
	for _, p := range c.w.clients.producers {
		if p.part == tp && p.pid != model.NoProducerID {
			l := c.ledger(tp)
			low = min(low, l.last[p.pid])
			for _, s := range p.queue {
				if at, ok := l.where[producerSeq{p.pid, s.seq}]; ok {
					low = min(low, at)
				}
			}
		}
	}
	return low
}

// deleted notes that an administrator deleted records.
func (c *checker) deleted(tp part, before model.Offset) {
	l := c.ledger(tp)
	l.start = max(l.start, before)
}

// consumed is FetchNeverAboveHW and repeatable read.
func (c *checker) consumed(k *consumerClient, b record.Batch) {
	l := c.ledger(k.part)
	if l.forked { // it may still read from somebody who hasn't heard of it
		return
	}
	if b.BaseOffset() > k.offset {
		c.w.fail("consumer of %s: at %d, got a batch at %d", k.tp, k.offset, b.BaseOffset())
		return
	}
	if b.NextOffset() > l.hw {
		c.w.fail("FetchNeverAboveHW: %s: consumer got [%d, %d), high watermark is %d", k.tp, b.BaseOffset(), b.NextOffset(), l.hw)
		return
	}
	if err := l.see(b, false, c); err != nil {
		c.w.fail("consumer of %s: %v", k.tp, err)
	}
}

// unrest says what has not recovered yet, "" if everything has.
func (c *checker) unrest() string {
	w := c.w
	img := w.quorum.image()
	if img.Topics.ByName[topic] == nil {
		return "there is no topic"
	}
	for _, p := range w.clients.producers {
		if !p.idle() && !c.deletedIDs[p.topic] {
			return fmt.Sprintf("producer %d has %d unacknowledged batches for %s", p.pid, len(p.queue), p.tp)
		}
	}
	for _, name := range []string{topic, fleeting} {
		t := img.Topics.ByName[name]
		if t == nil {
			continue
		}
		for i, p := range t.Partitions {
			of := part{model.TopicPartition{Topic: name, Partition: int32(i)}, t.ID}
			if p.Leader == model.NoBroker || len(p.ISR) != len(p.Replicas) || len(p.Adding)+len(p.Removing) > 0 {
				return fmt.Sprintf("%s: leader %d, isr %v, replicas %v, adding %v, removing %v",
					of, p.Leader, p.ISR, p.Replicas, p.Adding, p.Removing)
			}
			if why := c.unequal(of, p); why != "" {
				return why
			}
		}
	}
	for _, k := range w.clients.consumers {
		if l := c.ledger(k.part); k.offset < l.hw && !c.deletedIDs[k.topic] {
			return fmt.Sprintf("consumer of %s is at %d of %d", k.tp, k.offset, l.hw)
		}
	}
	return c.leftovers()
}

// leftovers names a replica that should be gone.
func (c *checker) leftovers() string {
	for _, b := range c.w.brokers {
		for _, h := range b.hosted {
			_, p, ok := c.w.quorum.image().PartitionByID(h.key())
			if !ok || !slices.Contains(p.Replicas, model.BrokerID(b.id)) {
				return fmt.Sprintf("%s still hosts %s", b.name, h.part)
			}
		}
	}
	return ""
}

func (c *checker) unequal(tp part, p *metadata.Partition) string {
	l := c.ledger(tp)
	for _, id := range p.Replicas {
		h := c.w.brokers[id-1].find(tp.tp)
		if h == nil || h.topic != tp.topic {
			return fmt.Sprintf("%s: broker %d has no replica", tp, id)
		}
		if hw, end := h.p.HighWatermark(), h.p.Log().End(); hw != l.hw || end != l.hw {
			return fmt.Sprintf("%s: broker %d has high watermark %d and end %d of %d", tp, id, hw, end, l.hw)
		}
	}
	return ""
}

// final reads everything once more, at rest.
func (c *checker) final() {
	for _, b := range c.w.brokers {
		for _, h := range b.hosted {
			l := c.ledger(h.part)
			c.w.mix(uint64(l.hw))
			if h.p.LogStart() > l.start {
				c.w.fail("%s %s: log starts at %d, deleted was only up to %d", b.name, l.tp, h.p.LogStart(), l.start)
			}
			err := c.scan(h, h.p.LogStart(), l.hw, func(b record.Batch) error { return l.see(b, false, c) })
			if err != nil {
				c.w.fail("at rest: %s %s: %v", b.name, l.tp, err)
			}
			c.derived(h, l)
		}
	}
}
