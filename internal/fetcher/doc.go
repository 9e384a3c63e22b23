// Package fetcher copies records from partition leaders into this broker's
// following replicas: one loop, one connection and one incremental fetch
// session (KIP-227) per leader and fetcher id.
//
// It decides nothing about offsets: where to cut a log is decided by package
// replica, and the log belongs to package partition.
//
// # Invariants
//
//  1. After Remove has returned, or Add has returned for a new leader epoch, the
//     loop that had the partition before touches it no more.
//  2. A response counts for a partition only if the offset and leader epoch that
//     were asked for are still the ones that it fetches.
//  3. A partition in trouble waits or fails alone; the others of its loop go on.
//  4. At most one fetch per loop is in flight: the next one acknowledges what
//     the last one brought.
//  5. A broker that isn't registered doesn't fetch: until then the controller may
//     count on an earlier life of it, with another disk, and a fetch without a
//     broker epoch passes for one of that life (KIP-903).
//
// # Ownership
//
// Fetchers.mu guards the map of loops and assignments; loop.mu the partitions of
// one loop; follower.mu one partition while a response is applied to it. They
// are taken in this order. The connection and the session belong to the loop's
// goroutine.
package fetcher
