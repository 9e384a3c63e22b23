// Package admin is the node's HTTP side: health, metrics, and the JSON of
// everything that the page and the command line show.
//
// It decides nothing: each answer is a view of values that the cores made
// (decision "every replication decision leaves evidence"). All it keeps is earlier
// counts, so that percentiles and rates are those of the last minutes.
//
// Metrics are rows of one table (Table): what a number is called by whom, and where
// it comes from. The names of the styles follow from the JMX name by the rules that
// people configure jmx_exporter with; exceptions stand in the row.
//
// Paths:
//
//	/livez               the process turns
//	/readyz[?verbose]    200 if the node serves, 503 with reasons if not
//	/metrics             Prometheus text: own names, and those of Strimzi's dashboards
//	/metrics/kafka       the same numbers under one set of names: ?style=strimzi, confluent or exporter
//	/v1/state            State as JSON
//	/v1/events           the journal's newest events
//	/v1/broker-state     Kafka's BrokerState number, as Strimzi's agent gives it
//	/v1/ready            204 when the broker state is RUNNING
//	/debug/pprof/        the Go runtime's profiles
//	/                    the page
package admin
