package e2e

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"tidemark/test/cluster"
	"tidemark/test/faultproxy"
)

// late holds back the first request of a key from a client id and records what
// was answered to it.
type late struct {
	p           *faultproxy.Proxy
	key         int16
	mu          sync.Mutex
	correlation int32
	version     int16
	from        string // of the held request; "" before
	answer      []byte
}

// holdFirst begins with the next request that want likes.
func holdFirst(p *faultproxy.Proxy, key int16, from string, want func(kmsg.Request) bool) *late {
	l := &late{p: p, key: key}
	p.Intercept(func(f faultproxy.Frame) faultproxy.Action {
		if f.Key != key || f.From != from {
			return faultproxy.Pass
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		switch {
		case f.Response && l.from != "" && f.Correlation == l.correlation && l.answer == nil:
			l.answer = slices.Clone(f.Body())
		case !f.Response && l.from == "" && want(request(f)):
			l.from, l.correlation, l.version = f.From, f.Correlation, f.Version
			return faultproxy.Hold
		}
		return faultproxy.Pass
	})
	return l
}

// request decodes the body behind header v2: client id, then tags.
func request(f faultproxy.Frame) kmsg.Request {
	req := kmsg.RequestForKey(f.Key)
	req.SetVersion(f.Version)
	at := 8 + 2 + len(f.From)
	if req.IsFlexible() {
		at++ // no tags
	}
	if err := req.ReadFrom(f.Body()[at:]); err != nil {
		return nil
	}
	return req
}

func (l *late) held() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.from == "" {
		return fmt.Errorf("no request of key %d yet", l.key)
	}
	return nil
}

// answered waits for the answer to the request that was held.
func (l *late) answered(t *testing.T) kmsg.Response {
	t.Helper()
	var body []byte
	cluster.Eventually(t, healed, func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if body = l.answer; body == nil {
			return fmt.Errorf("the late request of key %d has no answer", l.key)
		}
		return nil
	})
	resp := kmsg.ResponseForKey(l.key)
	resp.SetVersion(l.version)
	at := 4
	if resp.IsFlexible() {
		at++
	}
	if err := resp.ReadFrom(body[at:]); err != nil {
		t.Fatal(err)
	}
	return resp
}

// A follower is restarted twice in a moment, while a fetch of its first life and
// its leader's request to take that life back into the in-sync set are still on
// their way (KIP-903, KAFKA-14617, KAFKA-15221). Both arrive late, and have no effect.
func TestRestartTwiceWithOldRequestsInFlight(t *testing.T) {
	c := cluster.New(t, cluster.Options{Nodes: 3, Proxied: true, Settings: quick})
	ctl := c.Controller()
	leader, follower := c.Others(ctl)[0], c.Others(ctl)[1]
	cluster.CreateAssigned(t, c.Bootstrap(), "orders", leader.ID, follower.ID, ctl.ID)
	w := cluster.StartWorkload(t, c.Bootstrap(), "orders", 1)
	w.WaitMore(200, healed)
	follower.Kill()
	leader.WaitPartition("orders", 0, healed, without(follower))

	expand := holdFirst(ctl.Net.Controllers, keyAlterPartition, cluster.BrokerClient(leader), func(r kmsg.Request) bool {
		a, ok := r.(*kmsg.AlterPartitionRequest)
		return ok && len(a.Topics) == 1 && len(a.Topics[0].Partitions[0].NewEpochISR) == 3
	})
	follower.Start()
	cluster.Eventually(t, healed, expand.held)
	fetch := holdFirst(leader.Net.Brokers, keyFetch, cluster.BrokerFetcher(follower)+"0", func(r kmsg.Request) bool { return r != nil })
	cluster.Eventually(t, healed, fetch.held)
	for range 2 {
		follower.Kill()
		follower.Start()
		follower.WaitReady()
	}
	leader.Net.Brokers.Release()
	ctl.Net.Controllers.Release()

	alter := expand.answered(t).(*kmsg.AlterPartitionResponse)
	if err := refusal(alter.ErrorCode, alter.Topics); err == nil {
		t.Errorf("the late proposal was accepted: %+v", alter)
	} else {
		t.Logf("the late proposal: %v", err)
	}
	old := fetch.answered(t).(*kmsg.FetchResponse)
	t.Logf("the late fetch: %v", kerr.ErrorForCode(old.ErrorCode)) // an answer to nobody; what counts is that it counts for nothing
	heals(t, c, w)
}

// refusal is the error of an answer to AlterPartition, of itself or of its partition.
func refusal(code int16, topics []kmsg.AlterPartitionResponseTopic) error {
	if code == 0 && len(topics) == 1 && len(topics[0].Partitions) == 1 {
		code = topics[0].Partitions[0].ErrorCode
	}
	return kerr.ErrorForCode(code)
}
