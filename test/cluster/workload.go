package cluster

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Workload is a continuous acks=all idempotent producer with a consumer beside
// it. Values are numbered per partition, so the history shows every lost,
// duplicated, reordered or invented record.
type Workload struct {
	T          testing.TB
	Topic      string
	Partitions int32
	bootstrap  string

	producer, consumer   *kgo.Client
	cancel, stopReading  context.CancelFunc
	producing, consuming sync.WaitGroup

	mu     sync.Mutex
	acked  []map[int64]string // by partition: offset -> value
	seen   []map[int64]string
	seenAt []int64 // next offset that the consumer expects
	starts []int64 // records below it were deleted on purpose
	broken []string
	failed []string
	origin []map[int64]string // where the final read found the record: producer and leader epoch
	lastAt time.Time          // of the newest acknowledgement
	gap    time.Duration      // longest between two
	count  atomic.Int64
}

// CreateTopic creates a topic with a client from outside this project.
func CreateTopic(t testing.TB, bootstrap, name string, partitions int32, replicas int16, configs map[string]string) {
	t.Helper()
	cl := Client(t, bootstrap)
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cfg := map[string]*string{}
	for k, v := range configs {
		cfg[k] = &v
	}
	if r, err := kadm.NewClient(cl).CreateTopic(ctx, partitions, replicas, cfg, name); err != nil {
		t.Fatalf("creating %s: %v (%s)", name, err, r.ErrMessage)
	}
}

// CreateAssigned creates a topic of one partition whose replicas are these
// brokers, the first one the preferred leader, and waits for that leader.
func CreateAssigned(t testing.TB, bootstrap, name string, replicas ...int) {
	t.Helper()
	cl := Client(t, bootstrap)
	defer cl.Close()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, -1, -1
	a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
	for _, r := range replicas {
		a.Replicas = append(a.Replicas, int32(r))
	}
	topic.ReplicaAssignment = append(topic.ReplicaAssignment, a)
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Topics, req.TimeoutMillis = append(req.Topics, topic), 30_000
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	resp, err := req.RequestWith(ctx, cl)
	if err == nil {
		err = kerr.ErrorForCode(resp.Topics[0].ErrorCode)
	}
	if err != nil {
		t.Fatalf("creating %s on %v: %v", name, replicas, err)
	}
	if got := Leader(t, bootstrap, name, 0); got != int32(replicas[0]) {
		t.Fatalf("%s on %v is led by %d", name, replicas, got)
	}
}

// DeleteTopic deletes a topic.
func DeleteTopic(t testing.TB, bootstrap, name string) {
	t.Helper()
	cl := Client(t, bootstrap)
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if r, err := kadm.NewClient(cl).DeleteTopic(ctx, name); err != nil || r.Err != nil {
		t.Fatalf("deleting %s: %v %v", name, err, r.Err)
	}
}

// Client makes a franz-go client.
func Client(t testing.TB, bootstrap string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(strings.Split(bootstrap, ",")...), kgo.MetadataMinAge(100 * time.Millisecond)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return cl
}

// ProducerID and ConsumerID are the client ids of a workload.
const ProducerID, ConsumerID = "workload-producer", "workload-consumer"

// Impatient clients give up on a broker after two seconds instead of five.
var Impatient = []kgo.Opt{kgo.ProduceRequestTimeout(time.Second), kgo.RequestTimeoutOverhead(time.Second)}

// StartWorkload begins to produce to and consume from an existing topic, about
// a thousand records a second. The options are for both clients.
func StartWorkload(t testing.TB, bootstrap, topic string, partitions int32, opts ...kgo.Opt) *Workload {
	t.Helper()
	w := &Workload{T: t, Topic: topic, Partitions: partitions, bootstrap: bootstrap, seenAt: make([]int64, partitions), starts: make([]int64, partitions)}
	for range partitions {
		w.acked, w.seen = append(w.acked, map[int64]string{}), append(w.seen, map[int64]string{})
	}
	w.producer = Client(t, bootstrap, append([]kgo.Opt{kgo.ClientID(ProducerID), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.DefaultProduceTopic(topic),
		kgo.RecordDeliveryTimeout(3 * time.Minute), kgo.ProducerLinger(0), kgo.RecordRetries(1 << 30),
		kgo.StopProducerOnDataLossDetected(), kgo.WithLogger(lossLogger{w}), // else it starts anew, and what waited comes twice
		kgo.ProduceRequestTimeout(3 * time.Second), kgo.RequestTimeoutOverhead(2 * time.Second)}, opts...)...)
	parts := map[int32]kgo.Offset{}
	for p := range partitions {
		parts[p] = kgo.NewOffset().AtStart()
	}
	w.consumer = Client(t, bootstrap, append([]kgo.Opt{kgo.ClientID(ConsumerID), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: parts}),
		kgo.FetchMaxWait(200 * time.Millisecond), kgo.RequestTimeoutOverhead(2 * time.Second)}, opts...)...)
	pctx, cancel := context.WithCancel(context.Background())
	cctx, stop := context.WithCancel(context.Background())
	w.cancel, w.stopReading = cancel, stop
	w.producing.Go(func() { w.produce(pctx) })
	w.consuming.Go(func() { w.consume(cctx) })
	t.Cleanup(func() { cancel(); stop(); w.producer.Close(); w.consumer.Close() })
	return w
}

// lossLogger takes what the client says about batches that the broker refused for good.
type lossLogger struct{ w *Workload }

func (l lossLogger) Level() kgo.LogLevel { return kgo.LogLevelInfo }

func (l lossLogger) Log(_ kgo.LogLevel, msg string, keyvals ...any) {
	if strings.HasPrefix(msg, "batch errored") {
		l.w.mu.Lock()
		defer l.w.mu.Unlock()
		l.w.broken = append(l.w.broken, fmt.Sprintln(append([]any{time.Now().Format("15:04:05.000"), msg}, keyvals...)...))
	}
}

func (w *Workload) produce(ctx context.Context) {
	tick := time.NewTicker(3 * time.Millisecond)
	defer tick.Stop()
	for seq := int64(0); ; seq++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for p := range w.Partitions {
			r := &kgo.Record{Partition: p, Value: []byte(fmt.Sprintf("%d:%d", p, seq))}
			w.producer.Produce(context.Background(), r, w.produced)
		}
	}
}

func (w *Workload) produced(r *kgo.Record, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.failed = append(w.failed, fmt.Sprintf("%s: %v", r.Value, err))
		return
	}
	if old, ok := w.acked[r.Partition][r.Offset]; ok {
		w.broken = append(w.broken, fmt.Sprintf("partition %d offset %d acknowledged for %s and for %s", r.Partition, r.Offset, old, r.Value))
	}
	w.acked[r.Partition][r.Offset] = string(r.Value)
	w.count.Add(1)
	now := time.Now()
	if !w.lastAt.IsZero() {
		w.gap = max(w.gap, now.Sub(w.lastAt))
	}
	w.lastAt = now
}

// LongestGap is the longest time between two acknowledgements so far.
func (w *Workload) LongestGap() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.gap
}

// NewGap begins to measure LongestGap anew.
func (w *Workload) NewGap() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gap, w.lastAt = 0, time.Now()
}

func (w *Workload) consume(ctx context.Context) {
	for ctx.Err() == nil {
		fs := w.consumer.PollFetches(ctx)
		w.mu.Lock()
		for r := range fs.RecordsAll() {
			if r.Offset != w.seenAt[r.Partition] {
				w.broken = append(w.broken, fmt.Sprintf("partition %d: the consumer went from offset %d to %d", r.Partition, w.seenAt[r.Partition], r.Offset))
			}
			w.seenAt[r.Partition] = r.Offset + 1
			w.seen[r.Partition][r.Offset] = string(r.Value)
		}
		w.mu.Unlock()
	}
}

// Acked is how many records have been acknowledged so far.
func (w *Workload) Acked() int64 { return w.count.Load() }

// WaitMore waits until n further records have been acknowledged.
func (w *Workload) WaitMore(n int64, limit time.Duration) {
	w.T.Helper()
	want := w.Acked() + n
	Eventually(w.T, limit, func() error {
		w.mu.Lock()
		broken := append(append([]string{}, w.broken...), w.failed...)
		w.mu.Unlock()
		if len(broken) > 0 {
			w.T.Fatalf("%d things went wrong, the first ones: %s", len(broken), strings.Join(broken[:min(len(broken), 6)], "; "))
		}
		if got := w.Acked(); got < want {
			return fmt.Errorf("%d records acknowledged, want %d", got, want)
		}
		return nil
	})
}

// Finish stops producing, waits for every answer, reads everything once more
// with a fresh consumer and judges the history.
func (w *Workload) Finish() {
	w.T.Helper()
	w.cancel()
	w.producing.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := w.producer.Flush(ctx); err != nil {
		w.T.Fatalf("the producer could not finish: %v", err)
	}
	w.catchUp(time.Minute)
	w.stopReading()
	w.consuming.Wait()
	final := w.readAll(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range w.failed {
		w.T.Errorf("produce failed: %s", f)
	}
	for _, b := range w.broken {
		w.T.Errorf("while running: %s", b)
	}
	total := 0
	for p := range w.Partitions {
		h := history{partition: p, acked: w.acked[p], seen: w.seen[p], final: final[p], origin: w.origin[p], start: w.starts[p]}
		for _, fault := range h.judge() {
			w.T.Errorf("partition %d: %s", p, fault)
		}
		total += len(w.acked[p])
	}
	w.T.Logf("%s: %d records acknowledged, each found once and in order", w.Topic, total)
}

// catchUp waits until the consumer has seen all that was acknowledged; what it
// hasn't then, judge reports.
func (w *Workload) catchUp(limit time.Duration) {
	w.mu.Lock()
	ends := make([]int64, w.Partitions)
	for p := range w.Partitions {
		for off := range w.acked[p] {
			ends[p] = max(ends[p], off+1)
		}
	}
	w.mu.Unlock()
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); <-time.After(20 * time.Millisecond) {
		w.mu.Lock()
		behind := false
		for p, at := range w.seenAt {
			behind = behind || at < ends[p]
		}
		w.mu.Unlock()
		if !behind {
			return
		}
	}
}

// Seen is how far the consumer has read the partition.
func (w *Workload) Seen(partition int32) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seenAt[partition]
}

// Deleted says that records below the offset were deleted on purpose. The
// consumer must have passed it.
func (w *Workload) Deleted(partition int32, below int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.starts[partition] = max(w.starts[partition], below)
}

// readAll reads every partition from start to end.
func (w *Workload) readAll(ctx context.Context) []map[int64]string {
	w.T.Helper()
	adm := kadm.NewClient(w.producer)
	ends, err := adm.ListEndOffsets(ctx, w.Topic)
	if err != nil {
		w.T.Fatal(err)
	}
	parts, left := map[int32]kgo.Offset{}, map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Err != nil {
			w.T.Fatalf("end of %s-%d: %v", o.Topic, o.Partition, o.Err)
		}
		parts[o.Partition] = kgo.NewOffset().AtStart()
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	cl := Client(w.T, w.bootstrap, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{w.Topic: parts}))
	defer cl.Close()
	out := make([]map[int64]string, w.Partitions)
	w.origin = make([]map[int64]string, w.Partitions)
	for i := range out {
		out[i], w.origin[i] = map[int64]string{}, map[int64]string{}
	}
	for len(left) > 0 {
		fs := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			w.T.Fatalf("final read: %v missing", left)
		}
		for r := range fs.RecordsAll() {
			out[r.Partition][r.Offset] = string(r.Value)
			w.origin[r.Partition][r.Offset] = fmt.Sprintf("producer %d epoch %d, leader epoch %d", r.ProducerID, r.ProducerEpoch, r.LeaderEpoch)
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
		}
	}
	return out
}

// Leader asks for the leader of a partition.
func Leader(t testing.TB, bootstrap, topic string, partition int32) int32 {
	t.Helper()
	cl := Client(t, bootstrap)
	defer cl.Close()
	var leader int32 = -1
	Eventually(t, 30*time.Second, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		md, err := kadm.NewClient(cl).Metadata(ctx, topic)
		if err != nil {
			return err
		}
		p, ok := md.Topics[topic].Partitions[partition]
		if leader = p.Leader; !ok || leader < 0 {
			return fmt.Errorf("%s-%d has no leader", topic, partition)
		}
		return nil
	})
	return leader
}

// WaitISR waits until every partition of the topic has n in-sync replicas.
func WaitISR(t testing.TB, bootstrap, topic string, n int, limit time.Duration) {
	t.Helper()
	cl := Client(t, bootstrap)
	defer cl.Close()
	Eventually(t, limit, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		md, err := kadm.NewClient(cl).Metadata(ctx, topic)
		if err != nil {
			return err
		}
		for _, p := range md.Topics[topic].Partitions.Sorted() {
			if len(p.ISR) != n || p.Leader < 0 {
				return fmt.Errorf("%s-%d: leader %d, isr %v, want %d in sync", topic, p.Partition, p.Leader, p.ISR, n)
			}
		}
		return nil
	})
}
