package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// system is a contestant.
type system interface {
	name() string
	version() string
}

const (
	tidemarkName = "tidemark"
	kafkaName    = "kafka"
	ceilingName  = "ceiling"
)

func newSystems(o options) ([]system, error) {
	var out []system
	for _, name := range o.systems {
		switch name {
		case tidemarkName:
			bin, err := filepath.Abs(o.binary)
			if err != nil {
				return nil, err
			}
			if _, err := os.Stat(bin); err != nil {
				return nil, fmt.Errorf("%w; make build first", err)
			}
			out = append(out, &tidemark{bin: bin})
		case kafkaName:
			k, err := newKafka(o.heap)
			if err != nil {
				return nil, err
			}
			out = append(out, k)
		case ceilingName:
			out = append(out, skeleton{})
		default:
			return nil, fmt.Errorf("unknown system %q; want %s, %s or %s", name, tidemarkName, kafkaName, ceilingName)
		}
	}
	return out, nil
}

// tidemark runs the built binary.
type tidemark struct{ bin string }

func (t *tidemark) name() string { return tidemarkName }

func (t *tidemark) version() string {
	out, err := exec.Command(t.bin, "version").CombinedOutput()
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(out)), " ")
}

func (t *tidemark) format(c *cluster, n *node, voters string) *exec.Cmd {
	return exec.Command(t.bin, "storage", "format", "--config", n.properties, "--cluster-id", c.id, "--initial-controllers", voters)
}

func (t *tidemark) command(n *node) ([]string, string, []string) {
	return nil, t.bin, []string{"server", n.properties}
}

func (t *tidemark) settings(n *node) []string {
	return []string{fmt.Sprintf("tidemark.http.listener=127.0.0.1:%d", n.http)}
}

// kafka runs Apache Kafka from its published artifacts.
type kafka struct{ jars, heap, log4j string }

const fetchScript = "test/apachekafka/fetch"

func newKafka(heap string) (*kafka, error) {
	if _, err := exec.LookPath("java"); err != nil {
		return nil, fmt.Errorf("apache kafka needs Java 17 or newer: %w", err)
	}
	cmd := exec.Command(fetchScript)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s (run from the repository's root): %w\n%s", fetchScript, err, stderr.String())
	}
	return &kafka{jars: strings.TrimSpace(string(out)), heap: heap}, nil
}

func (k *kafka) name() string { return kafkaName }

func (k *kafka) version() string {
	v := "unknown"
	if m, _ := filepath.Glob(filepath.Join(k.jars, "kafka_2*.jar")); len(m) > 0 {
		_, v, _ = strings.Cut(strings.TrimSuffix(filepath.Base(m[0]), ".jar"), "-")
	}
	out, _ := exec.Command("java", "-version").CombinedOutput()
	_, java, _ := strings.Cut(string(out), `"`)
	java, _, _ = strings.Cut(java, `"`)
	return fmt.Sprintf("%s on Java %s, heap %s", v, java, k.heap)
}

const log4jConfig = `Configuration:
  Appenders: {Console: {name: out, PatternLayout: {pattern: "[%d] %p %m (%c)%n"}}}
  Loggers: {Root: {level: INFO, AppenderRef: {ref: out}}}
`

func (k *kafka) format(c *cluster, n *node, voters string) *exec.Cmd {
	k.log4j = filepath.Join(c.dir, "log4j2.yaml")
	if err := os.WriteFile(k.log4j, []byte(log4jConfig), 0o644); err != nil {
		return &exec.Cmd{Err: err}
	}
	return exec.Command("java", "-Xmx256M", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog4j2.configurationFile="+k.log4j,
		"-cp", k.jars+"/*", "kafka.tools.StorageTool", "format", "-t", c.id, "-c", n.properties, "--initial-controllers", voters)
}

// command has the flags of Kafka's own start script.
func (k *kafka) command(n *node) ([]string, string, []string) {
	return nil, "java", []string{"-Xmx" + k.heap, "-Xms" + k.heap, "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20",
		"-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent", "-Djava.awt.headless=true",
		"-Dlog4j2.configurationFile=" + k.log4j, "-cp", k.jars + "/*", "kafka.Kafka", n.properties}
}

func (k *kafka) settings(*node) []string {
	return []string{"transaction.state.log.replication.factor=3", "share.coordinator.state.topic.replication.factor=3"}
}

// skeleton is the ceiling; its processes are started by the scenario that needs them.
type skeleton struct{}

func (skeleton) name() string    { return ceilingName }
func (skeleton) version() string { return "bench/ceiling" }
