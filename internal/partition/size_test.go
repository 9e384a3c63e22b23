package partition

import (
	"errors"
	"testing"

	"tidemark/internal/model"
)

// TestNegativeSize is refused where there is something to read, and only there.
func TestNegativeSize(t *testing.T) {
	h := newHost(t)
	h.lead(0, 1)
	fetch := func() error {
		got, err := h.p.Fetch(Fetch{Replica: model.NoBroker, MaxBytes: -1, MinOne: true, CurrentEpoch: -1, LastFetchedEpoch: -1})
		got.Slice.Release()
		return err
	}
	if err := fetch(); err != nil {
		t.Errorf("an empty log: %v", err)
	}
	h.append(Append{}, "a")
	h.acked(2, 1)
	h.lead(1, 1, 2)
	h.acked(2, 1)
	if h.p.HighWatermark() != 1 {
		t.Fatalf("high watermark %d", h.p.HighWatermark())
	}
	if err := fetch(); !errors.Is(err, ErrNegativeSize) {
		t.Errorf("a record: %v", err)
	}
}
