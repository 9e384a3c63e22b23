package dashboards

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tidemark/test/apachekafka"
	"tidemark/test/cluster"
)

// prometheus is a Prometheus process that scrapes every node twice a second.
type prometheus struct {
	t    testing.TB
	base string
}

// program finds one of Prometheus's commands.
func program(t testing.TB, name string) string {
	t.Helper()
	p, err := exec.LookPath(name)
	if err != nil {
		apachekafka.Missing(t, "Prometheus ("+name+")", err)
	}
	return p
}

// watch starts a Prometheus that scrapes the path of every node, with the rules if
// there are any. It ends with the test.
func watch(t testing.TB, c *cluster.Cluster, path, rules string) *prometheus {
	t.Helper()
	dir, port := t.TempDir(), cluster.FreePorts(t, 1)[0]
	var targets []string
	for _, n := range c.Nodes {
		targets = append(targets, fmt.Sprintf("'127.0.0.1:%d'", n.HTTP))
	}
	bare, query, _ := strings.Cut(path, "?")
	config := "global: {scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}\nscrape_configs:\n" +
		"- {job_name: kafka, metrics_path: " + bare
	if k, v, ok := strings.Cut(query, "="); ok {
		config += ", params: {" + k + ": [" + v + "]}"
	}
	config += ", static_configs: [{targets: [" + strings.Join(targets, ", ") + "]}]}\n"
	if rules != "" {
		config += "rule_files: [rules.yml]\n"
		write(t, filepath.Join(dir, "rules.yml"), rules)
	}
	write(t, filepath.Join(dir, "prometheus.yml"), config)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(program(t, "prometheus"), "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"),
		fmt.Sprintf("--web.listen-address=127.0.0.1:%d", port), "--log.level=warn")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			b, _ := os.ReadFile(log.Name()) // of no use if it is gone
			t.Logf("--- %s\n%s", path, b)
		}
	})
	return &prometheus{t, fmt.Sprintf("http://127.0.0.1:%d", port)}
}

func write(t testing.TB, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// sample is one series of an instant query.
type sample struct {
	Metric map[string]string `json:"metric"`
	Value  [2]any            `json:"value"`
}

func (p *prometheus) get(path string, into any) error {
	client := http.Client{Timeout: 5 * time.Second}
	r, err := client.Get(p.base + path)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(r.Body).Decode(&answer); err != nil {
		return err
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s: %s", path, answer.Error)
	}
	return json.Unmarshal(answer.Data, into)
}

// query evaluates an expression now.
func (p *prometheus) query(expr string) ([]sample, error) {
	var d struct{ Result []sample }
	err := p.get("/api/v1/query?query="+url.QueryEscape(expr), &d)
	return d.Result, err
}

// scraped waits until every node was scraped a few times.
func (p *prometheus) scraped(nodes int) {
	p.t.Helper()
	cluster.Eventually(p.t, 30*time.Second, func() error {
		got, err := p.query("count(count_over_time(up[1m]) >= 3 and up == 1)")
		if err == nil && (len(got) != 1 || got[0].Value[1] != fmt.Sprint(nodes)) {
			err = fmt.Errorf("scraped of %d nodes: %v", nodes, got)
		}
		return err
	})
}

// firing lists the names of the alerts that fire, sorted.
func (p *prometheus) firing() ([]string, error) {
	var d struct {
		Alerts []struct {
			Labels map[string]string
			State  string
		}
	}
	if err := p.get("/api/v1/alerts", &d); err != nil {
		return nil, err
	}
	var out []string
	for _, a := range d.Alerts {
		if a.State == "firing" && !slices.Contains(out, a.Labels["alertname"]) {
			out = append(out, a.Labels["alertname"])
		}
	}
	slices.Sort(out)
	return out, nil
}
