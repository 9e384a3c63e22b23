// Package producer keeps what one partition knows about its idempotent and
// transactional producers: which batches came last, which transactions are
// open, and so the last stable offset.
//
// It is not a transaction coordinator (package txn) and never sees the log: it
// is told of each batch before the write (Check) and after it (Appended). It is
// a pure state machine: no lock, clock or disk. Its owner (package partition)
// serialises all calls.
//
// # Invariants
//
//  1. State is a function of the batches in the log, in order: Appended follows
//     whatever the log says and never refuses. Only Check judges.
//  2. An entry remembers at most cachedBatches batches, all of its current
//     epoch, in offset order. That number is also how many requests an
//     idempotent client may have in flight (KIP-98).
//  3. open is ordered by first offset; each open transaction is the txnStart of
//     exactly one entry.
//  4. completed holds transactions whose marker is written but not known to be
//     below the high watermark, ordered by marker offset. Until it is, their
//     records are not stable (KAFKA-8542 has the follower do the same).
//  5. Nothing survives TruncateTo(o) that was learnt from an offset >= o.
//
// # Snapshot file (big endian)
//
//	i16 version 1, u32 CRC-32C of all that follows, i32 count, entries of
//	{i64 producerId, i16 epoch, i32 lastSequence, i64 lastOffset,
//	 i32 offsetDelta (last - first sequence), i64 timestamp,
//	 i32 coordinatorEpoch, i64 currentTxnFirstOffset (-1 none)}
//
// Kafka writes the last batch of each producer. Here a producer has an entry for
// each of its cached batches, oldest first and the earlier ones without a
// transaction, so that after a restart without replay all of them are recognised
// when they are sent again. Kafka keeps the last of several entries.
package producer
