// Package latency counts durations, so that a percentile can be told later: a
// histogram with a fixed error, made for hot paths.
//
// It is not a metrics library: nothing here has a name or a label, and nothing
// is exported to anybody. Package admin gives histograms their names.
//
// Buckets: four to each power of two of a microsecond, so a bucket's bounds are at
// most a quarter apart; the first also holds everything below a microsecond, the
// last everything from 67 seconds on. Bounds that are powers of two of a
// microsecond are exact.
//
// Invariants
//  1. Observe allocates nothing, takes no lock, and costs two atomic additions.
//  2. Counts only grow: a Snapshot minus an earlier one is what happened between.
//
// Ownership: whoever measures owns the Histogram; Snapshots are values.
package latency
