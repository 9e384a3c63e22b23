// Package quorum is the controllers' agreement: it carries batches of metadata
// records through Raft and materialises the committed ones as Kafka's
// __cluster_metadata log, which brokers and tools fetch.
//
// It is not the controller: it decides nothing about topics or brokers (that is
// package controller, driven by package active), and it is not the broker's
// follower of the log (package observer).
//
// # Two logs
//
// The WAL (files *.wal in the __cluster_metadata-0 directory) is private: Raft
// entries, HardState, ConfState, membership. It is fsynced before any message
// that depends on it leaves. The materialised log is a deterministic function
// of the committed entries: offset and epoch are stamped when an entry is
// applied, so every controller's log is byte-identical. It isn't fsynced per
// batch: after a crash it is cut to the last checkpoint recorded in the WAL and
// rebuilt from the WAL's entries.
//
// Raft indexes and Kafka offsets are different numbers: empty entries, conf
// changes and dropped proposals have an index and no offset.
//
// # Goroutines
//
//	loop      owns the RawNode; never blocks on disk or network
//	writer    writes the WAL, one fsync for everything queued
//	applier   owns the materialised log, the metadata image and the membership
//	sender    one per peer: sends queued Raft messages, one request in flight
//	joiner    speaks the formation protocol until this node belongs to a quorum
//
// # Invariants
//
//  1. A message that depends on an entry, a vote or a term leaves this node only
//     after the WAL holding it has been fsynced.
//  2. A view names a leader only together with the term that elected it: both
//     come from the same Ready.
//  3. A leader serves fetches and proposals only after a batch of its own term
//     has been committed and applied here; until then the high watermark is -1.
//     Otherwise a broker ahead of this node's applied log would be told that it
//     diverged below its own high watermark.
//  4. An entry whose proposer's term differs from the entry's term is dropped by
//     everyone, at apply, without an offset.
//  5. Offsets are dense and equal on every controller; entry payloads are copied
//     before they are stamped.
//  6. The WAL is trimmed only below a durable snapshot and a durable materialised
//     offset.
//  7. A conf change is acknowledged to Raft only after the resulting
//     configuration is durable.
//  8. The start of the materialised log is 0 or the end offset of a snapshot that
//     is on disk.
//  9. A node whose WAL is empty never votes under an identity that voted before:
//     the Raft id is a hash of directory.id and of a number drawn when the WAL
//     was created. See docs/design/0001-quorum-formation.md.
//  10. This node's own observer is told no high watermark before the log, which is
//     cut at open, is again as long as it was: its broker would live through its
//     own past, and lead in epochs that its replicas' logs are beyond.
//
// # WAL format
//
// A file is a sequence of frames; numbers are big-endian:
//
//	magic u32 | length u32 | crc32c u32 | synced u64 | type u8 | payload
//
// length counts type and payload; the checksum covers synced, type and payload.
// synced is how much of the file was known durable when the frame was written:
// a bad frame below some later frame's synced is damage, not a torn tail, and
// the node refuses to start. Types: 1 identity, 2 formation, 3 hard state,
// 4 entries, 5 applied checkpoint, 6 snapshot installed. The file is replaced as
// a whole (written aside, fsynced, renamed) when it is trimmed.
package quorum
