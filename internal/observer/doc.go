// Package observer follows the metadata log and keeps one broker's place in
// the cluster: it publishes images of the metadata in order, finds the active
// controller, registers the broker, sends its heartbeats and asks to leave.
//
// It is not a voter and decides nothing about the cluster; and it doesn't know
// partitions: whoever applies metadata subscribes.
//
// # Invariants
//
//  1. Only records below the quorum's high watermark reach an image.
//  2. Images are published in log order, each exactly once, and none before the
//     log has been read to the high watermark that was known at that moment.
//  3. The known high watermark, and the epoch, never go back; the log is never
//     cut below the high watermark.
//  4. A broker is announced as ready only after its first image was applied.
//
// # Ownership
//
// One goroutine owns the log, the loader and the source (Observer.run), another
// the lifecycle (Lifecycle.run). Others read atomics: Observer.Image,
// Observer.Leader, Lifecycle.State.
//
// # Files
//
// A node without the controller role keeps __cluster_metadata-0/ as Kafka does:
// segments, snapshots NNNNNNNNNNNNNNNNNNNN-NNNNNNNNNN.checkpoint, and
// quorum-state, one line of JSON with the last known leader and epoch. All of it
// may be deleted: it is read again from the controllers.
package observer
