// Package sim runs a whole cluster inside one Go test, from a seed: the real
// partitions, logs, producer tables and controller cores over a simulated
// network, disk, clock and metadata quorum, under faults, with a checker that
// looks at every replica after every event.
//
// It is not a model of the rules: what decides about offsets, epochs and
// in-sync sets is the production code. Modelled are what has goroutines of its
// own there: sockets and timers; the follower's fetch loop and the leader's fetch
// handler (follow.go, lead.go); the broker's applying of metadata, its
// AlterPartition queue and heartbeats (hosted.go, alter.go, broker.go); and the
// quorum behind the metadata log (quorum.go: one committed log, changing leaders,
// lost answers; the real one is in TestQuorum). Real are packages partition,
// replica, producer, purgatory, session, commitlog, controller and metadata, the
// log over a vfs.Mem that remembers what was synced.
//
//	go test ./internal/sim -run TestCluster -seeds=300     # 300 schedules
//	go test ./internal/sim -run TestCluster -seed=8123 -v  # one, with its log
//	make sim SEEDS=1000000                                 # on all cores, with progress
//	make sim SIM_DURATION=1h                               # as many as fit
//
// # Invariants
//
//  1. A World is one goroutine. Equal seeds give equal traces: nothing reads a
//     real clock, a real random number or the order of a map.
//
//  2. An event belongs to one life of one node. It is dropped if the node has
//     died since, and held back while the node is paused.
//
//  3. Messages of one connection arrive in order or not at all: the first one
//     that is lost breaks the connection.
//
//  4. The fault rules keep one complete candidate per partition: a disk loses
//     what was synced, or unsynced data that counts, only while every other
//     node is well and another member of the ISR holds everything.
//
//  5. A clock is the world's time and the node's skew. It may jump, which is
//     harsher than what a monotonic clock does to the timers of a real node.
//
//  6. A killed process leaves the page cache: what it had not synced is still
//     there, and still unsynced. Only a machine that loses power loses it.
//
//  7. A broken disk ends the process that met it; it is started again, again and
//     again, until the disk works.
//
// # What is checked
//
// After each event, by functions of checker.go and derive.go that
// docs/ROBUSTNESS.md lists by invariant: AckedRecordsSurvive,
// LogsAgreeBelowHighWatermark, MonotonicHighWatermark, StrictMinISR,
// ISRCoversHighWatermark, FetchNeverAboveHW, SingleLeaderPerEpoch,
// LeaderCompleteness, LeaderFromISR, CommittedNotTruncated, no duplicate and no
// gap per producer, epochs that only grow, the sets of every partition change,
// MetadataIsPrefix, DeletedNeverResurrects, snapshots equal to replay; at rest
// EpochsMatchLog and ProducersMatchLog; and that everything recovers when the
// faults end.
package sim
