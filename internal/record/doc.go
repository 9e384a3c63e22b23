// Package record reads, checks and builds record batches in Kafka's format v2,
// working on the bytes that came from the network or the disk.
//
// It is not a log and not a protocol layer: it knows nothing of files,
// requests, leaders or producer state. A Batch is a view; nothing here copies
// the records of an uncompressed batch.
//
// # Format (big endian)
//
//	 0 i64 baseOffset             outside the CRC, set by the leader
//	 8 i32 batchLength            bytes after this field
//	12 i32 partitionLeaderEpoch   outside the CRC, set by the leader
//	16 i8  magic                  2
//	17 u32 crc                    CRC-32C of everything from 21 on
//	21 i16 attributes             0-2 codec, 3 append time, 4 transactional,
//	                              5 control, 6 delete horizon
//	23 i32 lastOffsetDelta
//	27 i64 baseTimestamp          ms; the delete horizon if bit 6 is set
//	35 i64 maxTimestamp           ms
//	43 i64 producerId             -1 none
//	51 i16 producerEpoch          -1 none
//	53 i32 baseSequence           -1 none
//	57 i32 recordsCount
//	61     records                one compressed block, or plain
//
// A record is: varint length, i8 attributes, varlong timestampDelta, varint
// offsetDelta, varint key length (-1 null) and key, the same for the value,
// varint header count, and per header a key and a nullable value. Varints are
// zig-zag.
//
// # Invariants
//
//  1. A Batch holds exactly one whole batch: len(b) == 12 + batchLength, and at
//     least HeaderSize bytes. Next is the only way to make one from foreign
//     bytes, so accessors need no bounds checks.
//  2. No length read from the input is used to allocate before it was compared
//     with what is there or with an explicit limit.
//  3. Decompression is bounded by the caller's limit, whatever the compressed
//     stream declares about itself.
//  4. Only Stamp, StampAppendTime, UpdateCRC and Validate (which corrects a
//     wrong maxTimestamp) change bytes; each leaves the CRC valid.
//
// # Ownership
//
// A Batch aliases the slice that it was framed from. Records of an uncompressed
// batch alias it too; records of a compressed one alias a fresh buffer. Batches
// are not synchronised: whoever stamps one must own it.
package record
