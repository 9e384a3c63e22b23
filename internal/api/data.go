package api

import (
	"fmt"
	"sync"

	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/partition"
	"tidemark/internal/purgatory"
	"tidemark/internal/server"
	"tidemark/internal/session"
	"tidemark/internal/wire"

	"github.com/twmb/franz-go/pkg/kerr"
)

// Partitions is what the data APIs ask of the broker.
type Partitions interface {
	// Partition returns the replica hosted here; an error that wraps
	// partition.ErrNotHosted or ErrStorage if there is none that works.
	Partition(tp model.TopicPartition) (*partition.Partition, error)
	// Image is the newest published metadata; never nil.
	Image() *metadata.Image
}

// DataOptions configure the APIs that read and write partitions.
type DataOptions struct {
	Self       model.BrokerID
	Partitions Partitions
	// Produces, Fetches and Deletes hold the requests that wait.
	Produces, Fetches, Deletes *purgatory.Purgatory
	Sessions                   *session.Cache
	FetchMaxBytes              int32 // fetch.max.bytes; 0 means 57671680
	// RackAware redirects consumers to an in-sync replica in their rack (KIP-392,
	// replica.selector.class = RackAwareReplicaSelector).
	RackAware bool
}

const defaultFetchMaxBytes = 57671680

// RegisterData adds Produce, Fetch, ListOffsets, OffsetForLeaderEpoch and
// DeleteRecords.
func RegisterData(h *Handlers, o DataOptions) {
	if o.FetchMaxBytes <= 0 {
		o.FetchMaxBytes = defaultFetchMaxBytes
	}
	d := &dataAPI{o}
	h.RegisterRaw(wire.KeyProduce, (&produceAPI{d}).handle)
	h.RegisterRaw(wire.KeyFetch, (&fetchAPI{d}).handle)
	h.Register(keyListOffsets, (&listOffsetsAPI{d}).handle)
	h.Register(keyOffsetForLeaderEpoch, (&epochEndAPI{d}).handle)
	h.Register(keyDeleteRecords, (&deleteRecordsAPI{d}).handle)
	h.OnDrained(func(c *server.Conn) {
		if d, ok := c.Attachment.(*drain); ok {
			d.run()
		}
	})
}

type dataAPI struct{ DataOptions }

// drain gathers what the requests of one read of a connection caused together:
// one Perform per partition, one completion per request that waited. It belongs
// to the connection's reader goroutine, and also keeps the memory of its
// decoders.
type drain struct {
	touched  []*partition.Partition
	produced []*produced // acks=all requests, parked after the touched are performed
	ready    purgatory.Ready
	produce  wire.ProduceRequest
	fetch    wire.FetchRequest
}

func drainOf(c *server.Conn) *drain {
	d, ok := c.Attachment.(*drain)
	if !ok {
		d = &drain{}
		c.Attachment = d
	}
	return d
}

// touch notes that p has something to perform.
func (d *drain) touch(p *partition.Partition) {
	// A drain touches few partitions, and mostly the last one again.
	for i := len(d.touched) - 1; i >= 0 && i >= len(d.touched)-8; i-- {
		if d.touched[i] == p {
			return
		}
	}
	d.touched = append(d.touched, p)
}

func (d *drain) run() {
	for i, p := range d.touched {
		p.Perform(&d.ready)
		d.touched[i] = nil
	}
	d.touched = d.touched[:0]
	for i, op := range d.produced {
		op.park(&d.ready)
		d.produced[i] = nil
	}
	d.produced = d.produced[:0]
	d.ready.Run()
}

// named finds a partition by its topic's name. The returned topic is nil if
// the metadata does not know it.
func (d *dataAPI) named(img *metadata.Image, name []byte, index int32) (*metadata.Topic, *partition.Partition, error) {
	return d.hosted(img.Topics.ByName[string(name)], index, partition.ErrUnknownPartition)
}

// identified finds a partition by its topic's id.
func (d *dataAPI) identified(img *metadata.Image, id model.TopicID, index int32) (*metadata.Topic, *partition.Partition, error) {
	return d.hosted(img.Topics.ByID[id], index, partition.ErrUnknownTopicID)
}

func (d *dataAPI) hosted(t *metadata.Topic, index int32, unknown error) (*metadata.Topic, *partition.Partition, error) {
	if t == nil {
		return nil, nil, unknown
	}
	if index < 0 || int(index) >= len(t.Partitions) {
		return t, nil, fmt.Errorf("%s has %d partitions, asked for %d: %w",
			t.Name, len(t.Partitions), index, partition.ErrUnknownPartition)
	}
	p, err := d.Partitions.Partition(model.TopicPartition{Topic: t.Name, Partition: index})
	if err != nil {
		return t, nil, err
	}
	if p.TopicID() != t.ID && !p.TopicID().IsZero() {
		return t, nil, partition.ErrInconsistentTopicID
	}
	return t, p, nil
}

// hints collects where clients should go instead (KIP-951).
type hints struct {
	img      *metadata.Image
	listener string
	nodes    []wire.NodeEndpoint
}

// leader tells the client of t's partition who leads it, as far as is known
// here.
func (h *hints) leader(t *metadata.Topic, index int32) wire.LeaderHint {
	if t == nil || index < 0 || int(index) >= len(t.Partitions) {
		return wire.LeaderHint{}
	}
	p := t.Partitions[index]
	hint := wire.LeaderHint{Known: true, ID: p.Leader, Epoch: p.LeaderEpoch}
	e, ok := h.img.Endpoint(p.Leader, h.listener)
	if !ok {
		return hint
	}
	for _, n := range h.nodes {
		if n.ID == p.Leader {
			return hint
		}
	}
	h.nodes = append(h.nodes, wire.NodeEndpoint{
		ID: p.Leader, Host: e.Host, Port: int32(e.Port), Rack: h.img.Brokers[p.Leader].Rack,
	})
	return hint
}

// scratch is memory for encoding answers; server copies what it is given.
var scratch = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

// Keys without a constant in wire.
const (
	keyListOffsets          int16 = 2
	keyDeleteRecords        int16 = 21
	keyOffsetForLeaderEpoch int16 = 23
)

var (
	errTimedOut      = kerr.RequestTimedOut
	errAfterAppend   = kerr.NotEnoughReplicasAfterAppend
	errInternalTopic = kerr.InvalidTopicException
	errBadAcks       = kerr.InvalidRequiredAcks
	errNoTxnID       = kerr.TransactionalIDAuthorizationFailed
	// errNoTxnCoordinator: nobody can tell whether the transaction exists, nor
	// would anybody ever end it.
	errNoTxnCoordinator = fmt.Errorf("no coordinator of transactions: %w", kerr.NotEnoughReplicas)
	errNoLeaderYet      = kerr.LeaderNotAvailable
	errUnknownVersion   = kerr.UnsupportedVersion
	errBadRequest       = kerr.InvalidRequest
)
