// Package apachekafka runs a real Apache Kafka 4.3.1 from its published
// artifacts: its command-line tools, and brokers as peers in mixed clusters.
package apachekafka

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Main classes of Kafka's tools.
const (
	Topics          = "org.apache.kafka.tools.TopicCommand"
	ConsoleProducer = "org.apache.kafka.tools.ConsoleProducer"
	ConsoleConsumer = "org.apache.kafka.tools.consumer.ConsoleConsumer"
	MetadataQuorum  = "org.apache.kafka.tools.MetadataQuorumCommand"
	DumpLogSegments = "org.apache.kafka.tools.DumpLogSegments"
	Groups          = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
	Configs         = "kafka.admin.ConfigCommand"
	StorageTool     = "kafka.tools.StorageTool"
	Reassign        = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand"
	GetOffsets      = "org.apache.kafka.tools.GetOffsetShell"
	Elect           = "org.apache.kafka.tools.LeaderElectionCommand"
)

var libs struct {
	once sync.Once
	dir  string
	err  error
}

// Require returns the directory of Kafka's jars. Without Java or the artifacts
// the test skips and says how to get them; under make test it fails instead.
func Require(t testing.TB) string {
	t.Helper()
	libs.once.Do(func() {
		_, file, _, _ := runtime.Caller(0)
		cmd := exec.Command(filepath.Join(filepath.Dir(file), "fetch"))
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err == nil {
			_, err = exec.LookPath("java")
		}
		if err != nil {
			libs.err = fmt.Errorf("%w\n%s", err, stderr.String())
		}
		libs.dir = strings.TrimSpace(string(out))
	})
	if libs.err != nil {
		Missing(t, "Apache Kafka 4.3.1 (Java 17 or newer and Maven)", libs.err)
	}
	return libs.dir
}

// Missing skips a test whose foreign program is absent, and says how to get it;
// under make test, which installs them all, it fails.
func Missing(t testing.TB, what string, err error) {
	t.Helper()
	if os.Getenv("TIDEMARK_REQUIRE_FOREIGN") != "" {
		t.Fatalf("%s is missing: %v", what, err)
	}
	t.Skipf("needs %s; `make deps` as root installs it (%v)", what, err)
}

// Kcat returns the path of kcat.
func Kcat(t testing.TB) string {
	t.Helper()
	p, err := exec.LookPath("kcat")
	if err != nil {
		Missing(t, "kcat", err)
	}
	return p
}

// log4j2 configuration: warnings to standard error, so that output stays clean.
const log4j = `Configuration:
  Appenders: {Console: {name: out, target: SYSTEM_ERR, PatternLayout: {pattern: "[%d] %p %m (%c)%n"}}}
  Loggers: {Root: {level: LEVEL, AppenderRef: {ref: out}}}
`

func javaArgs(t testing.TB, level, class string, args []string) []string {
	t.Helper()
	conf := filepath.Join(t.TempDir(), "log4j2.yaml")
	if err := os.WriteFile(conf, []byte(strings.ReplaceAll(log4j, "LEVEL", level)), 0o644); err != nil {
		t.Fatal(err)
	}
	return append([]string{"-Xmx512M", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true",
		"-Dlog4j2.configurationFile=" + conf, "-cp", Require(t) + "/*", class}, args...)
}

// Run runs a tool to its end; the test fails unless it exits 0. It returns standard output.
func Run(t testing.TB, class string, args ...string) string {
	t.Helper()
	out, err := Try(t, "", class, args...)
	if err != nil {
		t.Fatalf("%s %s: %v", class, strings.Join(args, " "), err)
	}
	return out
}

// Try runs a tool with standard input; the error carries what it wrote to standard error.
func Try(t testing.TB, stdin, class string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "java", javaArgs(t, "WARN", class, args)...)
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%w\n%s\n%s", err, stdout.String(), stderr.String())
	}
	return stdout.String(), nil
}

// Broker is one running Apache Kafka process.
type Broker struct {
	Log  string
	file string // server.properties
	cmd  *exec.Cmd
	done chan struct{}
}

// StartBroker formats the directory if needed and starts a node with these
// server.properties. It is killed when the test ends.
func StartBroker(t testing.TB, clusterID string, properties string, formatFlags ...string) *Broker {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "server.properties")
	if err := os.WriteFile(file, []byte(properties), 0o644); err != nil {
		t.Fatal(err)
	}
	Run(t, StorageTool, append([]string{"format", "--ignore-formatted", "-t", clusterID, "-c", file}, formatFlags...)...)
	b := &Broker{Log: filepath.Join(dir, "broker.log"), file: file}
	b.Restart(t)
	t.Cleanup(func() {
		b.Kill()
		if t.Failed() {
			t.Logf("--- end of the Apache Kafka broker's log\n%s", b.Tail(40))
		}
	})
	return b
}

// Restart starts the process anew once it has ended; its log goes on in the
// same file.
func (b *Broker) Restart(t testing.TB) {
	t.Helper()
	log, err := os.OpenFile(b.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd, done := exec.Command("java", javaArgs(t, "INFO", "kafka.Kafka", []string{b.file})...), make(chan struct{})
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	b.cmd, b.done = cmd, done
	go func() { _ = cmd.Wait(); close(done) }()
}

// Running reports whether the process lives; an observer that is told an
// impossible thing halts its process.
func (b *Broker) Running() bool {
	select {
	case <-b.done:
		return false
	default:
		return true
	}
}

// Stop is SIGTERM; it waits for the end.
func (b *Broker) Stop(t testing.TB) {
	t.Helper()
	_ = b.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-b.done:
	case <-time.After(90 * time.Second):
		t.Fatalf("the Apache Kafka broker did not stop\n%s", b.Tail(30))
	}
}

// Kill is kill -9; it returns when the process is gone.
func (b *Broker) Kill() {
	_ = b.cmd.Process.Kill()
	<-b.done
}

// Pause is SIGSTOP, Continue SIGCONT.
func (b *Broker) Pause() { _ = b.cmd.Process.Signal(syscall.SIGSTOP) }

// Continue undoes Pause.
func (b *Broker) Continue() { _ = b.cmd.Process.Signal(syscall.SIGCONT) }

// Tail returns the last lines of its log.
func (b *Broker) Tail(lines int) string {
	p, err := os.ReadFile(b.Log)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(p), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// LogHas reports whether the broker logged the text.
func (b *Broker) LogHas(text string) bool {
	p, err := os.ReadFile(b.Log)
	return err == nil && bytes.Contains(p, []byte(text))
}
