// Package group is the state machine of consumer groups in Kafka's classic
// protocol (KIP-62, KIP-345, KIP-394, KIP-559, KIP-814) and of the offsets that
// groups commit: one Core for the groups of one partition of __consumer_offsets.
//
// It is not a server: it has no lock, no clock and no log. A request is a method
// call with the time as an argument; what has to be answered, and what has to be
// written before it may be answered, comes back as Effects.
//
// # States of a group
//
//	Empty               -> PreparingRebalance    somebody joins
//	PreparingRebalance  -> CompletingRebalance   all joined, or time is up
//	PreparingRebalance  -> Empty                 nobody is left
//	CompletingRebalance -> Stable                the leader's assignment is committed
//	CompletingRebalance -> PreparingRebalance    a member joins, leaves or dies
//	Stable              -> PreparingRebalance    the same
//	Empty               -> Dead                  deleted, or nothing is left of it
//
// # Invariants
//
//  1. Offsets change only by Replay and Apply, thus by committed records in the
//     order of the log: what OffsetFetch answers survives any change of leader.
//  2. A request is answered exactly once. An answer that depends on records is
//     given when they are committed, never before.
//  3. Generations of a group only grow; each is assigned at most once, and an
//     assignment is given to members only after it was committed.
//  4. The members of Stable are those of the generation: none awaits a join.
//  5. The same calls in the same order have the same effects: nothing depends on
//     the order of a map.
//
// # Records
//
// Keys and values are Kafka's, byte for byte; see record.go. Written are
// OffsetCommitKey 1 with OffsetCommitValue 4 (1 for a commit with a retention
// time), GroupMetadataKey 2 with GroupMetadataValue 3, as Apache Kafka 4.3.1
// does. Read is every version of them; records of other kinds of groups are
// skipped and counted.
package group
