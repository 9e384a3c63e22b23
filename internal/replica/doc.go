// Package replica is the rule book of one partition's replication: what a
// leader may count as committed, who is in its in-sync set, when a follower
// must cut its log. It is a pure state machine.
//
// It is not a place for bytes, locks, disks or clocks: it sees offsets, epochs
// and the time that its caller passes in. Followers pull, so the fetch offset
// of a follower is its acknowledgement, and offsets are all there is to see.
//
// A Leader or a Follower is made for one leader epoch and dropped with it. The
// two are different types: an append by a follower does not compile.
//
// # Invariants
//
//  1. The high watermark of a Leader never decreases and never exceeds its LEO.
//  2. Every member of the maximal ISR holds at least the high watermark, apart
//     from one that fetched again from further back (a wiped disk): its
//     position may drop, the high watermark may not.
//  3. The high watermark stands still while the committed ISR is smaller than
//     the effective min ISR, whatever acks producers ask for (KIP-966).
//  4. At most one ISR change is in flight. A candidate counts for the high
//     watermark from the moment it is proposed, one that is to leave until the
//     controller has agreed. Neither counts for the admission of acks=all.
//  5. The leader never removes itself from the ISR.
//  6. A follower's position is not changed by a fetch that is refused.
//
// # Ownership
//
// Not safe for concurrent use: package partition calls it under partition.mu.
// No method blocks, and none allocates unless it reports Evidence or proposes.
package replica
