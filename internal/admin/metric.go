package admin

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"tidemark/internal/latency"
)

// Style is a set of metric names that dashboards query.
type Style string

// The styles of /metrics/kafka.
const (
	Strimzi   Style = "strimzi"   // jmx_exporter with Strimzi's rules
	Confluent Style = "confluent" // jmx_exporter with the rules of Confluent's monitoring stacks
	Exporter  Style = "exporter"  // kafka_exporter
	Own       Style = ""          // names of our own, of which /metrics has those of Strimzi beside
)

// Styles lists those that can be asked for.
func Styles() []Style { return []Style{Strimzi, Confluent, Exporter} }

// Kind says what a metric is, and so how each style writes it.
type Kind uint8

// The kinds of metrics.
const (
	Gauge   Kind = iota
	Counter      // grows; a meter of Kafka's, of which Prometheus gets the count
	Percent      // a share from 0 to 1
	Times        // percentiles of a duration, in ms for Kafka's names
	Buckets      // a histogram, in seconds; only under names of our own
)

// Metric is one row of the table: what a number is called by whom, and where it
// comes from. A Metric with a JMX name has the names that each style's rules make
// of it, unless the row gives others; Off is none.
type Metric struct {
	Name   string // of our own; "" if Kafka's name is enough
	JMX    string // of the bean: domain:type=T,name=N, or domain:type=T and Attr
	Attr   string // attribute, for beans without a name
	Tags   string // of the bean beside the labels, for HELP
	Kind   Kind
	Labels []string // in the order of the values; topic without a value is the sum of all
	Help   string

	Strimzi, Confluent, Exporter string
	ConfluentLabels              []string // where they differ by more than lower case

	each  func(n *Numbers, out emit)                     // any number of values
	per   func(p *PartitionNumbers) (v float64, ok bool) // one for each replica
	times func(n *Numbers, out emitTimes)
	hist  func(n *Numbers, out emitBuckets)
}

// Off is the name of a metric that a style doesn't have.
const Off = "-"

// emit takes one value with its label values.
type emit func(v float64, labels ...string)

// emitTimes takes one distribution with its label values.
type emitTimes func(s latency.Snapshot, labels ...string)

// emitBuckets takes one histogram that was counted elsewhere: how many durations
// were at most each bound.
type emitBuckets func(bounds []time.Duration, below []uint64, count uint64, sum time.Duration, labels ...string)

// In is what a style calls the metric, "" if it doesn't.
func (m *Metric) In(s Style) string {
	given := map[Style]string{Own: m.Name, Strimzi: m.Strimzi, Confluent: m.Confluent, Exporter: m.Exporter}[s]
	switch {
	case given == Off:
		return ""
	case given != "" || m.JMX == "" || s == Own || s == Exporter:
		return given
	case s == Strimzi:
		return strimziName(m)
	}
	return confluentName(m)
}

// bean takes a JMX name apart.
func (m *Metric) bean() (domain, kind, name string) {
	domain, rest, _ := strings.Cut(m.JMX, ":")
	for _, tag := range strings.Split(rest, ",") {
		switch k, v, _ := strings.Cut(tag, "="); k {
		case "type":
			kind = v
		case "name":
			name = v
		}
	}
	return strings.ReplaceAll(domain, ".", "_"), kind, name
}

var underscores = strings.NewReplacer("-", "_", ".", "_")

// strimziName follows Strimzi's rules: PerSec and Percent become suffixes, and
// the beans of Kafka's own registry lose the hyphens of their type.
func strimziName(m *Metric) string {
	domain, kind, name := m.bean()
	if m.Attr != "" {
		return strings.ToLower(domain + "_" + strings.ReplaceAll(kind, "-", "") + "_" + underscores.Replace(m.Attr))
	}
	prefix := domain + "_" + kind + "_"
	switch {
	case m.Kind == Counter && strings.HasSuffix(name, "PerSec"):
		name = strings.TrimSuffix(name, "PerSec") + "_total"
	case m.Kind == Percent:
		name = strings.TrimSuffix(name, "Percent") + "_percent"
	}
	return strings.ToLower(underscores.Replace(prefix + name))
}

// confluentName follows the rules of Confluent's stacks: lower case, and nothing else.
func confluentName(m *Metric) string {
	domain, kind, name := m.bean()
	if m.Attr != "" {
		name = m.Attr
	}
	return strings.ToLower(underscores.Replace(domain + "_" + kind + "_" + name))
}

// Text is the text of HELP: the JMX name first, as the search for it goes.
func (m *Metric) Text() string {
	if m.JMX == "" {
		return m.Help
	}
	jmx := m.JMX + m.Tags
	if m.Attr != "" {
		jmx += " " + m.Attr
	}
	if m.Help == "" {
		return jmx
	}
	return jmx + ": " + m.Help
}

// labels are the label names as a style writes them.
func (m *Metric) labels(s Style) []string {
	switch {
	case s != Confluent:
		return m.Labels
	case m.ConfluentLabels != nil:
		return m.ConfluentLabels
	}
	out := slices.Clone(m.Labels)
	for i := range out {
		out[i] = strings.ToLower(out[i])
	}
	return out
}

// Type is what TYPE says in a style.
func (m *Metric) Type(s Style) string {
	switch {
	case m.Kind == Counter:
		return "counter"
	case m.Kind == Times && s == Confluent:
		return "untyped" // percentiles and the count share one name
	case m.Kind == Times:
		return "summary"
	case m.Kind == Buckets:
		return "histogram"
	}
	return "gauge"
}

// Table lists every metric, in the order in which they are served.
func Table() []*Metric { return table }

var table = slices.Concat(replicaRows, trafficRows, requestRows, logRows, controllerRows, raftRows, groupRows, exporterRows, ownRows)

// perNode makes a metric of one value.
func perNode(f func(n *Numbers) float64) func(*Numbers, emit) {
	return func(n *Numbers, out emit) { out(f(n)) }
}

// perBroker makes a metric of one value of the broker role.
func perBroker(f func(b *BrokerNumbers) float64) func(*Numbers, emit) {
	return func(n *Numbers, out emit) {
		if n.Broker != nil {
			out(f(n.Broker))
		}
	}
}

// perController makes a metric of one value of the controller role.
func perController(f func(c *ControllerNumbers) float64) func(*Numbers, emit) {
	return func(n *Numbers, out emit) {
		if n.Controller != nil {
			out(f(n.Controller))
		}
	}
}

// led makes a metric of each partition that is led here.
func led(f func(p *PartitionNumbers) float64) func(*PartitionNumbers) (float64, bool) {
	return func(p *PartitionNumbers) (float64, bool) {
		if !p.Leads {
			return 0, false
		}
		return f(p), true
	}
}

// hosted makes a metric of each replica that is hosted here.
func hosted(f func(p *PartitionNumbers) float64) func(*PartitionNumbers) (float64, bool) {
	return func(p *PartitionNumbers) (float64, bool) { return f(p), true }
}

// countLed counts partitions that are led here and of which f is true.
func countLed(f func(p *PartitionNumbers) bool) func(*Numbers, emit) {
	return perBroker(func(b *BrokerNumbers) (n float64) {
		for i := range b.Partitions {
			if p := &b.Partitions[i]; p.Leads && f(p) {
				n++
			}
		}
		return n
	})
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func id[T ~int32 | ~int](v T) string { return strconv.Itoa(int(v)) }
