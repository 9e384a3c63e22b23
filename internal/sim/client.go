package sim

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"tidemark/internal/controller"
	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/partition"
	"tidemark/internal/producer"
	"tidemark/internal/record"
)

// Names of topics: one that stays, and one that is deleted and made again.
const (
	topic    = "t"
	fleeting = "u"
)

// clients are the producers and consumers of a world, and the admin who makes
// the topic.
type clients struct {
	w         *World
	admin     node
	producers []*producerClient
	consumers []*consumerClient
	last      int // id
	churning  bool
	made      map[model.TopicID]bool
}

func (c *clients) start(w *World) {
	c.w, c.made = w, map[model.TopicID]bool{}
	c.admin = node{id: 200, name: "admin", up: true}
	w.after(500*ms, &c.admin, "create topic", c.createTopic)
}

func (c *clients) createTopic() {
	w := c.w
	img := w.quorum.image()
	if len(img.LiveBrokers()) < len(w.brokers) {
		w.after(100*ms, &c.admin, "create topic", c.createTopic)
		return
	}
	c.create(topic, int32(w.cfg.Partitions), func(t *metadata.Topic) {
		if t == nil {
			w.after(200*ms, &c.admin, "create topic", c.createTopic)
			return
		}
		c.join(t)
	})
}

// create makes a topic; done gets what is committed by then.
func (c *clients) create(name string, partitions int32, done func(*metadata.Topic)) {
	req := &controller.CreateTopics{Topics: []controller.NewTopic{{
		Name: name, Partitions: partitions, ReplicationFactor: 3, Configs: c.w.topicConfigs(),
	}}}
	c.ask("create topics", req, func(resp any, err error) { done(c.w.quorum.image().Topics.ByName[name]) })
}

// churn deletes the fleeting topic, or makes it again under its name. Whoever
// wrote to it or read it stays with the one that is gone.
func (c *clients) churn() {
	w := c.w
	if c.churning || len(c.producers) == 0 {
		return
	}
	c.churning = true
	if t := w.quorum.image().Topics.ByName[fleeting]; t != nil {
		w.logf(nil, "deletes topic %s", t.Name)
		req := &controller.DeleteTopics{Topics: []controller.TopicRef{{Name: fleeting}}}
		c.ask("delete topics", req, func(resp any, _ error) {
			c.churning = false
			if r, ok := resp.(*controller.DeleteTopicsResponse); ok && !r.Topics[0].Failed() && !w.check.deletedIDs[t.ID] {
				w.fail("topic %s was deleted, and is there", t.ID)
			}
			if w.chance(70) && w.now < w.cfg.Heal {
				c.churn()
			}
		})
		return
	}
	c.create(fleeting, 1, func(t *metadata.Topic) {
		if c.churning = false; t != nil && !c.made[t.ID] {
			if len(c.made) > 0 {
				w.rare.hit(TopicMadeAgain)
			}
			c.made[t.ID] = true
			c.join(t)
		}
	})
}

// ask sends an administrator's request to the leader of the quorum.
func (c *clients) ask(kind string, req any, done func(resp any, err error)) {
	l := c.w.quorum.leader
	if l == nil {
		done(nil, errRefused)
		return
	}
	c.w.call(&c.admin, &l.node, toController, kind, c.w.cfg.Timeout, func(reply func(any)) {
		l.submit(req, func(resp any, _ error) { reply(resp) })
	}, done)
}

func (w *World) topicConfigs() []controller.ConfigEntry {
	minISR, unclean := strconv.Itoa(w.cfg.MinISR), strconv.FormatBool(w.cfg.Unclean)
	return []controller.ConfigEntry{
		{Name: "min.insync.replicas", Value: &minISR}, {Name: "unclean.leader.election.enable", Value: &unclean},
	}
}

// join lets producers and consumers use a new topic.
func (c *clients) join(t *metadata.Topic) {
	w := c.w
	var producers []*producerClient
	var consumers []*consumerClient
	for p := range t.Partitions {
		of := part{model.TopicPartition{Topic: t.Name, Partition: int32(p)}, t.ID}
		for range w.cfg.Producers {
			producers = append(producers, newProducer(w, c.newID(), of, -1, model.ProducerID(1000+c.last)))
		}
		if w.cfg.WeakAcks {
			producers = append(producers, newProducer(w, c.newID(), of, int16(p%2), model.NoProducerID))
		}
		consumers = append(consumers, newConsumer(w, c.newID(), of))
	}
	for _, p := range producers {
		w.after(w.upTo(second), &p.node, "produce", p.next)
	}
	for _, k := range consumers {
		w.after(w.upTo(second), &k.node, "consume", k.poll)
	}
	c.producers, c.consumers = append(c.producers, producers...), append(c.consumers, consumers...)
}

func (c *clients) newID() int {
	c.last++
	return 200 + c.last
}

// leaderOf is whom a client takes for the leader: what some broker's metadata says.
func (w *World) leaderOf(of part) (*broker, model.LeaderEpoch) {
	b := w.brokers[w.rng.IntN(len(w.brokers))]
	if !b.up || b.img == nil {
		return nil, model.NoLeaderEpoch
	}
	_, p, ok := b.img.PartitionByID(of.key())
	if !ok || p.Leader == model.NoBroker {
		return nil, model.NoLeaderEpoch
	}
	return w.brokers[p.Leader-1], p.LeaderEpoch
}

// producerClient is an idempotent producer with up to five batches in flight
// on one partition, which retries for ever; or a plain one with weaker acks.
type producerClient struct {
	node
	part
	w     *World
	acks  int16
	pid   model.ProducerID
	seq   int32
	sent  int
	known bool       // the first batch was acknowledged
	by    purpose    // connection in use
	queue []*sending // not acknowledged, oldest first
}

type sending struct {
	seq   int32
	batch []byte
	out   bool // a request is in flight
	tried bool
	again bool // it was sent before
	done  bool
}

func newProducer(w *World, id int, of part, acks int16, pid model.ProducerID) *producerClient {
	return &producerClient{node: node{id: id, name: fmt.Sprintf("p%d", id), up: true}, part: of, w: w, acks: acks, pid: pid, by: fromClient}
}

const inFlightMax = 5

// next makes a batch, unless too many are out or the world is to come to rest.
func (p *producerClient) next() {
	w := p.w
	if w.now > w.cfg.Heal+second || p.sent >= w.cfg.Batches || w.check.deletedIDs[p.topic] {
		return
	}
	n := 1 + w.rng.IntN(3)
	for range n {
		if len(p.queue) < inFlightMax {
			p.make()
		}
	}
	p.pump()
	w.after(w.upTo(w.cfg.ThinkMax), &p.node, "produce", p.next)
}

func (p *producerClient) make() {
	var b record.Builder
	if p.pid != model.NoProducerID {
		b.SetProducer(p.pid, 0, p.seq)
	}
	count := 1 + p.w.rng.IntN(3)
	for i := range count {
		var value [12]byte
		binary.BigEndian.PutUint32(value[:], uint32(p.id))
		binary.BigEndian.PutUint64(value[4:], uint64(p.seq)+uint64(i))
		b.Add(p.w.time(&p.node).UnixMilli(), nil, value[:])
	}
	p.queue = append(p.queue, &sending{seq: p.seq, batch: b.Build()})
	p.seq += int32(count)
	p.sent++
}

// pump sends what is not out. A batch that is sent again goes alone, and so does
// the very first: a broker takes any first sequence of a producer.
func (p *producerClient) pump() {
	if p.w.check.deletedIDs[p.topic] {
		return
	}
	to, _ := p.w.leaderOf(p.part)
	for i, s := range p.queue {
		if s.out || s.done {
			continue
		}
		if i > 0 && p.acks == -1 && (s.again || !p.known || p.queue[0].again) {
			return
		}
		if to == nil {
			p.w.after(100*ms, &p.node, "retry", p.pump)
			return
		}
		p.send(s, to)
	}
}

func (p *producerClient) send(s *sending, to *broker) {
	s.out, s.again = true, s.again || s.tried
	s.tried = true
	w := p.w
	if p.pid != model.NoProducerID && w.chance(w.cfg.Copies) {
		w.call(&p.node, &to.node, fromClientAgain-p.by+fromClient, "produce copy", w.cfg.Timeout,
			func(reply func(any)) { w.rare.hit(DuplicateSent); to.produce(p.part, s.batch, p.acks, reply) },
			func(any, error) {})
	}
	w.call(&p.node, &to.node, p.by, "produce", w.cfg.Timeout+w.cfg.Timeout/2,
		func(reply func(any)) { to.produce(p.part, s.batch, p.acks, reply) },
		func(resp any, err error) {
			s.out = false
			r, ok := resp.(produced)
			if ok && err == nil {
				err = r.err
			}
			p.answered(s, err, r)
		})
}

func (p *producerClient) answered(s *sending, err error, r produced) {
	if p.acks != -1 {
		s.done = true // nobody waits for it
	}
	if err != nil {
		p.w.logf(&p.node, "batch %d of %s: %v", s.seq, p.tp, err)
	}
	switch {
	case err == nil:
		s.done, p.known = true, true
	case errors.Is(err, errTimeout): // a new connection, which may overtake what is still on its way
		p.by = fromClientAgain - p.by + fromClient
	case errors.Is(err, producer.ErrOutOfOrderSequence):
		p.outOfOrder(s, err, r)
	case errors.Is(err, partition.ErrNotEnoughReplicas):
		p.w.rare.hit(UnderMinISR)
	case errors.Is(err, producer.ErrInvalidProducerEpoch) || errors.Is(err, record.ErrInvalid) || errors.Is(err, record.ErrCorrupt):
		p.w.fail("producer %d: batch %d of %s: %v", p.pid, s.seq, p.tp, err)
	}
	for len(p.queue) > 0 && p.queue[0].done {
		p.queue = p.queue[1:]
	}
	if s.done {
		p.pump()
	} else if p.acks == -1 {
		s.again = true
		p.w.after(50*ms+p.w.upTo(50*ms), &p.node, "retry", p.pump)
	}
}

// outOfOrder: one before it is still on its way. If none is, a record was lost,
// or the leader has forgotten that it has this one: producers send at most as
// many batches at once as a leader remembers, over a restart, too.
func (p *producerClient) outOfOrder(s *sending, err error, r produced) {
	switch {
	case p.w.check.ledger(p.part).forked: // what came before it is lost: a client gives up
		p.queue, p.sent = nil, p.w.cfg.Batches
		s.done = true
	case p.queue[0] != s || r.late || r.soon: // the answer may have been overtaken
		p.w.rare.hit(OutOfOrderRetried)
	case p.w.check.isCommitted(p.part, p.pid, s.seq):
		at := p.w.check.ledger(p.part).where[producerSeq{p.pid, s.seq}]
		p.w.fail("producer %d: batch %d of %s at %d is not known as a duplicate, producers were rebuilt at %d: %v",
			p.pid, s.seq, p.tp, at, r.rebuilt, err)
	case r.have: // not committed yet
	default:
		p.w.fail("producer %d: first unacknowledged batch %d of %s is out of order: %v", p.pid, s.seq, p.tp, err)
	}
}

func (p *producerClient) idle() bool { return len(p.queue) == 0 }

// consumerClient reads one partition from its start, from the leader or from
// any replica.
type consumerClient struct {
	node
	part
	w      *World
	offset model.Offset
	latest model.Offset // last answer of "latest", under epoch
	epoch  model.LeaderEpoch
}

func newConsumer(w *World, id int, of part) *consumerClient {
	return &consumerClient{
		node: node{id: id, name: fmt.Sprintf("k%d", id), up: true}, part: of, w: w,
		latest: model.NoOffset, epoch: model.NoLeaderEpoch,
	}
}

type consumed struct {
	records  []byte
	err      error
	logStart model.Offset
	latest   model.Offset
}

// poll reads once and comes again.
func (k *consumerClient) poll() {
	w := k.w
	if w.check.deletedIDs[k.topic] {
		return
	}
	to, epoch := w.leaderOf(k.part)
	k.epoch = max(k.epoch, epoch)
	if w.cfg.FollowerReads && w.chance(50) {
		to = w.brokers[w.rng.IntN(len(w.brokers))]
		w.rare.hit(ConsumerOfFollower)
	}
	again := func() { w.after(200*ms+w.upTo(400*ms), &k.node, "consume", k.poll) }
	if to == nil {
		again()
		return
	}
	asks := w.chance(20)
	w.call(&k.node, &to.node, fromConsumer, "consume", w.cfg.Timeout,
		func(reply func(any)) { reply(to.consume(k, asks)) },
		func(resp any, err error) {
			c, ok := resp.(consumed)
			if ok && err == nil {
				k.got(&c)
			}
			if len(c.records) > 0 {
				w.after(ms, &k.node, "consume", k.poll)
				return
			}
			again()
		})
}

func (k *consumerClient) got(c *consumed) {
	if c.err != nil {
		k.w.logf(&k.node, "at %d: %v", k.offset, c.err)
	}
	if errors.Is(c.err, partition.ErrOffsetOutOfRange) && c.logStart > k.offset {
		k.offset = c.logStart
		return
	}
	if c.latest != model.NoOffset {
		if c.latest < k.latest && !k.w.check.ledger(k.part).forked {
			k.w.fail("consumer of %s: latest offset went back from %d to %d", k.tp, k.latest, c.latest)
		}
		k.latest = c.latest
	}
	rest := c.records
	for len(rest) > 0 {
		b, more, err := record.Next(rest)
		if err != nil {
			k.w.fail("consumer of %s at %d: %v", k.tp, k.offset, err)
			return
		}
		if b.NextOffset() > k.offset {
			k.w.check.consumed(k, b)
			k.offset = b.NextOffset()
		}
		rest = more
	}
}

// consume serves a consumer's fetch, and "latest" if it is asked for.
func (b *broker) consume(k *consumerClient, asks bool) (c consumed) {
	c.latest = model.NoOffset
	h := b.find(k.tp)
	if h == nil || h.topic != k.topic || !b.published {
		c.err = partition.ErrNotHosted
		return c
	}
	res, err := h.p.Fetch(partition.Fetch{
		Replica: model.NoBroker, FromFollower: true, Offset: k.offset, CurrentEpoch: model.NoLeaderEpoch,
		LastFetchedEpoch: model.NoLeaderEpoch, MaxBytes: fetchMax, MinOne: true,
	})
	c.err, c.logStart = err, h.p.LogStart()
	if n := res.Slice.Len(); n > 0 {
		c.records = make([]byte, n)
		if _, err := res.Slice.ReadInto(c.records); err != nil {
			b.trouble("read", err)
			c.records = nil
		}
	}
	res.Slice.Release()
	if asks {
		f, err := h.p.ListOffset(partition.Lookup{Timestamp: partition.Latest, CurrentEpoch: k.epoch})
		if err == nil {
			c.latest = f.Offset
		}
	}
	return c
}
