// Package session keeps fetch sessions (KIP-227): which partitions a follower
// or consumer reads, from where, and which of them have something to say. A
// fetch then costs what changed, not what exists.
//
// It reads no log and knows no error code of a partition: api/fetch.go reads,
// partitions Mark. A fetch without a session gets a Session of its own that is
// in no Cache; so there is one way to park and to wake.
//
// # Invariants
//
//  1. An entry that has something to say is dirty, or is being looked at by the
//     pass that runs (Take) and will be dirty again unless the pass answers it.
//  2. A session with a wake-worthy entry is not parked: Mark and Park meet under
//     Session.mu.
//  3. The cache never holds more than its slots.
//
// # Ownership
//
// Session.Serve serialises requests and completions of one session; entries'
// positions belong to its holder. Session.mu guards dirty, the order and the
// parked request, and is a leaf: Mark takes it with no other lock held.
package session
