// Package dashboards asks a real Prometheus, which scrapes a cluster of processes,
// what well-known dashboards ask and what our own alerting rules say. Prometheus is
// a foreign program on purpose: it parses what we serve as it does at anybody's
// site, and needs no place in go.mod.
package dashboards
