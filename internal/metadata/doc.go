// Package metadata is the state of the cluster and the only way to change it:
// an immutable Image, a Delta of replayed records, and the codec of Kafka's
// metadata records, control records and snapshots.
//
// It decides nothing (that is package controller), keeps no log and does no
// I/O, and knows no defaults of configurations.
//
// # Invariants
//
//  1. A published Image never changes, nor does anything reachable from it. A
//     Delta copies what it touches: top-level maps, and of a topic only its
//     slice of pointers and the partitions that change.
//  2. The partitions of a topic are dense: index = partition id.
//  3. A partition has replicas, and exactly one directory id for each.
//  4. The partition epoch grows by one with every PartitionChangeRecord, and when
//     ClearELRRecord clears something; the leader epoch grows by one iff the
//     record has a leader, even the same one.
//  5. Decoding allocates no more than a small multiple of the bytes it reads.
//  6. Replaying the records of SnapshotRecords(i) on an empty image gives i.
//
// # Ownership
//
// Records, images and what they point to are shared freely between goroutines
// once published; slices move from a decoded record into the image without a
// copy, so a record must not be modified after it was replayed. Delta and Loader
// belong to one goroutine.
//
// # Format
//
// A data record's key is null and its value is
//
//	uvarint frame version (1) | uvarint key | uvarint version | body
//
// and a control record's key and value are
//
//	int16 0 | int16 type            int16 version | body
//
// Bodies use Kafka's flexible encoding: compact lengths (n+1, 0 is null), and
// tagged fields, written only when they are not the default, at the end of
// every struct. Structs and codec are generated from the tables in gen.
package metadata
