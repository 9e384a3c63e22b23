package admin

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"tidemark/internal/latency"
)

// page writes the text format of Prometheus. It is our own, and not the client
// library's, since a node has some ten series for each replica: they are written
// without a value being made for each.
type page struct {
	b       []byte
	style   Style
	windows *windows
	numbers *Numbers
	sparse  bool // without the series of partitions
}

// contentType is that of the text format.
const contentType = "text/plain; version=0.0.4; charset=utf-8"

// percentiles are those that Kafka's histograms have, as jmx_exporter writes them.
var percentiles = []struct {
	label string
	q     float64
}{{"0.50", 0.5}, {"0.75", 0.75}, {"0.95", 0.95}, {"0.98", 0.98}, {"0.99", 0.99}, {"0.999", 0.999}}

// bounds are the upper bounds of the buckets of our own histograms; the powers of
// two of a microsecond are where nothing has to be estimated.
var bounds = []time.Duration{
	128 * time.Microsecond, 512 * time.Microsecond, 1024 * time.Microsecond, 2048 * time.Microsecond, 4096 * time.Microsecond,
	8192 * time.Microsecond, 16384 * time.Microsecond, 65536 * time.Microsecond, 262144 * time.Microsecond,
	1048576 * time.Microsecond, 4194304 * time.Microsecond, 16777216 * time.Microsecond,
}

// write writes every metric that has a name in the style.
func (p *page) write(rows []*Metric) {
	done := map[string]bool{}
	for _, m := range rows {
		name := m.In(p.style)
		if name == "" || done[name] || p.sparse && m.isPerPartition() {
			continue
		}
		done[name] = true
		p.metric(m, name)
	}
}

// isPerPartition tells whether the number of series grows with that of partitions.
func (m *Metric) isPerPartition() bool { return m.per != nil || slices.Contains(m.Labels, "partition") }

func (p *page) metric(m *Metric, name string) {
	head := len(p.b)
	p.head(m, name)
	body := len(p.b)
	labels := m.labels(p.style)
	switch {
	case m.per != nil:
		p.partitions(m, name)
	case m.hist != nil:
		m.hist(p.numbers, func(bounds []time.Duration, below []uint64, count uint64, sum time.Duration, values ...string) {
			p.buckets(name, labels, values, bounds, below, count, sum)
		})
	case m.times != nil:
		m.times(p.numbers, func(s latency.Snapshot, values ...string) { p.times(m, name, labels, values, s) })
	default:
		m.each(p.numbers, func(v float64, values ...string) { p.line(name, labels, values, "", "", v) })
	}
	if len(p.b) == body { // no value: no metric
		p.b = p.b[:head]
	}
}

func (p *page) head(m *Metric, name string) {
	p.b = append(append(append(append(p.b, "# HELP "...), name...), ' '), strings.ReplaceAll(m.Text(), "\n", " ")...)
	p.b = append(append(append(append(p.b, "\n# TYPE "...), name...), ' '), m.Type(p.style)...)
	p.b = append(p.b, '\n')
}

// partitions writes one line for each replica. Their labels are made once.
func (p *page) partitions(m *Metric, name string) {
	if p.numbers.Broker == nil {
		return
	}
	all := p.numbers.Broker.Partitions
	for i := range all {
		part := &all[i]
		v, ok := m.per(part)
		if !ok {
			continue
		}
		if part.labels == "" {
			part.labels = "{topic=" + quote(part.TP.Topic) + `,partition="` + strconv.Itoa(int(part.TP.Partition)) + `"} `
		}
		p.b = append(append(p.b, name...), part.labels...)
		p.b = appendValue(p.b, v)
	}
}

func (p *page) line(name string, labels, values []string, extra, value string, v float64) {
	p.b = append(p.b, name...)
	sep := byte('{')
	for i, l := range labels {
		if i >= len(values) || values[i] == "" {
			continue
		}
		p.b = append(append(append(append(p.b, sep), l...), '='), quote(values[i])...)
		sep = ','
	}
	if extra != "" {
		p.b = append(append(append(append(p.b, sep), extra...), '='), quote(value)...)
		sep = ','
	}
	if sep == ',' {
		p.b = append(p.b, '}')
	}
	p.b = append(p.b, ' ')
	p.b = appendValue(p.b, v)
}

func appendValue(b []byte, v float64) []byte {
	switch {
	case v == math.Trunc(v) && math.Abs(v) < 1e15:
		b = strconv.AppendInt(b, int64(v), 10)
	case math.IsNaN(v):
		b = append(b, "NaN"...)
	default:
		b = strconv.AppendFloat(b, v, 'g', -1, 64)
	}
	return append(b, '\n')
}

var escapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

func quote(s string) string {
	if strings.ContainsAny(s, "\\\"\n") {
		s = escapes.Replace(s)
	}
	return `"` + s + `"`
}

// times writes a distribution: percentiles of late and the count since the start,
// or all buckets.
func (p *page) times(m *Metric, name string, labels, values []string, s latency.Snapshot) {
	if m.Kind == Buckets {
		below := make([]uint64, len(bounds))
		for i, b := range bounds {
			below[i] = s.Below(b)
		}
		p.buckets(name, labels, values, bounds, below, s.Count(), s.Sum)
		return
	}
	late := p.windows.of(name+strings.Join(values, "\xff"), s, p.numbers.At)
	for _, q := range percentiles {
		p.line(name, labels, values, "quantile", q.label, milliseconds(late.Quantile(q.q)))
	}
	if p.style == Confluent {
		p.line(name, labels, values, "", "", float64(s.Count()))
		return
	}
	p.line(name+"_sum", labels, values, "", "", milliseconds(s.Sum))
	p.line(name+"_count", labels, values, "", "", float64(s.Count()))
}

func (p *page) buckets(name string, labels, values []string, bounds []time.Duration, below []uint64, count uint64, sum time.Duration) {
	for i, b := range bounds {
		p.line(name+"_bucket", labels, values, "le", strconv.FormatFloat(b.Seconds(), 'g', -1, 64), float64(below[i]))
	}
	p.line(name+"_bucket", labels, values, "le", "+Inf", float64(count))
	p.line(name+"_sum", labels, values, "", "", sum.Seconds())
	p.line(name+"_count", labels, values, "", "", float64(count))
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
