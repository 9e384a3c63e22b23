// Package commitlog stores the batches of one replica in segment files, in
// Kafka's on-disk format: Apache's tools and brokers read what it writes, and
// it opens what they wrote.
//
// It knows no roles: leader, follower, high watermark and in-sync set mean
// nothing here. It doesn't assign offsets, doesn't check a CRC on append, and
// keeps no producer state, only snapshots of it that the caller encodes.
//
// # Invariants
//
//  1. One writer: everything that changes a log holds its lock. Readers take
//     none: they load the end, then the list of segments, which is immutable,
//     then a segment's tail. Each is published after what it promises: bytes,
//     index, tail, end.
//  2. A segment only grows. Base offset, file position and index entries that a
//     reader has seen stay true for as long as the segment is in the view.
//  3. A truncation publishes a new view, in which the cut segment is replaced
//     by another one, before it touches a file. A reader of the old view sees
//     that the count of truncations has changed and starts again; a Slice that
//     was taken before it knows that it is no longer valid.
//  4. Whatever a crash takes, an opened log is a prefix of what was appended,
//     without a hole, and contains everything below Flushed. Files are
//     therefore changed in this order: segments leave from the end, the
//     directory is synced, the last segment is cut and synced; only then are
//     new bytes written at the same places.
//  5. Leader epochs and their start offsets both grow strictly. The epoch file
//     is durable before the recovery point passes an entry; entries above it
//     are found again in the batches.
//  6. Compaction replaces whole segments by one, never the active one: a
//     segment that a reader holds doesn't change, offsets and the log end don't
//     either, and segments still join without a hole. Until the new files are
//     durable under their .swap names nothing else has happened; from then on
//     the originals are as good as gone (replace).
//  7. After a failed write or sync the log takes no more writes, and the
//     operation is never tried again (ErrIO).
//
// # Files
//
// In the partition's directory, NNN being a base offset of 20 digits, numbers
// big endian:
//
//	NNN.log        batches, one after the other
//	NNN.index      {u32 last offset of a batch - NNN, u32 position of the batch}
//	NNN.timeindex  {i64 largest timestamp so far, u32 offset - NNN}, both growing
//	NNN.txnindex   {i16 0, i64 producer id, i64 first, i64 last, i64 last stable offset}
//	NNN.snapshot   producer state of everything below NNN
//	leader-epoch-checkpoint   text: 0, count, lines of "epoch start"
//	partition.metadata        text: version: 0, topic_id: id
//	*.deleted *.cleaned *.swap *.tmp   on their way; finished or removed by Open
//
// The indexes of the segment being written are on the heap and reach their
// files when it is closed, by a roll or a clean shutdown, and as far as a
// restart point needs them (restart.go). Those of closed
// segments are searched in the file, not loaded. An index that is missing or
// can't be right is built again.
//
// # Ownership
//
// The caller (package partition) serialises appends and truncations with its
// own state; flushes, retention, compaction and reads may run beside them. The caller
// writes the checkpoints of its log directory, and the recovery point at once
// after a truncation that lowered it.
package commitlog
