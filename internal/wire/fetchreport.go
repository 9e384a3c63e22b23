package wire

import (
	"encoding/binary"

	"tidemark/internal/model"
)

// Tag numbers of our own, far above any that Kafka uses. A receiver that doesn't
// know them skips them, as the flexible versions demand.
const (
	// TagFetchReport is in Fetch requests of followers, v12 and above: what the
	// follower knows of its own side.
	TagFetchReport = 10010
	// TagReplicaConditions is in DescribeQuorum responses, one for each partition.
	TagReplicaConditions = 10011
)

// fetchReportFormat is the first byte of the field; others are ignored.
const fetchReportFormat = 1

// FetchReport is the tagged field 10010 of a Fetch request:
//
//	byte 1          the format
//	uvarint         µs from the arrival of the last answer to this request
//	uvarint         µs, 99th percentile of that over answers with records
//	uvarint         percent of the last seconds held back by the own quota
//	uvarint         partitions of this fetcher
//	uvarint         of these, how many got records with the last answer
//	uvarint n       troubles, then n times:
//	  16 bytes      topic id
//	  int32         partition
//	  byte          code
//	  uvarint+bytes text
type FetchReport struct {
	Told               bool
	AppendMicros       uint32
	AppendP99Micros    uint32
	ThrottledPercent   uint32
	Partitions, Behind uint32
	Troubles           []FetchTrouble
}

// FetchTrouble is why one partition of a follower gets nowhere, in the follower's words.
type FetchTrouble struct {
	ID        model.TopicID
	Partition int32
	Code      uint8
	Text      string
}

// MaxFetchTroubles and MaxTroubleText bound a report.
const (
	MaxFetchTroubles = 32
	MaxTroubleText   = 160
)

// Append appends the value of the field.
func (f *FetchReport) Append(dst []byte) []byte {
	dst = append(dst, fetchReportFormat)
	for _, v := range [...]uint32{f.AppendMicros, f.AppendP99Micros, f.ThrottledPercent, f.Partitions, f.Behind} {
		dst = binary.AppendUvarint(dst, uint64(v))
	}
	list := f.Troubles[:min(len(f.Troubles), MaxFetchTroubles)]
	dst = binary.AppendUvarint(dst, uint64(len(list)))
	for _, t := range list {
		dst = append(dst, t.ID[:]...)
		dst = appendInt32(dst, t.Partition)
		dst = append(dst, t.Code)
		text := t.Text[:min(len(t.Text), MaxTroubleText)]
		dst = append(binary.AppendUvarint(dst, uint64(len(text))), text...)
	}
	return dst
}

// decode fills f. What can't be read leaves it empty: a report is only advice,
// so that no request fails for it.
func (f *FetchReport) decode(r reader) {
	*f = FetchReport{Troubles: f.Troubles[:0]}
	if r.int8() != fetchReportFormat {
		return
	}
	for _, v := range [...]*uint32{&f.AppendMicros, &f.AppendP99Micros, &f.ThrottledPercent, &f.Partitions, &f.Behind} {
		*v = r.uvarint()
	}
	for n := min(r.uvarint(), MaxFetchTroubles); n > 0 && !r.bad; n-- {
		t := FetchTrouble{ID: r.uuid(), Partition: r.int32(), Code: uint8(r.int8())}
		t.Text = string(r.span(int(min(r.uvarint(), MaxTroubleText))))
		f.Troubles = append(f.Troubles, t)
	}
	if f.Told = !r.bad; r.bad {
		*f = FetchReport{Troubles: f.Troubles[:0]}
	}
}
