package partition

import (
	"errors"
	"testing"

	"tidemark/internal/producer"
	"tidemark/internal/record"
)

func TestDuplicateAcrossARestart(t *testing.T) {
	h := newHost(t)
	send := func(seq int32) (Appended, error) {
		var b record.Builder
		b.SetProducer(77, 0, seq)
		b.Add(1, nil, []byte("v"))
		return h.p.AppendAsLeader(b.Build(), Append{Epoch: -1, Origin: producer.Client})
	}
	h.lead(0, 1, 2, 3)
	for seq := range int32(3) {
		if _, err := send(seq); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.p.Close(true); err != nil {
		t.Fatal(err)
	}
	h.open(true, 0)
	h.lead(1, 1, 2, 3)
	if a, err := send(2); err != nil || !a.Duplicate || a.Base != 2 || h.p.LogEnd() != 3 {
		t.Fatalf("%+v %v", a, err)
	}
	if _, err := send(5); !errors.Is(err, producer.ErrOutOfOrderSequence) {
		t.Fatal(err)
	}
}
