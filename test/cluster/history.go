package cluster

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// maxReported bounds what judge says of one partition.
const maxReported = 5

// history is what clients know of one partition: offset -> value. Values are
// "partition:number", numbered from 0 in the order of sending.
type history struct {
	partition int32
	acked     map[int64]string // acknowledged to the producer
	seen      map[int64]string // by the consumer that ran all the time
	final     map[int64]string // by a fresh consumer after the end
	origin    map[int64]string // where final has it from, for the message
	start     int64            // records below were deleted on purpose
}

// judge names what must not be: lost, changed, unseen, invented (phantoms),
// duplicate or reordered records, and gaps.
func (h history) judge() []string {
	var out []string
	report := func(format string, args ...any) {
		if len(out) < maxReported {
			out = append(out, fmt.Sprintf(format, args...))
		}
	}
	for _, off := range slices.Sorted(maps.Keys(h.acked)) {
		v := h.acked[off]
		switch got, ok := h.final[off]; {
		case off < h.start:
		case !ok:
			report("lost: %s was acknowledged at offset %d", v, off)
		case got != v:
			report("changed: offset %d was acknowledged for %s and holds %s", off, v, got)
		}
		if got, ok := h.seen[off]; !ok {
			report("unseen: %s was acknowledged at offset %d and never came to the consumer", v, off)
		} else if got != v {
			report("changed: offset %d was acknowledged for %s, a consumer saw %s there", off, v, got)
		}
	}
	for _, off := range slices.Sorted(maps.Keys(h.seen)) {
		if got, ok := h.final[off]; off >= h.start && (!ok || got != h.seen[off]) {
			report("a consumer saw %s at offset %d, later it held %q", h.seen[off], off, got)
		}
	}
	h.order(report)
	return out
}

// order looks at what is in the log in the end.
func (h history) order(report func(string, ...any)) {
	next := int64(-1)
	for i, off := range slices.Sorted(maps.Keys(h.final)) {
		if want := h.start + int64(i); off != want {
			report("gap: offset %d where %d should be", off, want)
			return
		}
		_, num, _ := strings.Cut(h.final[off], ":")
		seq, err := strconv.ParseInt(num, 10, 64)
		if next < 0 {
			next = seq
			if h.start == 0 {
				next = 0
			}
		}
		switch {
		case err != nil || !strings.HasPrefix(h.final[off], fmt.Sprint(h.partition)+":"):
			report("invented: offset %d holds %q", off, h.final[off])
		case seq < next:
			report("duplicate or reordered: %s at offset %d (%s) after number %d (%s)", h.final[off], off, h.origin[off], next-1, h.origin[off-1])
		case seq > next:
			report("skipped: number %d is missing before offset %d (%s)", next, off, h.final[off])
		}
		next = seq + 1
	}
}
