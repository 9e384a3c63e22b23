// Package sim runs a whole cluster inside one Go test, from a seed: the real
// partitions, logs, producer tables and controller cores over a simulated
// network, disk, clock and metadata quorum, under faults, with a checker that
// looks at every replica after every event.
//
// It is not a model of the rules: what decides about offsets, epochs and
// in-sync sets is the production code. Modelled are only what has goroutines of
// its own there: sockets, timers, fetch loops, and the quorum behind the
// metadata log (one committed log, changing leaders, lost answers).
//
//	go test ./internal/sim -run TestCluster -seeds=300     # 300 schedules
//	go test ./internal/sim -run TestCluster -seed=8123 -v  # one, with its log
//
// # Invariants
//
//  1. A World is one goroutine. Equal seeds give equal traces: nothing reads a
//     real clock, a real random number or the order of a map.
//  2. An event belongs to one life of one node. It is dropped if the node has
//     died since, and held back while the node is paused.
//  3. Messages of one connection arrive in order or not at all: the first one
//     that is lost breaks the connection.
//  4. The fault rules keep one complete candidate per partition: a disk loses
//     what was synced, or unsynced data that counts, only while every other
//     node is well and another member of the ISR holds everything.
//
// # What is checked
//
// AckedRecordsSurvive, LogsAgreeBelowHighWatermark, MonotonicHighWatermark,
// ISRCoversHighWatermark, FetchNeverAboveHW, SingleLeaderPerEpoch,
// LeaderCompleteness, CommittedNotTruncated, NoDuplicateNoGap per producer,
// epochs that only grow, the sets of every partition change, snapshots equal to
// replay, and that everything recovers when the faults end.
package sim
