package metadata

import (
	"fmt"

	"tidemark/internal/model"
	"tidemark/internal/record"
)

// maxBatchBytes is what one batch of the metadata log may decompress to: Kafka
// writes at most 8 MiB.
const maxBatchBytes = 8 << 20

// DataBatch builds one uncompressed batch of recs as they are written at a
// finalised metadata.version; now is in ms. Base offset and leader epoch are 0
// until they are stamped. It is nil if recs is empty.
func DataBatch(recs []Record, level int16, now int64) record.Batch {
	var b record.Builder
	for _, r := range recs {
		b.Add(now, nil, Encode(r, level))
	}
	return b.Build()
}

// ControlBatch builds one batch of control records, as DataBatch does.
func ControlBatch(cs []Control, now int64) record.Batch {
	var b record.Builder
	b.SetControl()
	for _, c := range cs {
		key, value := EncodeControl(c)
		b.Add(now, key, value)
	}
	return b.Build()
}

// visit decodes the records of a batch in order. Exactly one of its functions
// is called for each record. Offsets are dense: base plus index.
func visit(b record.Batch, data func(model.Offset, Record) error, control func(model.Offset, Control) error) error {
	if err := b.CheckCRC(); err != nil {
		return err
	}
	at := b.BaseOffset()
	for raw, err := range b.Records(maxBatchBytes) {
		if err != nil {
			return fmt.Errorf("offset %d: %w", at, err)
		}
		if b.Control() {
			err = visitControl(at, raw, control)
		} else {
			err = visitData(at, raw, data)
		}
		if err != nil {
			return err
		}
		at++
	}
	return nil
}

func visitControl(at model.Offset, raw record.Record, control func(model.Offset, Control) error) error {
	c, err := DecodeControl(raw.Key, raw.Value)
	if err != nil {
		return fmt.Errorf("offset %d: %w", at, err)
	}
	return control(at, c)
}

func visitData(at model.Offset, raw record.Record, data func(model.Offset, Record) error) error {
	r, err := Decode(raw.Value)
	if err != nil {
		return fmt.Errorf("offset %d: %w", at, err)
	}
	return data(at, r)
}

// ReplayBatch decodes and replays every record of one batch, at the batch's
// offsets. After an error the delta must be dropped.
func (d *Delta) ReplayBatch(b record.Batch) error {
	return visit(b,
		func(at model.Offset, r Record) error {
			d.At(at)
			return d.Replay(r)
		},
		func(at model.Offset, c Control) error {
			d.At(at)
			return d.ReplayControl(c)
		})
}
