package cluster

import (
	"fmt"

	"tidemark/test/faultproxy"
)

// Proxies stand in front of one node: whoever wants to reach it, itself
// included, goes through them. Brokers are told apart by the client ids of
// BrokerClient, BrokerFetcher and RaftClient.
type Proxies struct {
	Clients     *faultproxy.Proxy // PLAINTEXT
	Brokers     *faultproxy.Proxy // INTERNAL: fetches of followers
	Controllers *faultproxy.Proxy // CONTROLLER: Raft, heartbeats, AlterPartition
}

// BrokerFetcher begins the client ids of a broker's replica fetchers.
func BrokerFetcher(n *Node) string { return fmt.Sprintf("broker-%d-fetcher-", n.ID) }

// RaftClient is the client id of a node's Raft and metadata connections.
func RaftClient(n *Node) string { return fmt.Sprintf("raft-client-%d", n.ID) }

// BrokerClient is the client id under which a broker asks the active controller.
func BrokerClient(n *Node) string { return fmt.Sprint(n.ID) }

// All are those that exist.
func (p Proxies) All() []*faultproxy.Proxy {
	var out []*faultproxy.Proxy
	for _, q := range []*faultproxy.Proxy{p.Clients, p.Brokers, p.Controllers} {
		if q != nil {
			out = append(out, q)
		}
	}
	return out
}

// startProxies puts a proxy before each listener of the node; what is
// advertised from then on is the proxy.
func (n *Node) startProxies() {
	t := n.c.T
	t.Helper()
	n.binds = map[string]int{}
	before := func(listener string, bind int) *faultproxy.Proxy {
		p, err := faultproxy.New(fmt.Sprintf("%s:%d", n.Host, bind))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.Close() })
		n.binds[listener] = bind
		return p
	}
	if n.Client != 0 {
		n.Net.Clients = before("PLAINTEXT", n.Client)
		n.Net.Brokers = before("INTERNAL", freePorts(t, 1)[0])
		n.Client = n.Net.Clients.Port()
	}
	if n.Control != 0 {
		n.Net.Controllers = before("CONTROLLER", n.Control)
		n.Control = n.Net.Controllers.Port()
	}
}
