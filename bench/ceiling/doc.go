// Package ceiling is the least that a replicated log in the shape of Kafka must
// do: separate processes, one leader per partition, followers that pull, a CRC
// check at every hop, files, acknowledgements by high watermark, and nothing
// else. No protocol, no metadata, no elections, no timeouts, no recovery. Its
// numbers bound what any broker of this shape can reach on the same machine in
// the same hour.
//
// It is not a broker: it trusts its peers, its partitions are given on the
// command line, and it forgets everything when it ends.
//
// Partition p is led by node p mod N + 1; with RF 3 the two others follow it.
//
//	frame      length int32 | op byte | ...
//	produce    1 | acks byte (1, or 255 for all) | partition uint16 | batch   -> length | error int16
//	replicate  2 | follower byte | n uint16 | n x (partition uint16 | log end int64)
//	           -> length | n uint16 | n x (partition uint16 | high watermark int64 | bytes int32) | data of each
//	consume    3 | partition uint16 | position int64 | max int32              -> length | high watermark int64 | data
//	ping       4                                                              -> length | error int16
//	tail       5 | partition uint16 | position int64 | max int32              -> as consume, once there is something
//
// Positions are bytes in the partition's one file.
//
// Invariants:
//  1. Everything readable is handled before anything is sent: acknowledgements
//     and data of one drain leave in one write for each destination.
//  2. A follower has one replicate request outstanding per leader; the next one
//     is the acknowledgement of the last data.
//  3. No lock is held while a socket is written, except the write lock of that
//     very connection.
package ceiling
