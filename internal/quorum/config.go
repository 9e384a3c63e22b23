package quorum

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"tidemark/internal/commitlog"
	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/vfs"
)

// Errors that callers tell apart.
var (
	// ErrNotLeader means that this node doesn't lead, or doesn't yet serve.
	ErrNotLeader = errors.New("quorum: not the leader")
	// ErrDropped means that a batch was refused before it entered the log: it is
	// certainly not committed.
	ErrDropped = errors.New("quorum: proposal dropped")
	// ErrClosed means that the node is shutting down.
	ErrClosed = errors.New("quorum: closed")
	// ErrTooLarge refuses a batch above 8 MiB.
	ErrTooLarge = errors.New("quorum: batch too large")
	// ErrCorrupt means that the WAL is damaged below what was known durable.
	ErrCorrupt = errors.New("quorum: WAL is damaged")
	// ErrForeignLog means that the directory holds a metadata log that no WAL
	// accounts for, for example Apache Kafka's. Nothing is touched.
	ErrForeignLog = errors.New("quorum: metadata log without a WAL")
	// ErrRefused is returned by Transport.Probe when the peer's host answers and
	// nothing listens: the process is gone.
	ErrRefused = errors.New("quorum: connection refused")
)

// Peer addresses another controller.
type Peer struct {
	Node     model.BrokerID // NoBroker while unknown
	Endpoint metadata.Endpoint
}

// Transport reaches other controllers. All methods may be called concurrently.
type Transport interface {
	// Call sends one frame over a connection of its own to the peer and returns
	// the peer's answer. It keeps the order of calls made one after the other.
	Call(ctx context.Context, to Peer, frame []byte) ([]byte, error)
	// Probe dials the peer's listener. ErrRefused means that its process is gone.
	Probe(ctx context.Context, to Peer) error
}

// Config describes one controller. Zero durations and sizes take the defaults.
type Config struct {
	NodeID      model.BrokerID
	DirectoryID model.DirectoryID
	ClusterID   string
	Dir         string // the __cluster_metadata-0 directory
	FS          vfs.FS
	Voters      []Voter // this node included; NoBroker where only an address is known
	Transport   Transport
	Endpoint    metadata.Endpoint // where peers and brokers reach this node

	Tick          time.Duration // 100 ms
	ElectionTicks int           // 10
	StallLimit    time.Duration // 3 s: a leader whose WAL stalls this long hands over

	SnapshotBytes    int64         // metadata.log.max.record.bytes.between.snapshots, 20 MiB
	SnapshotInterval time.Duration // metadata.log.max.snapshot.interval.ms, 1 h
	RetentionBytes   int64         // metadata.max.retention.bytes, 100 MiB; below 0 without bound
	Retention        time.Duration // metadata.max.retention.ms, 7 days; below 0 without bound
	TrailingEntries  uint64        // WAL entries kept below a snapshot, 1024
	CheckpointBytes  int64         // applied bytes between two checkpoints, 4 MiB

	LogConfig commitlog.Config // segment sizes of the materialised log
	Log       *slog.Logger
}

const maxBatchBytes = 8 << 20

func (c *Config) setDefaults() error {
	if c.NodeID < 0 || c.DirectoryID.IsReserved() {
		return fmt.Errorf("quorum: node %d with directory %s: need a node id and a directory id", c.NodeID, c.DirectoryID)
	}
	if c.Transport == nil || c.FS == nil || c.Dir == "" {
		return errors.New("quorum: need a transport, a file system and a directory")
	}
	defaultTo(&c.Tick, 100*time.Millisecond)
	defaultTo(&c.ElectionTicks, 10)
	defaultTo(&c.StallLimit, 3*time.Second)
	defaultTo(&c.SnapshotBytes, 20<<20)
	defaultTo(&c.SnapshotInterval, time.Hour)
	defaultTo(&c.RetentionBytes, 100<<20)
	defaultTo(&c.Retention, 7*24*time.Hour)
	defaultTo(&c.TrailingEntries, 1024)
	defaultTo(&c.CheckpointBytes, 4<<20)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

func defaultTo[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// View is one consistent answer to "who leads": Leader is NoBroker unless it was
// elected in Epoch (invariant 2).
type View struct {
	Leader model.BrokerID
	Epoch  model.LeaderEpoch
	// Leading: this node is the leader of Epoch. Ready: and may serve (invariant 3).
	Leading, Ready bool
	// HighWatermark is NoOffset unless Ready; LogEnd counts what is applied here.
	HighWatermark, LogEnd, LogStart model.Offset
}
