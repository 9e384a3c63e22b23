package packaging

import (
	"bufio"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"tidemark/internal/admin"
	"tidemark/test/cluster"
)

// metricTable lists what /metrics has, and Confluent's names beside.
func metricTable() string {
	var b strings.Builder
	b.WriteString("| `/metrics` | type | labels | `style=confluent` | JMX name, or meaning |\n| --- | --- | --- | --- | --- |\n")
	rows := map[string]string{}
	for _, m := range admin.Table() {
		row := func(name, confluent string) {
			if name != "" {
				rows[name] = fmt.Sprintf("| `%s` | %s | %s | %s | %s |\n", name, m.Type(admin.Strimzi), strings.Join(m.Labels, ", "), confluent, m.Text())
			}
		}
		row(m.In(admin.Own), "")
		row(m.In(admin.Strimzi), "`"+m.In(admin.Confluent)+"`")
	}
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		b.WriteString(rows[name])
	}
	return b.String()
}

// exporterTable lists kafka_exporter's names.
func exporterTable() string {
	var b strings.Builder
	b.WriteString("| `style=exporter` | labels | meaning |\n| --- | --- | --- |\n")
	for _, m := range admin.Table() {
		if name := m.In(admin.Exporter); name != "" {
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", name, strings.Join(m.Labels, ", "), m.Text())
		}
	}
	return b.String()
}

// alertTable lists the rules of tidemark generate alerts.
func alertTable(t *testing.T) string {
	t.Helper()
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	if err := yaml.Unmarshal([]byte(cluster.Run(t, "", "generate", "alerts")), &file); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("| alert | fires when | for | what to do |\n| --- | --- | --- | --- |\n")
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			if r.Annotations["description"] == "" || r.Annotations["summary"] == "" || r.Labels["severity"] == "" {
				t.Errorf("%s has no description, summary or severity", r.Alert)
			}
			fmt.Fprintf(&b, "| %s (%s) | `%s` | %s | %s |\n", r.Alert, r.Labels["severity"], strings.ReplaceAll(r.Expr, "|", `\|`), r.For, r.Annotations["description"])
		}
	}
	return b.String()
}

// rare are metrics that two idle nodes can't have, by the start of their name.
var rare = []string{"tidemark_replication_ack_"}

// servedMetrics compares the table with what running nodes serve: nothing is served
// that isn't in it, and of each row something is.
func servedMetrics(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	joinAndCommit(t, c)
	for path, styles := range map[string][]admin.Style{
		"/metrics": {admin.Own, admin.Strimzi}, "/metrics/kafka?style=strimzi": {admin.Strimzi},
		"/metrics/kafka?style=confluent": {admin.Confluent}, "/metrics/kafka?style=exporter": {admin.Exporter},
	} {
		known := map[string]string{}
		for _, m := range admin.Table() {
			for _, s := range styles {
				if name := m.In(s); name != "" {
					known[name] = m.Type(s)
				}
			}
		}
		cluster.Eventually(t, 30*time.Second, func() error {
			missing := maps.Clone(known)
			for _, n := range c.Nodes {
				_, body, err := n.Get(path)
				if err != nil {
					return err
				}
				for lines := bufio.NewScanner(strings.NewReader(body)); lines.Scan(); {
					f := strings.Fields(lines.Text())
					if len(f) != 4 || f[1] != "TYPE" || !strings.HasPrefix(f[2], "kafka_") && !strings.HasPrefix(f[2], "tidemark_") {
						continue
					}
					if known[f[2]] != f[3] {
						t.Errorf("%s serves the %s %s, the table says %q", path, f[3], f[2], known[f[2]])
					}
					delete(missing, f[2])
				}
			}
			maps.DeleteFunc(missing, func(name, _ string) bool {
				return slices.ContainsFunc(rare, func(r string) bool { return strings.HasPrefix(name, r) })
			})
			if len(missing) > 0 {
				return fmt.Errorf("%s: nobody serves %v", path, slices.Sorted(maps.Keys(missing)))
			}
			return nil
		})
	}
}

// joinAndCommit makes a consumer group with committed offsets.
func joinAndCommit(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	cluster.Run(t, "hello\n", "produce", "documents", "--bootstrap-server", c.Bootstrap())
	cluster.Run(t, "", "consume", "documents", "--group", "documents", "--from-beginning", "--exit", "--bootstrap-server", c.Bootstrap())
}
