// Package admin is the node's HTTP side: health, metrics, and the JSON of
// everything that the page and the command line show.
//
// It decides nothing and keeps nothing: each answer is a view of values that
// the cores made (decision "every replication decision leaves evidence").
//
// Paths:
//
//	/livez               the process turns
//	/readyz[?verbose]    200 if the node serves, 503 with reasons if not
//	/metrics             Prometheus text
//	/v1/state            State as JSON
//	/v1/events           the journal's newest events
//	/v1/broker-state     Kafka's BrokerState number, as Strimzi's agent gives it
//	/v1/ready            204 when the broker state is RUNNING
//	/debug/pprof/        the Go runtime's profiles
//	/                    the page
package admin
