package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestKafkaStyleFile(t *testing.T) {
	c, err := Load(Source{Name: "server.properties", Text: read(t, "kafka.properties")})
	if err != nil {
		t.Fatal(err)
	}
	if !c.Broker || !c.Controller || c.NodeID != 1 || len(c.Warnings) != 0 {
		t.Fatalf("roles, id or warnings wrong: %+v", c)
	}
	l, _ := c.ListenerFor("plaintext")
	if l.AdvertisedHost != "localhost" || l.AdvertisedPort != 9092 || l.Bind() != ":9092" {
		t.Errorf("listener %+v", l)
	}
	if c.Network.SendBuffer != 102400 {
		t.Errorf("send buffer %d: a set value is honoured", c.Network.SendBuffer)
	}
	if got := c.Topics.Defaults["retention.ms"]; got != "604800000" {
		t.Errorf("retention.ms=%s", got)
	}
	if c.StateDir != "/var/lib/kafka/combined.tidemark" || c.MetadataDir != "/var/lib/kafka/combined" {
		t.Errorf("state %s, metadata %s", c.StateDir, c.MetadataDir)
	}
}

func TestOperatorFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "rack.id"), []byte("zone-a"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(Source{Name: "f", Text: strings.ReplaceAll(read(t, "operator.properties"), "DIR", dir)})
	if err != nil {
		t.Fatal(err)
	}
	if c.Rack != "zone-a" || c.Controller || len(c.Voters) != 3 || c.InterBrokerListener != "REPLICATION-9091" || c.Replication.Selector != "rack" {
		t.Fatalf("%+v", c)
	}
	if l, _ := c.ListenerFor("EXTERNAL-9094"); l.AdvertisedHost != "node-0.example.org" || l.AdvertisedPort != 31234 {
		t.Errorf("external listener %+v", l)
	}
}

func TestRoleFile(t *testing.T) {
	c, err := Load(Source{Name: "f", Text: read(t, "role.properties")})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.LogDirs) != 2 || c.Topics.AutoCreate || c.Replication.Fetchers != 4 || c.Topics.Defaults["retention.ms"] != "5400000" {
		t.Fatalf("%+v", c)
	}
	all := strings.Join(c.Warnings, "\n")
	for _, want := range []string{"did you mean replica.lag.time.max.ms?", "zookeeper.connection.timeout.ms was removed", "group.consumer.session.timeout.ms is a Kafka setting that is not implemented yet"} {
		if !strings.Contains(all, want) {
			t.Errorf("no warning %q in:\n%s", want, all)
		}
	}
}

// Settings whose absence would weaken protection refuse the start, each by name.
func TestProtectiveSettingsRefuse(t *testing.T) {
	text := read(t, "operator-tls.properties")
	_, err := Load(Source{Name: "f", Text: text})
	for _, want := range []string{"authorizer.class.name", "super.users", "ssl.secure.random.implementation", "--ignore-unsupported"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v doesn't name %s", err, want)
		}
	}
	ignore := []string{"authorizer.class.name", "super.users", "ssl.secure.random.implementation"}
	if _, err = Load(Source{Name: "f", Text: text, IgnoreUnsupported: ignore}); err == nil || !strings.Contains(err.Error(), "REPLICATION-9091 maps to SSL") {
		t.Errorf("a TLS listener was not refused: %v", err)
	}
	c, err := Load(Source{Name: "f", Text: text, IgnoreUnsupported: append(ignore, "listener.security.protocol.map")})
	if err != nil || !strings.Contains(strings.Join(c.Warnings, "\n"), "IGNORED because of --ignore-unsupported super.users") {
		t.Errorf("ignoring every key by name: err %v, warnings %v", err, c)
	}
}

func TestBadValuesNameValueRangeAndLine(t *testing.T) {
	base := read(t, "kafka.properties")
	for _, tc := range []struct{ override, want string }{
		{"num.partitions=0", "num.partitions=0: want an integer of at least 1"},
		{"log.cleaner.min.cleanable.ratio=2", "want a number from 0 to 1"},
		{"node.id=x", "node.id=x: want an integer"},
		{"process.roles=zookeeper", "want a list of broker, controller"},
		{"listeners=PLAINTEXT://:99999", `port "99999"`},
		{"listeners=PLAINTEXT://:9092,PLAINTEXT://:9094", "used twice"},
		{"advertised.listeners=OTHER://h:1", "which listeners doesn't have"},
		{"controller.quorum.voters=1:localhost:9093", "want id@host:port"},
		{"controller.quorum.voters=2@localhost:9093", "doesn't name this controller"},
		{"replica.fetch.wait.max.ms=40000", "must not exceed"},
		{"broker.session.timeout.ms=3000", "at most half"},
		{"tidemark.state.dir=/var/lib/kafka/combined/x", "inside the log directory"},
		{"remote.log.storage.system.enable=true", "not supported yet"},
		{"advertised.listeners=PLAINTEXT://0.0.0.0:9092", "name this host"},
		{"inter.broker.listener.name=CONTROLLER", "no such broker listener"},
	} {
		_, err := Load(Source{Name: "f", Text: base, Overrides: []string{tc.override}})
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want %q", tc.override, err, tc.want)
		}
	}
	_, err := Load(Source{Name: "f", Text: base + "\nnum.io.threads=many\n"})
	if err == nil || !strings.Contains(err.Error(), "f line 36: num.io.threads=many") {
		t.Errorf("no line number: %v", err)
	}
}

func TestEnvironmentOverridesFile(t *testing.T) {
	t.Parallel()
	c, err := Load(Source{Name: "f", Text: read(t, "kafka.properties"),
		Environ:   []string{"KAFKA_NODE_ID=7", "KAFKA_CFG_NUM_PARTITIONS=6", "KAFKA_BROKER_RACK=${env:ZONE}", "ZONE=az2", "KAFKA_HEAP_OPTS=-Xmx1G", "PATH=/bin"},
		Overrides: []string{"num.partitions=9", "log.retention.ms=-1"}})
	if err != nil {
		t.Fatal(err)
	}
	if c.NodeID != 7 || c.Topics.Partitions != 9 || c.Rack != "az2" || c.Topics.Defaults["retention.ms"] != "-1" || len(c.Warnings) != 0 {
		t.Fatalf("%+v", c)
	}
	for env, want := range map[string]string{"KAFKA_A_B": "a.b", "KAFKA_A__B_C___D": "a_b.c-d"} {
		if got, ok := EnvKey(env); !ok || got != want {
			t.Errorf("%s -> %s", env, got)
		}
	}
}

func TestProviderErrorsHideValues(t *testing.T) {
	_, err := Load(Source{Name: "f", Text: read(t, "kafka.properties") + "\nbroker.rack=${env:NOPE}\n"})
	if err == nil || !strings.Contains(err.Error(), "no such environment variable") {
		t.Fatal(err)
	}
}

func TestPropertiesFormat(t *testing.T) {
	got, err := ParseProperties("f", "a=1\n! note\nb : two words \\\n   go on\nc\\:d=\\u00e9\\t\na=2\nempty=\nkey value\n")
	if err != nil {
		t.Fatal(err)
	}
	for k, want := range map[string]string{"a": "2", "b": "two words go on", "c:d": "é\t", "empty": "", "key": "value"} {
		if got[k].Value != want {
			t.Errorf("%s=%q, want %q", k, got[k].Value, want)
		}
	}
	if got["a"].From != "f line 6" {
		t.Errorf("from %s", got["a"].From)
	}
	if _, err := ParseProperties("f", "a=\\u12"); err == nil {
		t.Error("a cut escape was accepted")
	}
}

func TestEveryDefaultPassesItsOwnCheck(t *testing.T) {
	for _, k := range Keys() {
		if k.Default == "" || k.Default == "REQ" {
			continue
		}
		if err := k.check(k.Default); err != nil {
			t.Error(err)
		}
	}
	if d := (values{map[string]Setting{}}).millis("log.flush.scheduler.interval.ms"); d != time.Duration(1<<63-1) {
		t.Errorf("Long.MAX milliseconds became %v", d)
	}
}
