// Package broker is the map of the replicas that this node hosts. It applies
// metadata to them: creates, leads, follows, moves away, deletes; it keeps their
// log directories: loads them at start, writes checkpoints, applies retention;
// and it carries their ISR proposals to the controller.
//
// It decides nothing about replication, and speaks no protocol.
//
// # Invariants
//
//  1. The image is replaced before any replica changes its role, so that whoever
//     asks a replica sees metadata that is at least as new.
//  2. One batch of metadata is applied in this order: deletions, leaders,
//     followers, fetchers, directory assignments. A topic may be created under
//     the name of one that the same batch deletes.
//  3. A partition is in no fetcher while its role changes (KAFKA-13266).
//  4. A replica on a failed directory stays where it is: it is not created
//     again in another directory (KAFKA-16234).
//  5. The marker of a clean shutdown is taken away before the first log is
//     opened, and written after the last one is closed (KAFKA-10471).
//  6. A replica whose log ends below its own high watermark checkpoint has lost
//     committed records. It doesn't lead before it has them again, or somebody
//     has accepted the loss.
//  7. Damaged records are missing records: from their discovery on nobody is given
//     them. A log is cut for damage only while another broker leads and no
//     election could choose this replica, and its debt is on disk before the cut.
//
// # Ownership
//
// Broker.apply serialises changes of the set of replicas; the maps that others
// read are replaced as a whole. Lock order: apply -> fetcher -> partition.
//
// # Files
//
// In each log dir: replication-offset-checkpoint (high watermarks),
// recovery-point-offset-checkpoint, log-start-offset-checkpoint, cleaner-offset-checkpoint,
// .kafka_cleanshutdown, .lock, meta.properties and one directory per replica, as
// Kafka has them.
package broker
