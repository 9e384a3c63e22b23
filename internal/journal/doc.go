// Package journal keeps the replication events of one node: who left an
// in-sync set, which log was truncated, when a broker was unfenced, each with
// the numbers that were seen at the moment of the decision.
//
// It is not a log of requests and decides nothing: the place that decides
// emits an Event, and the console, the metrics and the log lines are readers
// of the same stream.
//
// Invariants
//
//  1. Emit never waits for a disk, a subscriber or the logger. The ring always
//     has the event; what a slow reader misses is counted and shows as a gap
//     in Seq.
//  2. Seq grows by one per event and continues over a restart.
//  3. The files never grow beyond the configured size.
//
// Ownership: the ring is guarded by Journal.mu; one goroutine owns the files,
// the listeners and the subscribers' channels.
//
// Format: tidemark.state.dir holds replication-journal.jsonl and, after it is
// half the size limit, replication-journal.1.jsonl (the older half). One JSON
// object a line, the fields of Event. A torn last line is ignored on load.
package journal
