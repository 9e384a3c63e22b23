package sim

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/producer"
	"tidemark/internal/record"
)

// derived checks what a replica at rest keeps beside its records: its epochs are
// those of its batches (I9), its producers those that the ledger knows (I6).
func (c *checker) derived(h *hosted, l *ledger) {
	err := c.scan(h, h.p.LogStart(), l.hw, func(b record.Batch) error {
		if e := h.p.Log().EpochAt(max(b.BaseOffset(), h.p.LogStart())); e != b.LeaderEpoch() {
			return fmt.Errorf("batch at %d has epoch %d, the epochs say %d", b.BaseOffset(), b.LeaderEpoch(), e)
		}
		return nil
	})
	if err != nil {
		c.w.fail("EpochsMatchLog: %s %s: %v", h.b.name, h.tp, err)
	}
	if l.forked {
		return
	}
	states := map[model.ProducerID]producer.State{}
	for _, s := range h.p.ProducerStates() {
		states[s.ID] = s
	}
	for _, id := range slices.Sorted(maps.Keys(l.last)) {
		if l.last[id] < h.p.LogStart() {
			continue // nobody has to know it any more
		}
		if s, ok := states[id]; !ok || s.LastSequence != l.seqs[id]-1 || s.Cached == 0 {
			c.w.fail("ProducersMatchLog: %s %s: producer %d is known as %+v (%v), its last sequence is %d",
				h.b.name, h.tp, id, s, ok, l.seqs[id]-1)
		}
	}
}

// history is the state of the cluster after every committed batch.
type history []*metadata.Image

func (y *history) add(img *metadata.Image) { *y = append(*y, img) }

func (y history) at(off model.Offset) *metadata.Image {
	i, ok := slices.BinarySearchFunc(y, off, func(img *metadata.Image, off model.Offset) int {
		return cmp.Compare(img.Offset, off)
	})
	if !ok {
		return nil
	}
	return y[i]
}

// prefix checks that what a broker knows of the metadata is what was committed up
// to the same offset (I13). It looks at every snapshot and at some batches.
func (c *checker) prefix(b *broker, img *metadata.Image, always bool) {
	if !always && img.Offset%8 != 0 {
		return
	}
	want := c.w.quorum.images.at(img.Offset)
	if want == nil {
		c.w.fail("MetadataIsPrefix: %s: knows the metadata up to %d, where no committed batch ends", b.name, img.Offset)
	} else if !sameState(want, img) {
		c.w.fail("MetadataIsPrefix: %s: its state at %d is not the committed one", b.name, img.Offset)
	}
}
