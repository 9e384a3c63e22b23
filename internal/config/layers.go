package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Source says where settings come from.
type Source struct {
	Name              string   // the file's name, for error texts
	Text              string   // the file's content
	Environ           []string // as os.Environ
	Overrides         []string // key=value of --override, in order
	IgnoreUnsupported []string // keys of --ignore-unsupported
}

// envSkip are variables of Apache's container image that aren't settings.
var envSkip = []string{"KAFKA_HEAP_OPTS", "KAFKA_OPTS", "KAFKA_JMX_OPTS", "KAFKA_JMX_PORT", "KAFKA_JMX_HOSTNAME", "KAFKA_GC_LOG_OPTS",
	"KAFKA_JVM_PERFORMANCE_OPTS", "KAFKA_HOME", "KAFKA_VERSION", "KAFKA_DEBUG", "KAFKA_CLUSTER_ID"}

// layers merges file, environment and overrides; later layers win.
func layers(s Source) (map[string]Setting, error) {
	out, err := ParseProperties(s.Name, s.Text)
	if err != nil {
		return nil, err
	}
	env := slices.Clone(s.Environ)
	slices.Sort(env)
	for _, kv := range env {
		name, value, _ := strings.Cut(kv, "=")
		if key, ok := EnvKey(name); ok {
			out[key] = Setting{Value: value, From: "environment " + name}
		}
	}
	for _, kv := range s.Overrides {
		key, value, ok := strings.Cut(kv, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("--override %q: want key=value", kv)
		}
		out[strings.TrimSpace(key)] = Setting{Value: strings.TrimSpace(value), From: "--override"}
	}
	for key, set := range out {
		v, err := expand(set.Value, s.Environ)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", set.From, key, err)
		}
		out[key] = Setting{Value: v, From: set.From}
	}
	return out, nil
}

// EnvKey translates a variable's name by the rule of Apache's container image:
// the prefix KAFKA_ (or KAFKA_CFG_) is dropped, then ___ is -, __ is _, _ is a dot.
func EnvKey(name string) (string, bool) {
	rest, ok := strings.CutPrefix(name, "KAFKA_")
	if !ok || rest == "" || slices.Contains(envSkip, name) || strings.HasPrefix(name, "KAFKA_LOG4J") {
		return "", false
	}
	rest = strings.TrimPrefix(rest, "CFG_")
	return strings.NewReplacer("___", "-", "__", "_", "_", ".").Replace(strings.ToLower(rest)), true
}

// expand replaces ${env:X}, ${file:PATH:KEY} and ${dir:DIR:FILE}, the three
// providers that Kafka ships. Values may be secrets: they never appear in errors.
func expand(value string, environ []string) (string, error) {
	var out strings.Builder
	for {
		i := strings.Index(value, "${")
		if i < 0 {
			break
		}
		j := strings.IndexByte(value[i:], '}')
		if j < 0 {
			break
		}
		got, known, err := provide(value[i+2:i+j], environ)
		if err != nil {
			return "", err
		}
		out.WriteString(value[:i])
		if known {
			out.WriteString(got)
		} else {
			out.WriteString(value[i : i+j+1])
		}
		value = value[i+j+1:]
	}
	out.WriteString(value)
	return out.String(), nil
}

func provide(ref string, environ []string) (value string, known bool, err error) {
	kind, arg, ok := strings.Cut(ref, ":")
	if !ok {
		return "", false, nil
	}
	switch kind {
	case "env":
		for _, kv := range slices.Backward(environ) {
			if n, v, _ := strings.Cut(kv, "="); n == arg {
				return v, true, nil
			}
		}
		return "", true, fmt.Errorf("${%s}: no such environment variable", ref)
	case "file":
		path, key, _ := strings.Cut(arg, ":")
		text, err := os.ReadFile(path)
		if err != nil {
			return "", true, fmt.Errorf("${%s}: %w", ref, err)
		}
		props, err := ParseProperties(path, string(text))
		if err != nil {
			return "", true, err
		}
		set, ok := props[key]
		if !ok {
			return "", true, fmt.Errorf("${%s}: %s has no key %q", ref, path, key)
		}
		return set.Value, true, nil
	case "dir":
		dir, file, _ := strings.Cut(arg, ":")
		if file == "" || file != filepath.Base(file) {
			return "", true, fmt.Errorf("${%s}: want ${dir:DIRECTORY:FILE} with a plain file name", ref)
		}
		text, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			return "", true, fmt.Errorf("${%s}: %w", ref, err)
		}
		return string(text), true, nil
	}
	return "", false, nil
}
