package config

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// values reads typed settings out of the merged layers; every value was checked before.
type values struct{ set map[string]Setting }

func (v values) raw(name string) string {
	if s, ok := v.set[name]; ok {
		return s.Value
	}
	k, ok := Lookup(name)
	if !ok {
		panic("config: no such key: " + name) // a typo in this package, caught by any test
	}
	return k.Default
}

func (v values) has(name string) bool { return v.raw(name) != "" }

func (v values) from(name string) string {
	if s, ok := v.set[name]; ok {
		return s.From
	}
	return "default"
}

func (v values) int64(name string) int64 {
	n, err := strconv.ParseInt(v.raw(name), 10, 64)
	if err != nil {
		panic(fmt.Sprintf("config: %s=%q passed the check but is no integer", name, v.raw(name)))
	}
	return n
}

func (v values) int(name string) int { return int(v.int64(name)) }

func (v values) bool(name string) bool { return strings.EqualFold(v.raw(name), "true") }

func (v values) float(name string) float64 {
	f, _ := strconv.ParseFloat(v.raw(name), 64) // checked
	return f
}

func (v values) list(name string) []string { return splitList(v.raw(name)) }

// millis reads a number of milliseconds; values beyond what a Duration holds
// (Kafka's Long.MAX means never) become the largest Duration.
func (v values) millis(name string) time.Duration { return scaled(v.int64(name), time.Millisecond) }

func scaled(n int64, unit time.Duration) time.Duration {
	if n > math.MaxInt64/int64(unit) {
		return math.MaxInt64
	}
	return time.Duration(n) * unit
}

// firstOf returns the first of the synonyms that is set, scaled by its unit:
// log.retention.ms beats .minutes beats .hours.
func (v values) firstOf(units ...unitKey) time.Duration {
	for _, u := range units[:len(units)-1] {
		if v.has(u.name) {
			return scaled(v.int64(u.name), u.unit)
		}
	}
	last := units[len(units)-1]
	return scaled(v.int64(last.name), last.unit)
}

type unitKey struct {
	name string
	unit time.Duration
}

// check applies the rules of keys.tsv to the merged settings. It returns every
// error at once, so that a user mends the file in one go.
func check(set map[string]Setting, ignore []string) (warnings []string, err error) {
	var errs []error
	names := make([]string, 0, len(set))
	for name := range set {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		s := set[name]
		k, ok := Lookup(name)
		if !ok {
			if w := unknown(name, s); w != "" {
				warnings = append(warnings, w)
			}
			continue
		}
		if s.Value == "" && k.Kind != "boolean" && k.Status != Protective {
			delete(set, name) // Kafka takes an empty value of most keys as unset
			continue
		}
		if e := k.check(s.Value); e != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.From, e))
			continue
		}
		w, e := status(k, s, slices.Contains(ignore, name))
		if w != "" {
			warnings = append(warnings, w)
		}
		if e != nil {
			errs = append(errs, e)
		}
	}
	return warnings, errors.Join(errs...)
}

// listenerPrefixed are keys that Kafka also takes per listener: listener.name.NAME.KEY.
const listenerPrefix = "listener.name."

func unknown(name string, s Setting) string {
	if strings.HasPrefix(name, listenerPrefix) {
		return fmt.Sprintf("%s: %s is not implemented yet and has no effect", s.From, name)
	}
	if near := Nearest(name); near != "" {
		return fmt.Sprintf("%s: unknown setting %s ignored; did you mean %s?", s.From, name, near)
	}
	return fmt.Sprintf("%s: unknown setting %s ignored", s.From, name)
}

func status(k Key, s Setting, ignored bool) (warning string, err error) {
	switch k.Status {
	case Later:
		if s.Value != k.Default {
			return fmt.Sprintf("%s: %s is a Kafka setting that is not implemented yet; it has no effect", s.From, k.Name), nil
		}
	case Removed:
		return fmt.Sprintf("%s: %s was removed from Kafka before 4.0; it has no effect", s.From, k.Name), nil
	case Protective:
		if s.Value == "" || strings.EqualFold(s.Value, k.Default) {
			return "", nil
		}
		if ignored {
			return fmt.Sprintf("%s: %s is IGNORED because of --ignore-unsupported %s: this node runs without the protection that it asks for", s.From, k.Name, k.Name), nil
		}
		return "", refusal(k.Name, s)
	}
	return "", nil
}

func refusal(name string, s Setting) error {
	return fmt.Errorf("%s: %s is not supported yet, and running without it would weaken protection or durability; "+
		"remove it, or start with --ignore-unsupported %s to run without it", s.From, name, name)
}
