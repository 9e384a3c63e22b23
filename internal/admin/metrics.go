package admin

import (
	"compress/gzip"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
)

// metricsHandler serves the table. Every scrape reads the numbers once.
type metricsHandler struct {
	src     Source
	process prometheus.Gatherer
	windows *windows
}

// all serves names of our own, those of Strimzi's dashboards, and the process's.
func (h *metricsHandler) all(w http.ResponseWriter, r *http.Request) {
	h.serve(w, r, Own, Strimzi)
}

// style serves one set of names, and the process's: dashboards show both.
func (h *metricsHandler) style(w http.ResponseWriter, r *http.Request) {
	s := Style(r.URL.Query().Get("style"))
	if !slices.Contains(Styles(), s) {
		var known []string
		for _, k := range Styles() {
			known = append(known, string(k))
		}
		http.Error(w, fmt.Sprintf("style=%q: there is %s; ask for /metrics/kafka?style=%s, or for /metrics", s, strings.Join(known, ", "), Strimzi), http.StatusBadRequest)
		return
	}
	h.serve(w, r, s)
}

func (h *metricsHandler) serve(w http.ResponseWriter, r *http.Request, styles ...Style) {
	n := h.src.Numbers(r.Context(), true)
	h.rates(n)
	p := &page{b: make([]byte, 0, 64<<10), windows: h.windows, numbers: n, sparse: r.URL.Query().Get("partitions") == "off"}
	for _, s := range styles {
		p.style = s
		p.write(Table())
	}
	p.add(h.process)
	w.Header().Set("Content-Type", contentType)
	if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		_, _ = w.Write(p.b) // the reader went away: nothing to tell it
		return
	}
	w.Header().Set("Content-Encoding", "gzip")
	z, _ := gzip.NewWriterLevel(w, gzip.BestSpeed) // a valid level
	_, _ = z.Write(p.b)
	_ = z.Close()
}

// rates fills in what depends on an earlier scrape.
func (h *metricsHandler) rates(n *Numbers) {
	used := h.windows.perSecond("cpu", n.CPU.Seconds(), n.At)
	if used == 0 && n.Uptime > 0 { // the first scrape
		used = n.CPU.Seconds() / n.Uptime.Seconds()
	}
	n.Idle = max(0, 1-used/float64(max(n.CPUs, 1)))
	if n.Broker != nil {
		for i := range n.Broker.Fetchers {
			f := &n.Broker.Fetchers[i]
			f.Rate = h.windows.perSecond("fetcher "+id(f.Leader)+" "+id(f.ID), float64(f.Requests), n.At)
		}
	}
	if c := n.Controller; c != nil {
		c.AppendRate = h.windows.perSecond("append", float64(c.Appended), n.At)
		c.FetchRate = h.windows.perSecond("fetch", float64(c.Fetched), n.At)
	}
}

// add appends the families of a registry.
func (p *page) add(g prometheus.Gatherer) {
	families, err := g.Gather()
	if err != nil {
		return // the process's own numbers are missing, the rest is there
	}
	var b strings.Builder
	for _, f := range families {
		_, _ = expfmt.MetricFamilyToText(&b, f) // a builder takes everything
	}
	p.b = append(p.b, b.String()...)
}
