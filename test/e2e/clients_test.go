package e2e

import (
	"bytes"
	"context"
	"fmt"
	"hash/fnv"
	"net"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"tidemark/test/apachekafka"
	"tidemark/test/cluster"
)

// tally is a number of values and a checksum that doesn't depend on their order.
type tally struct {
	n   int
	sum uint64
}

func (s *tally) add(value []byte) {
	h := fnv.New64a()
	h.Write(value)
	s.n++
	s.sum += h.Sum64()
}

func (s *tally) lines(text []byte) *tally {
	for line := range bytes.Lines(text) {
		s.add(bytes.TrimRight(line, "\n"))
	}
	return s
}

// values are n lines that no other prefix has.
func values(prefix string, n int) []byte {
	var b bytes.Buffer
	for i := range n {
		fmt.Fprintf(&b, "%s-%d-%s\n", prefix, i, strings.Repeat("x", i%90))
	}
	return b.Bytes()
}

func kcat(t *testing.T, stdin []byte, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, apachekafka.Kcat(t), args...)
	cmd.Stdin = bytes.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("kcat %s: %v\n%s", strings.Join(args, " "), err, errs.String())
	}
	return out.Bytes()
}

// produceFranz sends the lines with an idempotent producer.
func produceFranz(t *testing.T, c *cluster.Cluster, topic string, lines []byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cl := cluster.Client(t, c.Bootstrap(), kgo.DefaultProduceTopic(topic))
	defer cl.Close()
	for line := range bytes.Lines(lines) {
		cl.Produce(ctx, &kgo.Record{Value: bytes.TrimRight(line, "\n")}, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Errorf("franz-go: %v", err)
			}
		})
	}
	if err := cl.Flush(ctx); err != nil {
		t.Fatal(err)
	}
}

// consumeFranz reads n records as a member of a group.
func consumeFranz(t *testing.T, bootstrap, group, topic string, n int, opts ...kgo.Opt) *tally {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cl := cluster.Client(t, bootstrap, append(opts, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	defer cl.Close()
	var got tally
	for got.n < n {
		fs := cl.PollFetches(ctx)
		if err := fs.Err0(); err != nil {
			t.Fatalf("franz-go group: %d of %d: %v", got.n, n, err)
		}
		for r := range fs.RecordsAll() {
			got.add(r.Value)
		}
	}
	if err := cl.CommitUncommittedOffsets(ctx); err != nil {
		t.Errorf("franz-go group: commit: %v", err)
	}
	return &got
}

// Three producers and three kinds of group consumers, none of them ours, agree
// on every record; one consumer comes in through the second listener.
func TestForeignClientsAgree(t *testing.T) {
	apachekafka.Require(t)
	each := 20_000
	if long() {
		each = 333_334
	}
	c := cluster.New(t, cluster.Options{Nodes: 3})
	out := apachekafka.Run(t, apachekafka.Topics, "--bootstrap-server", c.Bootstrap(), "--create", "--topic", "orders", "--partitions", "6", "--replication-factor", "3")
	if !strings.Contains(out, "Created topic orders") {
		t.Fatalf("TopicCommand: %s", out)
	}
	inputs := map[string][]byte{"kcat": values("kcat", each), "franz": values("franz", each), "java": values("java", each)}
	var want tally
	for _, in := range inputs {
		want.lines(in)
	}
	var producers sync.WaitGroup
	producers.Go(func() {
		kcat(t, inputs["kcat"], "-b", c.Bootstrap(), "-P", "-t", "orders", "-X", "enable.idempotence=true", "-X", "acks=all")
	})
	producers.Go(func() { produceFranz(t, c, "orders", inputs["franz"]) })
	producers.Go(func() {
		if _, err := apachekafka.Try(t, string(inputs["java"]), apachekafka.ConsoleProducer, "--bootstrap-server", c.Bootstrap(), "--topic", "orders"); err != nil {
			t.Errorf("ConsoleProducer: %v", err)
		}
	})
	producers.Wait()
	if t.Failed() {
		t.FailNow()
	}
	got := map[string]*tally{}
	var mu sync.Mutex
	put := func(name string, s *tally) { mu.Lock(); got[name] = s; mu.Unlock() }
	n := fmt.Sprint(want.n)
	var consumers sync.WaitGroup
	consumers.Go(func() {
		put("kcat -G", new(tally).lines(kcat(t, nil, "-b", c.Bootstrap(), "-q", "-c", n, "-X", "auto.offset.reset=earliest", "-G", "kcat-group", "orders")))
	})
	consumers.Go(func() {
		put("franz-go group", consumeFranz(t, c.Bootstrap(), "franz-group", "orders", want.n))
	})
	consumers.Go(func() {
		out, err := apachekafka.Try(t, "", apachekafka.ConsoleConsumer, "--bootstrap-server", c.Bootstrap(), "--topic", "orders",
			"--group", "java-group", "--from-beginning", "--max-messages", n, "--timeout-ms", "60000")
		if err != nil {
			t.Errorf("ConsoleConsumer: %v", err)
		}
		put("ConsoleConsumer", new(tally).lines([]byte(out)))
	})
	consumers.Wait()
	var dialled addresses
	put("EXTERNAL", consumeFranz(t, c.ExternalBootstrap(), "external-group", "orders", want.n, kgo.Dialer(dialled.dial)))
	for name, s := range got {
		if *s != want {
			t.Errorf("%s: %d values with checksum %x, want %d with %x", name, s.n, s.sum, want.n, want.sum)
		}
	}
	dialled.only(t, c)
	groupsStandAtTheEnd(t, c, want.n)
}

// addresses remembers what a client dialled.
type addresses struct {
	mu   sync.Mutex
	seen map[string]bool
}

func (a *addresses) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	a.mu.Lock()
	if a.seen == nil {
		a.seen = map[string]bool{}
	}
	a.seen[addr] = true
	a.mu.Unlock()
	return new(net.Dialer).DialContext(ctx, network, addr)
}

// only checks that a client of the second listener was sent to no other one,
// and to the advertised name of each broker.
func (a *addresses) only(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	ours := map[string]bool{}
	for _, n := range c.Nodes {
		seed, advertised := fmt.Sprintf("127.0.0.1:%d", n.External), fmt.Sprintf("localhost:%d", n.External)
		ours[seed], ours[advertised] = true, true
		if !a.seen[advertised] {
			t.Errorf("nobody was sent to %s of node %d", advertised, n.ID)
		}
	}
	for addr := range a.seen {
		if !ours[addr] {
			t.Errorf("a client of EXTERNAL was sent to %s", addr)
		}
	}
}

var lagColumn = regexp.MustCompile(`(?m)^(\S+)\s+orders\s+\d+\s+(\d+)\s+\d+\s+(\d+)`)

// groupsStandAtTheEnd has Kafka's own tool describe all groups.
func groupsStandAtTheEnd(t *testing.T, c *cluster.Cluster, n int) {
	t.Helper()
	out, err := apachekafka.Try(t, "", apachekafka.Groups, "--bootstrap-server", c.Bootstrap(), "--describe", "--all-groups")
	if err != nil {
		t.Fatalf("ConsumerGroupCommand: %v", err)
	}
	sums := map[string]int{}
	for _, m := range lagColumn.FindAllStringSubmatch(out, -1) {
		var at, lag int
		fmt.Sscan(m[2], &at)
		fmt.Sscan(m[3], &lag)
		sums[m[1]] += at
		if lag != 0 {
			t.Errorf("group %s lags by %d", m[1], lag)
		}
	}
	for _, g := range []string{"kcat-group", "franz-group", "java-group", "external-group"} {
		if sums[g] != n {
			t.Errorf("group %s has committed up to %d of %d\n%s", g, sums[g], n, out)
		}
	}
}
