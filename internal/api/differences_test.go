package api

import (
	"testing"

	"tidemark/internal/model"
	"tidemark/internal/record"
	"tidemark/internal/wire"

	"github.com/twmb/franz-go/pkg/kerr"
)

// TestLogStartBesideErrors: an error that the log found carries the log's
// start, one that was found before doesn't.
func TestLogStartBesideErrors(t *testing.T) {
	_, none := record.Validate([]byte("short"), record.Rules{})
	for _, tc := range []struct {
		err  error
		want model.Offset
	}{
		{none, -1}, // not even a batch
		{kerr.CorruptMessage, -1},
		{kerr.UnknownTopicOrPartition, -1},
		{kerr.OutOfOrderSequenceNumber, 7},
		{kerr.InvalidProducerEpoch, 7},
		{kerr.InvalidTimestamp, 7},
		{kerr.NotEnoughReplicas, 7},
		{kerr.UnknownServerError, 7},
	} {
		out := wire.ProducePartitionResult{LogStart: 7}
		(&produced{}).failed(&out, nil, tc.err)
		if out.LogStart != tc.want {
			t.Errorf("%v: log start %d, want %d", tc.err, out.LogStart, tc.want)
		}
	}
}
