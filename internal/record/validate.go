package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Rules is what a topic asks of a produced batch.
type Rules struct {
	MaxBytes           int   // max.message.bytes, header included; <= 0: no limit
	Compacted          bool  // cleanup.policy contains compact: every record needs a key
	LogAppendTime      bool  // message.timestamp.type: the leader's clock will be stamped
	Now                int64 // ms
	TimestampBeforeMax int64 // message.timestamp.before.max.ms; math.MaxInt64: no limit
	TimestampAfterMax  int64 // message.timestamp.after.max.ms; math.MaxInt64: no limit
	AllowControl       bool  // the broker's own writers: control batches, any base offset, no sequence rules
	Rebuilt            bool  // the caller compresses an uncompressed batch
	ZstdAllowed        bool  // Produce v7 or later (KIP-110)
	MaxDecompressed    int   // limit of a compressed payload's plain size; <= 0: DefaultMaxDecompressed
}

// maxRecordErrors bounds the list in an InvalidError. Clients fail the whole
// batch anyway and use the list only for messages.
const maxRecordErrors = 1000

// Validate checks one produced partition payload as Kafka does, in its order:
// framing, base offset, size, CRC, codec, header rules, then every record.
// A partial batch after the first is cut off, as Kafka does; a second whole
// one is ErrInvalid. If the header's maxTimestamp is not the records' maximum
// it is corrected in place (a wrong one would mislead the time index). So is a
// producer's claim that its timestamps are the leader's, on a topic where they
// aren't; on one where the leader stamps them it is ErrInvalidTimestamp. The
// records of a compressed batch that aren't numbered from 0 on, as some clients
// send them, are numbered anew, in a new buffer; an uncompressed one is
// ErrInvalid.
//
// Errors: *InvalidError (ErrInvalid or ErrInvalidTimestamp), ErrCorrupt,
// ErrTooLarge, ErrUnsupportedCodec. An uncompressed valid batch costs no
// allocation.
func Validate(p []byte, r Rules) (Batch, error) {
	b, err := frameProduced(p, r)
	if err != nil {
		return nil, err
	}
	if !r.AllowControl && b.BaseOffset() != 0 {
		return nil, invalidf("base offset %d, a producer must send 0", b.BaseOffset())
	}
	if r.MaxBytes > 0 && len(b) > r.MaxBytes {
		return nil, fmt.Errorf("batch of %d bytes, at most %d: %w", len(b), r.MaxBytes, ErrTooLarge)
	}
	if len(b) < HeaderSize {
		return nil, fmt.Errorf("batch length %d, want at least %d: %w", len(b)-lengthEnd, HeaderSize-lengthEnd, ErrCorrupt)
	}
	if err := b.CheckCRC(); err != nil {
		return nil, err
	}
	if c := b.Codec(); c > Zstd {
		return nil, fmt.Errorf("%s: %w", c, ErrUnsupportedCodec)
	}
	if err := checkHeader(b, r.AllowControl); err != nil {
		return nil, err
	}
	maxTimestamp, misnumbered, err := checkPayload(b, &r)
	if err != nil {
		return nil, err
	}
	if misnumbered {
		if b, err = rebuild(b, b.Codec(), r.MaxDecompressed, NoTimestamp); err != nil {
			return nil, err
		}
	}
	if !r.LogAppendTime && (maxTimestamp != b.MaxTimestamp() || b.LogAppendTime() && !r.AllowControl) {
		b.setCreateTime(maxTimestamp)
	}
	return b, nil
}

// CheckFrame checks only that a produced payload is one batch, of a codec that
// the request's version allows: what Kafka checks of a request before it looks
// at the partitions. Errors are those of Validate.
func CheckFrame(p []byte, zstdAllowed bool) error {
	_, err := frameProduced(p, Rules{ZstdAllowed: zstdAllowed})
	return err
}

// ClaimsTransaction reports whether the first batch of a produced payload is
// whole and says that it belongs to a transaction.
func ClaimsTransaction(p []byte) bool {
	_, err := frameAny(p)
	return err == nil && p[posMagic] == 2 && len(p) > posLastDelta && Batch(p).Transactional()
}

// ClaimsAppendTime reports whether a produced batch says that its time is the
// leader's; Validate corrects that.
func ClaimsAppendTime(p []byte) bool { return len(p) >= HeaderSize && Batch(p).LogAppendTime() }

// frameProduced finds the one batch of a payload. It may be too short for its
// header.
func frameProduced(p []byte, r Rules) (Batch, error) {
	size, err := frameAny(p)
	switch {
	case errors.Is(err, ErrShort):
		return nil, notOneBatch("no whole record batch in %d bytes", len(p))
	case err != nil:
		return nil, err
	case p[posMagic] != 2:
		return nil, notOneBatch("record batch with magic %d, only 2 is accepted", p[posMagic])
	}
	b, rest := Batch(p[:size:size]), p[size:]
	// Kafka looks at the codec here only if the version might forbid it.
	if c := b.Codec(); c >= Zstd && !r.ZstdAllowed {
		return nil, fmt.Errorf("%s: %w", c, ErrUnsupportedCodec)
	}
	if len(rest) == 0 {
		return b, nil
	}
	switch _, err := frameAny(rest); {
	case err == nil:
		return nil, notOneBatch("more than one record batch")
	case !errors.Is(err, ErrShort):
		return nil, err
	}
	return b, nil
}

// legacyMin is the least length of a message of the oldest format.
const legacyMin = 14

// frameAny frames the first batch of p, of any format: it returns its size.
// ErrShort: p ends inside it. ErrCorrupt: the length is too small for any
// format, or there is no such format.
func frameAny(p []byte) (size int, err error) {
	if len(p) < lengthEnd {
		return 0, shortError(len(p), lengthEnd)
	}
	n := int32(binary.BigEndian.Uint32(p[posLength:]))
	switch {
	case n < legacyMin:
		return 0, fmt.Errorf("batch length %d, want at least %d: %w", n, legacyMin, ErrCorrupt)
	case len(p) <= posMagic:
		return 0, shortError(len(p), posMagic+1)
	case p[posMagic] > 2:
		return 0, fmt.Errorf("magic %d, want 2: %w", int8(p[posMagic]), ErrCorrupt)
	case int64(n) > int64(len(p)-lengthEnd):
		return 0, shortError(len(p), lengthEnd+int(n))
	}
	return lengthEnd + int(n), nil
}

// checkHeader checks what the header says about itself.
func checkHeader(b Batch, internal bool) error {
	span, count := int64(b.LastOffsetDelta())+1, int64(b.Count())
	switch {
	case span <= 0:
		return invalidf("invalid offset range: last offset delta %d", b.LastOffsetDelta())
	case count <= 0:
		return invalidf("invalid record count %d", count)
	case span != count:
		return invalidf("last offset delta %d doesn't fit %d records", b.LastOffsetDelta(), count)
	}
	idempotent := b.ProducerID() >= 0
	switch {
	case internal:
	case idempotent && b.BaseSequence() < 0:
		return invalidf("sequence %d with producer id %d", b.BaseSequence(), b.ProducerID())
	case b.Control():
		return invalidf("clients are not allowed to write control records")
	}
	switch {
	case idempotent && b.ProducerEpoch() < 0:
		return invalidf("producer epoch %d with producer id %d", b.ProducerEpoch(), b.ProducerID())
	case !idempotent && b.Transactional():
		return invalidf("transactional batch without a producer id")
	}
	return nil
}

// checkPayload checks the records and returns their largest timestamp, -1 if
// none has one, and whether they have to be numbered anew.
func checkPayload(b Batch, r *Rules) (maxTimestamp int64, misnumbered bool, err error) {
	if b.Codec() == None {
		return checkRecords(b, cursor{buf: b.Payload()}, r)
	}
	limit := r.MaxDecompressed
	if limit <= 0 {
		limit = DefaultMaxDecompressed
	}
	s, err := openStream(b.Codec(), b.Payload(), limit)
	if err != nil {
		return 0, false, err
	}
	defer s.close()
	window, ok := freeWindow.take()
	if !ok {
		window = make([]byte, windowSize)
	}
	defer freeWindow.give(window)
	return checkRecords(b, cursor{buf: window[:0], src: s, limit: limit}, r)
}

// checkRecords checks structure, offset deltas 0..n-1, keys and timestamps.
func checkRecords(b Batch, c cursor, r *Rules) (maxTimestamp int64, misnumbered bool, err error) {
	maxTimestamp = NoTimestamp
	base, count := b.BaseTimestamp(), int(b.Count())
	oldest, newest := timestampRange(r)
	rejects := rejects{oldest: oldest, newest: newest}
	claims := b.LogAppendTime() && !r.AllowControl
	limited := !r.LogAppendTime && !r.AllowControl
	for i := range count {
		s, ok := c.record()
		if !ok {
			return 0, false, brokenRecord(&c, i, count)
		}
		ts := base + s.timestampDelta
		if b.LogAppendTime() {
			ts = b.MaxTimestamp() // the time of all its records
		}
		maxTimestamp = max(maxTimestamp, ts)
		misnumbered = misnumbered || s.offsetDelta != i
		if s.offsetDelta != i && b.Codec() == None && !r.Rebuilt {
			rejects.offset(i, s.offsetDelta)
		} else if r.Compacted && !s.hasKey {
			rejects.key(i)
		} else if limited && ts != NoTimestamp && (r.Now-ts > r.TimestampBeforeMax || ts-r.Now > r.TimestampAfterMax) {
			// Differences may overflow: an absurd time is refused either way.
			rejects.timestamp(i, ts)
		} else if claims && (ts == NoTimestamp || r.LogAppendTime) {
			rejects.appendTime(i)
		}
	}
	if c.more() {
		return 0, false, invalidf("more data follows the last of %d records", count)
	}
	if c.err != nil {
		return 0, false, c.err
	}
	return maxTimestamp, misnumbered, rejects.err(count)
}

func brokenRecord(c *cursor, i, count int) error {
	if c.err != nil {
		return c.err
	}
	return invalidf("record %d of %d has a broken structure", i, count)
}

// timestampRange returns the accepted timestamps, inclusive.
func timestampRange(r *Rules) (oldest, newest int64) {
	if r.LogAppendTime || r.AllowControl {
		return math.MinInt64, math.MaxInt64
	}
	oldest, newest = math.MinInt64, math.MaxInt64
	if r.TimestampBeforeMax < math.MaxInt64 {
		oldest = r.Now - r.TimestampBeforeMax
	}
	if r.TimestampAfterMax < math.MaxInt64-r.Now {
		newest = r.Now + r.TimestampAfterMax
	}
	return oldest, newest
}

// rejects collects record errors; it allocates only when there is one. It holds
// no pointer to its surroundings, so that those stay on the stack.
type rejects struct {
	oldest, newest int64 // accepted timestamps
	list           []RecordError
	total          int
	time           bool // at least one is about a timestamp: that decides the class
}

func (j *rejects) add(i int, format string, args ...any) {
	if j.total++; len(j.list) < maxRecordErrors {
		j.list = append(j.list, RecordError{Index: int32(i), Message: fmt.Sprintf(format, args...)})
	}
}

func (j *rejects) offset(i, delta int) {
	j.add(i, "offset delta %d, records must be numbered without gaps", delta)
}

func (j *rejects) key(i int) { j.add(i, "a compacted topic needs a key in every record") }

func (j *rejects) timestamp(i int, ts int64) {
	j.time = true
	j.add(i, "timestamp %d is outside [%d, %d]", ts, j.oldest, j.newest)
}

func (j *rejects) appendTime(i int) {
	j.time = true
	j.add(i, "a producer must not set the log append time attribute")
}

func (j *rejects) err(count int) error {
	if j.total == 0 {
		return nil
	}
	e := invalidf("%d of %d records rejected", j.total, count)
	e.Records = j.list
	if j.time {
		e.class = ErrInvalidTimestamp
	}
	return e
}
