package record

import (
	"errors"
	"fmt"
)

// Errors of this package; compare with errors.Is.
var (
	// ErrShort means that the input ends before the batch does.
	ErrShort = errors.New("record batch is cut short")
	// ErrCorrupt means impossible framing or a checksum that doesn't match.
	ErrCorrupt = errors.New("record batch is corrupt")
	// ErrInvalid means that a well-framed batch breaks a rule. The error is
	// an *InvalidError.
	ErrInvalid = errors.New("invalid record")
	// ErrInvalidTimestamp is the class of an *InvalidError about timestamps.
	ErrInvalidTimestamp = errors.New("invalid timestamp")
	// ErrTooLarge means a batch above max.message.bytes, or a payload that
	// decompresses to more than the limit.
	ErrTooLarge = errors.New("record batch is too large")
	// ErrUnsupportedCodec means an unknown codec, or zstd where the request
	// version doesn't allow it.
	ErrUnsupportedCodec = errors.New("unsupported compression codec")
)

// RecordError says what is wrong with one record of a batch.
type RecordError struct {
	Index   int32 // position in the batch, from 0
	Message string
}

// InvalidError is a batch that breaks a rule, as
// opposed to a damaged one: sending it again can't help. It unwraps to
// ErrInvalid or ErrInvalidTimestamp.
type InvalidError struct {
	Reason  string
	Framing bool          // the payload isn't one batch of version 2: no log was asked
	Records []RecordError // the offending records, if single ones are; at most maxRecordErrors
	class   error
}

// Error returns the reason and the first record error.
func (e *InvalidError) Error() string {
	if len(e.Records) == 0 {
		return e.Reason
	}
	return fmt.Sprintf("%s; record %d: %s", e.Reason, e.Records[0].Index, e.Records[0].Message)
}

// Unwrap returns ErrInvalidTimestamp or ErrInvalid.
func (e *InvalidError) Unwrap() error { return e.class }

func notOneBatch(format string, args ...any) *InvalidError {
	e := invalidf(format, args...)
	e.Framing = true
	return e
}

func invalidf(format string, args ...any) *InvalidError {
	return &InvalidError{Reason: fmt.Sprintf(format, args...), class: ErrInvalid}
}
