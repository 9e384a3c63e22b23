// Package coordinator hosts the consumer groups of those partitions of
// __consumer_offsets that this broker leads, and hands out producer ids.
//
// It is not where groups are decided: that is package group, which is pure. This
// package owns the locks, timers and the log around it: it loads a core when the
// broker begins to lead a partition, appends what the core wants written, tells
// it what was committed, and drops it when the leadership ends.
//
// # Invariants
//
//  1. A core serves only after every record below the log end at the moment of
//     election was replayed and is committed: nothing that a reader was told
//     can be taken back by a later election.
//  2. A core belongs to one leadership. Whatever waits for an append is lost
//     when that ends, even if the high watermark later passes the same offset
//     over the records of another leader (KAFKA-20634).
//  3. Committed records reach the core in the order of the log, those of one
//     append before its answer.
//  4. Answers are sent and other requests completed under no lock.
//
// # Ownership
//
// One mutex per instance, that is per partition and leadership; it is taken
// before those of the partition. Coordinator.mu only guards the table of
// instances and is never held together with another lock.
package coordinator
