// Package vfs is the file system as the log sees it: a small interface with
// three implementations. OS is the real one, Mem lives on the heap and can be
// crashed, and NewFaulty injects errors into either.
//
// It is not a general file system: there are no permissions, links or
// appending handles, and every write names its offset.
//
// # Invariants
//
//  1. An OS file owns its descriptor. The descriptor is closed only when the
//     owner has closed the file and no operation is running on it, so its
//     number is never reused under a reader. No *os.File is involved: its
//     finalizer could close a descriptor that sendfile still uses.
//  2. Data is durable after File.Sync, a name after FS.SyncDir of its
//     directory. Mem.CrashClone takes everything else away, partly or wholly.
//  3. The operations on one directory survive a crash in the order in which
//     they were made: a prefix of them, as on a journaling file system. The
//     blocks of one file survive independently of each other.
//
// # Ownership
//
// All implementations are safe for concurrent use. Reads and writes of
// overlapping ranges of one file are not ordered by this package.
package vfs
