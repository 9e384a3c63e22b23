package config

import (
	_ "embed"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Status says what this implementation does with a key.
type Status string

// The statuses of keys.tsv; see the package comment.
const (
	Honoured   Status = "honoured"
	Quiet      Status = "quiet"
	Later      Status = "later"
	Protective Status = "protective"
	Removed    Status = "removed"
)

// Key describes one setting of server.properties.
type Key struct {
	Name    string
	Kind    string // string, int, short, long, double, boolean, list, class, password
	Default string // "" is Kafka's null
	Status  Status

	min, max float64 // NaN: no bound
	also     string  // a value outside the range that is allowed, such as -1
	choices  []string
	rangeRaw string
}

// Required is the Default of a key that has none and must be set.
const Required = "REQ"

//go:embed keys.tsv
var keysTSV string

var (
	keys    = parseKeys(keysTSV)
	keyByID = indexKeys(keys)
)

// Keys returns every known key in order of name. The slice is shared: don't change it.
func Keys() []Key { return keys }

// Lookup finds a known key.
func Lookup(name string) (Key, bool) {
	i, ok := keyByID[name]
	if !ok {
		return Key{}, false
	}
	return keys[i], true
}

func indexKeys(ks []Key) map[string]int {
	m := make(map[string]int, len(ks))
	for i, k := range ks {
		m[k.Name] = i
	}
	return m
}

func parseKeys(tsv string) []Key {
	var out []Key
	for _, line := range strings.Split(strings.TrimSpace(tsv), "\n") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(line, "\t")
		if len(f) != 5 {
			panic(fmt.Sprintf("keys.tsv: %q has %d columns, want 5", line, len(f)))
		}
		k := Key{Name: f[0], Kind: f[1], Default: f[2], Status: Status(f[4]), min: math.NaN(), max: math.NaN(), rangeRaw: f[3]}
		if k.Default == "-" {
			k.Default = ""
		}
		k.parseRange(f[3])
		out = append(out, k)
	}
	return out
}

func (k *Key) parseRange(s string) {
	if s == "-" {
		k.rangeRaw = ""
		return
	}
	if strings.HasPrefix(s, "{") {
		k.choices = strings.Split(strings.Trim(s, "{}"), ",")
		return
	}
	s, k.also, _ = strings.Cut(s, "|")
	lo, hi, _ := strings.Cut(s, "..")
	if v, err := strconv.ParseFloat(lo, 64); err == nil {
		k.min = v
	}
	if v, err := strconv.ParseFloat(hi, 64); err == nil {
		k.max = v
	}
}

// wants says in words which values the key takes.
func (k Key) wants() string {
	kind := map[string]string{"int": "an integer", "short": "an integer", "long": "an integer", "double": "a number",
		"boolean": "true or false"}[k.Kind]
	switch {
	case len(k.choices) > 0 && k.Kind == "list":
		return "a list of " + strings.Join(k.choices, ", ")
	case len(k.choices) > 0:
		return "one of " + strings.Join(k.choices, ", ")
	case !math.IsNaN(k.min) && !math.IsNaN(k.max):
		return fmt.Sprintf("%s from %v to %v", kind, k.min, k.max)
	case !math.IsNaN(k.min):
		return fmt.Sprintf("%s of at least %v", kind, k.min)
	}
	return kind
}

// check reports whether the value is one that the key takes.
func (k Key) check(value string) error {
	bad := fmt.Errorf("%s=%s: want %s", k.Name, value, k.wants())
	switch k.Kind {
	case "boolean":
		if v := strings.ToLower(value); v != "true" && v != "false" {
			return bad
		}
	case "int", "short", "long":
		bits := map[string]int{"short": 16, "int": 32, "long": 64}[k.Kind]
		v, err := strconv.ParseInt(value, 10, bits)
		if err != nil || !k.within(float64(v)) && value != k.also {
			return bad
		}
	case "double":
		v, err := strconv.ParseFloat(value, 64)
		if err != nil || !k.within(v) {
			return bad
		}
	case "list":
		for _, v := range splitList(value) {
			if len(k.choices) > 0 && !contains(k.choices, v) {
				return bad
			}
		}
	default:
		if len(k.choices) > 0 && !contains(k.choices, value) {
			return bad
		}
	}
	return nil
}

func (k Key) within(v float64) bool {
	return !(v < k.min) && !(v > k.max) // NaN bounds compare false: no bound
}

func contains(choices []string, v string) bool {
	for _, c := range choices {
		if strings.EqualFold(c, v) {
			return true
		}
	}
	return false
}

func splitList(s string) []string {
	var out []string
	for _, p := range strings.Split(s, ",") {
		if p = strings.TrimSpace(p); p != "" {
			out = append(out, p)
		}
	}
	return out
}

// Nearest returns the known key whose name is closest to an unknown one, or ""
// if none is close enough to be worth naming.
func Nearest(name string) string {
	best, bestDist := "", len(name)/3+2
	for _, k := range keys {
		if k.Status == Removed {
			continue
		}
		if d := editDistance(name, k.Name, bestDist); d < bestDist {
			best, bestDist = k.Name, d
		}
	}
	return best
}

// editDistance is Levenshtein's distance, or limit if that is reached.
func editDistance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diag := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diag
			if a[i-1] != b[j-1] {
				cost = 1 + min(diag, row[j], row[j-1])
			}
			diag, row[j] = row[j], cost
		}
	}
	return row[len(b)]
}
