package admin

import "tidemark/internal/latency"

const requestMetrics = "kafka.network:type=RequestMetrics,name="

// requestRows: requests, by Kafka's name of their kind. A Fetch counts as
// FetchConsumer or FetchFollower, and once more as Fetch, as in Kafka.
var requestRows = []*Metric{
	{JMX: requestMetrics + "RequestsPerSec", Kind: Counter, Labels: []string{"request", "version"}, Help: "requests",
		each: eachRequest(func(r *RequestNumbers, out emit) {
			for _, v := range r.Versions {
				out(float64(v.Count), r.Request, v.Value)
			}
		})},
	{JMX: requestMetrics + "ErrorsPerSec", Kind: Counter, Labels: []string{"request", "error"}, Help: "answers by error, NONE included; for each partition where answers have an error for each",
		each: eachRequest(func(r *RequestNumbers, out emit) {
			for _, e := range r.Errors {
				out(float64(e.Count), r.Request, e.Value)
			}
		})},
	requestTime("TotalTimeMs", "from the arrival of the bytes until the socket had the answer", func(r *RequestNumbers) *latency.Snapshot { return &r.Total }),
	requestTime("RequestQueueTimeMs", "behind earlier requests of the same connection", func(r *RequestNumbers) *latency.Snapshot { return &r.Queue }),
	requestTime("LocalTimeMs", "in the handler", func(r *RequestNumbers) *latency.Snapshot { return &r.Local }),
	requestTime("RemoteTimeMs", "waiting for others: followers, records, the controller", func(r *RequestNumbers) *latency.Snapshot { return &r.Remote }),
	{JMX: requestMetrics + "ThrottleTimeMs", Kind: Times, Labels: []string{"request"}, Help: "always 0: there are no client quotas",
		times: func(n *Numbers, out emitTimes) {
			for i := range n.Requests {
				var s latency.Snapshot
				s.Zeros(n.Requests[i].Total.Count())
				out(s, n.Requests[i].Request)
			}
		}},
	requestTime("ResponseQueueTimeMs", "behind earlier answers, and until the socket was free", func(r *RequestNumbers) *latency.Snapshot { return &r.Answer }),
	requestTime("ResponseSendTimeMs", "until the socket had taken the answer", func(r *RequestNumbers) *latency.Snapshot { return &r.Send }),
	{Name: "tidemark_request_bytes_total", Kind: Counter, Labels: []string{"request"}, Help: "bytes of requests",
		each: eachRequest(func(r *RequestNumbers, out emit) { out(float64(r.Bytes), r.Request) })},
	{Name: "tidemark_request_seconds", Kind: Buckets, Labels: []string{"request", "phase"}, Help: "what the time of requests went to; the phases add up to the whole",
		times: func(n *Numbers, out emitTimes) {
			for i := range n.Requests {
				r := &n.Requests[i]
				if r.Request == "Fetch" {
					continue // the sum of two others
				}
				out(r.Queue, r.Request, "queue")
				out(r.Local, r.Request, "local")
				out(r.Remote, r.Request, "remote")
				out(r.Answer, r.Request, "answer")
				out(r.Send, r.Request, "send")
			}
		}},
	{JMX: "kafka.server:type=socket-server-metrics", Attr: "connection-count", Strimzi: "kafka_server_socket_server_metrics_connection_count",
		Confluent: "kafka_server_socketservermetrics_connection_count", Labels: []string{"listener"}, Help: "open connections",
		each: func(n *Numbers, out emit) {
			for _, l := range n.Listeners {
				out(float64(l.Open), l.Name)
			}
		}},
	{JMX: "kafka.server:type=socket-server-metrics", Attr: "connection-creation-total", Kind: Counter, Strimzi: "kafka_server_socket_server_metrics_connection_creation_total",
		Confluent: "kafka_server_socketservermetrics_connection_creation_total", Labels: []string{"listener"}, Help: "connections since the start",
		each: func(n *Numbers, out emit) {
			for _, l := range n.Listeners {
				out(float64(l.Accepted), l.Name)
			}
		}},
	{JMX: "kafka.network:type=SocketServer,name=ExpiredConnectionsKilledCount", Kind: Counter, Help: "connections closed for connections.max.idle.ms",
		each: perNode(func(n *Numbers) float64 { return float64(n.IdleClosed) })},
	{JMX: "kafka.network:type=SocketServer,name=NetworkProcessorAvgIdlePercent", Kind: Percent, Help: idleHelp, each: idle},
	{JMX: "kafka.server:type=KafkaRequestHandlerPool,name=RequestHandlerAvgIdlePercent", Kind: Percent, Help: idleHelp, each: idle},
}

const idleHelp = "share of the processors' time that this process left unused of late: it has no pools of threads that could be busy"

func idle(n *Numbers, out emit) {
	out(n.Idle)
}

func eachRequest(f func(*RequestNumbers, emit)) func(*Numbers, emit) {
	return func(n *Numbers, out emit) {
		for i := range n.Requests {
			f(&n.Requests[i], out)
		}
	}
}

func requestTime(name, help string, f func(*RequestNumbers) *latency.Snapshot) *Metric {
	return &Metric{JMX: requestMetrics + name, Kind: Times, Labels: []string{"request"}, Help: help,
		times: func(n *Numbers, out emitTimes) {
			for i := range n.Requests {
				out(*f(&n.Requests[i]), n.Requests[i].Request)
			}
		}}
}
