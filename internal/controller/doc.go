// Package controller decides: registrations, fencing, elections, the ISR,
// topics, configs, reassignments. It is the pure core of the active controller:
// a request, the time, fresh ids and a seed go in; records and an answer come
// out. The records change nothing until they are committed and replayed.
//
// It is not a server: it owns no goroutine, lock, clock, disk or socket, and it
// never mutates an image. The active shell queues requests, proposes the records
// of a batch of decisions, and answers after the commit.
//
// # State
//
// Three kinds, told apart by who may lose them:
//
//   - the committed image (package metadata), handed in by Activate and Replayed;
//   - the overlay: records that were decided but are not committed yet, so that a
//     later request of the same batch sees the earlier ones;
//   - soft state of this term: sessions, the metadata offset that each broker last
//     reported, the offset a controlled shutdown waits for. Resign drops it, and a
//     new active controller starts every broker with a fresh session.
//
// # Invariants
//
//  1. ISR and ELR are disjoint subsets of Replicas; Leader is in the ISR or none.
//  2. A new ISR never names a broker that is unregistered, fenced, shutting down,
//     or registered under another epoch than the one proposed.
//  3. A replica whose directory isn't registered by its broker is never elected
//     without an explicit unclean election; nor does it get another directory
//     while it is the last member of the ISR, because that would hide the loss.
//  4. An ISR of which nobody could lead any more is kept as it is, without a
//     leader; who can't hold an in-sync replica leaves it at the next election
//     (with ELR: the ISR may be empty, and its members move to the ELR).
//  5. Every partition change raises the partition epoch by one; the leader epoch
//     rises when the leader field is written, and only then.
//  6. Equal inputs give equal outputs: map order, clock and randomness never
//     decide; env carries time, ids and seed.
//  7. A decision is all or nothing: one that fails leaves no record behind.
//
// # Evidence
//
// Each decision that changes a leader, an ISR or a broker's state yields an
// Evidence value that says why, in numbers, at the moment it is decided.
package controller
