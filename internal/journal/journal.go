package journal

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"tidemark/internal/model"
)

// Options configures a Journal; the zero value of a field takes its default.
type Options struct {
	Dir      string // tidemark.state.dir; "" keeps events in memory only
	Node     model.BrokerID
	RingSize int   // events kept in memory; 8192
	MaxBytes int64 // size limit of both files together; 16 MiB
	Now      func() time.Time
	Log      *slog.Logger // every event becomes a log line; nil for none
}

const (
	defaultRing     = 8192
	defaultMaxBytes = 16 << 20
	queueMax        = 4096
)

// Journal is the event stream of one node. All methods are safe for
// concurrent use.
type Journal struct {
	o     Options
	queue chan Event
	done  chan struct{}
	lost  atomic.Uint64
	file  *store // nil without a directory; owned by run

	mu struct {
		sync.Mutex
		ring    []Event // ring[seq % len]
		next    uint64  // Seq of the next event
		oldest  uint64  // Seq of the oldest event in the ring
		subs    map[*Subscription]struct{}
		stopped bool
	}
}

// Open loads what earlier lives of this node left in o.Dir and starts the
// writer. Unreadable files are an error; torn or foreign lines are not.
func Open(o Options) (*Journal, error) {
	if o.RingSize <= 0 {
		o.RingSize = defaultRing
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = defaultMaxBytes
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	j := &Journal{o: o, queue: make(chan Event, queueMax), done: make(chan struct{})}
	j.mu.ring = make([]Event, o.RingSize)
	j.mu.subs = make(map[*Subscription]struct{})
	j.mu.next, j.mu.oldest = 1, 1
	if o.Dir != "" {
		s, old, err := openStore(o.Dir, o.MaxBytes)
		if err != nil {
			return nil, err
		}
		j.file = s
		j.restore(old)
	}
	go j.run()
	return j, nil
}

func (j *Journal) restore(old []Event) {
	for _, e := range old {
		if e.Seq < j.mu.next {
			continue // invariant 2: a copied or damaged file can't turn the sequence back
		}
		if e.Seq > j.mu.next {
			j.mu.oldest = e.Seq // a gap: readers see that events are missing
		}
		j.put(e)
	}
}

// put stores e, whose Seq is set, in the ring. The caller holds mu.
func (j *Journal) put(e Event) {
	size := uint64(len(j.mu.ring))
	j.mu.ring[e.Seq%size] = e
	j.mu.next = e.Seq + 1
	if j.mu.next-j.mu.oldest > size {
		j.mu.oldest = j.mu.next - size
	}
}

// Emit adds an event. It sets Seq, Node and, if zero, At. It never blocks
// (invariant 1), so it may be called under any lock.
func (j *Journal) Emit(e Event) {
	if e.At.IsZero() {
		e.At = j.o.Now()
	}
	if e.Node == model.NoBroker {
		e.Node = j.o.Node
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	e.Seq = j.mu.next
	j.put(e)
	if j.mu.stopped {
		return
	}
	select {
	case j.queue <- e:
	default:
		j.lost.Add(1)
	}
	for s := range j.mu.subs {
		s.offer(e)
	}
}

// Lost counts the events that are in the ring, but missing in the file and
// the log because the writer was too slow.
func (j *Journal) Lost() uint64 { return j.lost.Load() }

// Filter selects events; the zero value selects all.
type Filter struct {
	After  uint64               // only Seq > After
	Of     model.TopicPartition // only this partition, if Of.Topic is set
	Kinds  []Kind               // only these, if any
	Newest int                  // only the newest n matching, if > 0
}

func (f Filter) match(e Event) bool {
	if e.Seq <= f.After {
		return false
	}
	if f.Of.Topic != "" && (e.Topic != f.Of.Topic || e.Partition != f.Of.Partition) {
		return false
	}
	if len(f.Kinds) == 0 {
		return true
	}
	for _, k := range f.Kinds {
		if k == e.Kind {
			return true
		}
	}
	return false
}

// Events returns the matching events that are still in memory, oldest first.
func (j *Journal) Events(f Filter) []Event {
	j.mu.Lock()
	defer j.mu.Unlock()
	var out []Event
	size := uint64(len(j.mu.ring))
	for seq := j.mu.next; seq > j.mu.oldest; seq-- { // newest first, so that Newest can stop early
		e := j.mu.ring[(seq-1)%size]
		if e.Seq != seq-1 || !f.match(e) {
			continue
		}
		out = append(out, e)
		if f.Newest > 0 && len(out) == f.Newest {
			break
		}
	}
	for a, b := 0, len(out)-1; a < b; a, b = a+1, b-1 {
		out[a], out[b] = out[b], out[a]
	}
	return out
}

// Close writes what is queued and closes the file. Later events stay in memory.
func (j *Journal) Close() error {
	j.mu.Lock()
	if j.mu.stopped {
		j.mu.Unlock()
		<-j.done
		return nil
	}
	j.mu.stopped = true
	for s := range j.mu.subs {
		s.end()
	}
	clear(j.mu.subs)
	close(j.queue) // under mu: Emit sends under mu only
	j.mu.Unlock()
	<-j.done
	if j.file == nil {
		return nil
	}
	return j.file.close()
}

func (j *Journal) run() {
	defer close(j.done)
	failed := false
	for e := range j.queue {
		if j.o.Log != nil {
			logEvent(j.o.Log, e)
		}
		if j.file == nil || failed {
			continue
		}
		if err := j.file.append(e); err != nil {
			failed = true // the journal is evidence, not data: the broker goes on without its file
			if j.o.Log != nil {
				j.o.Log.Error("replication journal stops writing to disk", "error", err)
			}
		}
	}
}
