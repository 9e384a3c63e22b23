package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
)

// report collects everything that was measured.
type report struct {
	Facts   []fact   `json:"facts"`
	Options string   `json:"options"`
	Results []result `json:"results"`
}

type result struct {
	Round    int                `json:"round"`
	System   string             `json:"system"`
	Scenario string             `json:"scenario"`
	Metrics  map[string]float64 `json:"metrics,omitempty"`
	Error    string             `json:"error,omitempty"`

	order []string // of the metrics
}

func describe(o options) string {
	s := fmt.Sprintf("%d rounds; %v warm-up, %v window, at most %d MB a scenario; idle watched for %v",
		o.rounds, o.warmup, o.measure, o.maxBytes/1e6, o.idle)
	if o.heat > 0 {
		s += fmt.Sprintf("; Apache Kafka hot, after %v of mixed load", o.heat)
	}
	return s
}

func (r *report) add(round int, system, scenario string, m metrics, err error) {
	res := result{Round: round, System: system, Scenario: scenario}
	if err != nil {
		res.Error = strings.TrimSpace(err.Error())
		fmt.Fprintf(os.Stderr, "round %d  %-9s %-20s failed: %s\n", round, system, scenario, res.Error)
	} else {
		res.Metrics = map[string]float64{}
		var line []string
		for _, x := range m {
			res.Metrics[x.Name] = x.Value
			res.order = append(res.order, x.Name)
			line = append(line, fmt.Sprintf("%s %s", number(x.Value), x.Name))
		}
		fmt.Fprintf(os.Stderr, "round %d  %-9s %-20s %s\n", round, system, scenario, strings.Join(line, "; "))
	}
	r.Results = append(r.Results, res)
}

// number prints three significant digits.
func number(v float64) string {
	switch {
	case v != v:
		return "-"
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	case v >= 0.1 || v == 0:
		return fmt.Sprintf("%.2f", v)
	default:
		return fmt.Sprintf("%.3f", v)
	}
}

func (r *report) write(o options) error {
	table := r.markdown(o)
	if o.jsonFile != "" {
		b, err := json.MarshalIndent(r, "", " ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(o.jsonFile, append(b, '\n'), 0o644); err != nil {
			return err
		}
	}
	if o.markdownFile == "" {
		fmt.Print(table)
		return nil
	}
	old, err := os.ReadFile(o.markdownFile)
	if err != nil {
		return err
	}
	text, err := replaceSection(string(old), section(o), table)
	if err != nil {
		return fmt.Errorf("%s: %w", o.markdownFile, err)
	}
	return os.WriteFile(o.markdownFile, []byte(text), 0o644)
}

// section names the part of the page that a run may replace.
func section(o options) string {
	s := strings.Join(slices.Sorted(slices.Values(o.systems)), "+")
	if o.section != "" {
		s += ", " + o.section
	}
	return s
}

// replaceSection puts the table between the markers of the section, or at the
// end of the page if it has none.
func replaceSection(page, name, table string) (string, error) {
	begin, end := "<!-- begin "+name+" -->\n", "<!-- end "+name+" -->\n"
	i := strings.Index(page, begin)
	if i < 0 {
		return page + "\n" + begin + table + end, nil
	}
	j := strings.Index(page[i:], end)
	if j < 0 {
		return "", fmt.Errorf("marker %q without %q", strings.TrimSpace(begin), strings.TrimSpace(end))
	}
	return page[:i] + begin + table + page[i+j:], nil
}

// markdown is the facts and one table per scenario.
func (r *report) markdown(o options) string {
	var b strings.Builder
	title := strings.Join(o.systems, ", ")
	if o.section != "" {
		title += ": " + o.section
	}
	fmt.Fprintf(&b, "\n### %s\n\n", title)
	for _, f := range r.Facts {
		fmt.Fprintf(&b, "- %s: %s\n", f.Name, f.Value)
	}
	fmt.Fprintf(&b, "- %s\n\nmin / **median** / max of the rounds; a ratio is the median of the ratios within each round.\n\n", r.Options)
	pairs := ratios(o.systems)
	fmt.Fprintf(&b, "| what | %s |", strings.Join(o.systems, " | "))
	for _, p := range pairs {
		fmt.Fprintf(&b, " %s / %s |", p[0], p[1])
	}
	fmt.Fprintf(&b, "\n|%s\n", strings.Repeat(" --- |", 1+len(o.systems)+len(pairs)))
	for _, s := range scenarios() {
		if slices.Contains(o.scenarios, s.name) {
			r.rows(&b, s, o.systems, pairs)
		}
	}
	for _, res := range r.Results {
		if res.Error != "" {
			fmt.Fprintf(&b, "\nFailed: %s, %s, round %d: %s\n", res.System, res.Scenario, res.Round, strings.ReplaceAll(res.Error, "\n", " "))
		}
	}
	return b.String() + "\n"
}

// ratios are the pairs of systems that are compared.
func ratios(systems []string) (out [][2]string) {
	for _, p := range [][2]string{{tidemarkName, kafkaName}, {tidemarkName, ceilingName}, {kafkaName, ceilingName}} {
		if slices.Contains(systems, p[0]) && slices.Contains(systems, p[1]) {
			out = append(out, p)
		}
	}
	return out
}

func (r *report) rows(b *strings.Builder, s scenario, systems []string, pairs [][2]string) {
	names := r.metricNames(s.name)
	if len(names) == 0 {
		return
	}
	fmt.Fprintf(b, "| **%s** (`%s`) |%s\n", s.title, s.name, strings.Repeat(" |", len(systems)+len(pairs)))
	for _, name := range names {
		fmt.Fprintf(b, "| %s |", name)
		for _, sys := range systems {
			lo, mid, hi, n := spread(r.values(s.name, sys, name))
			switch n {
			case 0:
				b.WriteString(" |")
			case 1:
				fmt.Fprintf(b, " **%s** |", number(mid))
			default:
				fmt.Fprintf(b, " %s / **%s** / %s |", number(lo), number(mid), number(hi))
			}
		}
		for _, p := range pairs {
			if _, mid, _, n := spread(quotients(r.values(s.name, p[0], name), r.values(s.name, p[1], name))); n > 0 {
				fmt.Fprintf(b, " %s |", number(mid))
			} else {
				b.WriteString(" |")
			}
		}
		b.WriteString("\n")
	}
}

func (r *report) metricNames(scenario string) (out []string) {
	for _, res := range r.Results {
		if res.Scenario == scenario {
			for _, name := range res.order {
				if !slices.Contains(out, name) {
					out = append(out, name)
				}
			}
		}
	}
	return out
}

// values are one metric of one system by round.
func (r *report) values(scenario, system, metric string) map[int]float64 {
	out := map[int]float64{}
	for _, res := range r.Results {
		if v, ok := res.Metrics[metric]; ok && res.Scenario == scenario && res.System == system {
			out[res.Round] = v
		}
	}
	return out
}

// quotients divides round by round.
func quotients(a, b map[int]float64) map[int]float64 {
	out := map[int]float64{}
	for round, v := range a {
		if w, ok := b[round]; ok && w != 0 {
			out[round] = v / w
		}
	}
	return out
}

func spread(values map[int]float64) (lo, median, hi float64, n int) {
	if len(values) == 0 {
		return 0, 0, 0, 0
	}
	var v []float64
	for _, x := range values {
		v = append(v, x)
	}
	slices.Sort(v)
	n = len(v)
	return v[0], (v[(n-1)/2] + v[n/2]) / 2, v[n-1], n
}
