package packaging

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"tidemark/internal/config"
	"tidemark/internal/wire"
	"tidemark/test/apachekafka"
	"tidemark/test/cluster"
)

var update = flag.Bool("update", false, "write the tables of the documents instead of comparing them")

// between returns the text between a document's <!-- table NAME --> and <!-- end -->.
func between(t *testing.T, doc, name string) (before, table, after string) {
	t.Helper()
	head := "<!-- table " + name + " -->\n"
	before, rest, ok := strings.Cut(doc, head)
	table, after, ended := strings.Cut(rest, "<!-- end -->")
	if !ok || !ended {
		t.Fatalf("no table %s", name)
	}
	return before + head, table, "<!-- end -->" + after
}

// compareTable compares a table of a document with what it should be, or writes it.
func compareTable(t *testing.T, file, name, want string) {
	t.Helper()
	before, got, after := between(t, read(t, file), name)
	if got == want {
		return
	}
	if *update {
		if err := os.WriteFile(filepath.Join(root, file), []byte(before+want+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("%s: table %s is out of date; go test ./test/packaging -run TestDocuments -update writes it.\n%s", file, name, difference(got, want))
}

// difference lists the lines that only one of the texts has.
func difference(got, want string) string {
	var out []string
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for _, l := range g {
		if !slices.Contains(w, l) {
			out = append(out, "- "+l)
		}
	}
	for _, l := range w {
		if !slices.Contains(g, l) {
			out = append(out, "+ "+l)
		}
	}
	return strings.Join(out, "\n")
}

// TestDocuments compares the tables of docs/ with two running nodes, with the
// program's help and with the known settings.
func TestDocuments(t *testing.T) {
	c := cluster.New(t, cluster.Options{Nodes: 2, Static: true})
	cluster.CreateTopic(t, c.Bootstrap(), "documents", 1, 2, nil)
	cluster.WaitISR(t, c.Bootstrap(), "documents", 2, 30*time.Second)
	t.Run("apis", func(t *testing.T) {
		n := c.Node(1)
		compareTable(t, "docs/PROTOCOL.md", "apis", apiTable(advertised(t, n.Addr()), advertised(t, fmt.Sprintf("127.0.0.1:%d", n.Control))))
	})
	t.Run("metrics", func(t *testing.T) {
		compareTable(t, "docs/OPERATIONS.md", "metrics", metricTable())
		compareTable(t, "docs/OPERATIONS.md", "exporter", exporterTable())
		compareTable(t, "docs/OPERATIONS.md", "alerts", alertTable(t))
		servedMetrics(t, c)
	})
	t.Run("commands", func(t *testing.T) { compareTable(t, "docs/OPERATIONS.md", "commands", commandTable(t)) })
	t.Run("settings", func(t *testing.T) { compareTable(t, "docs/OPERATIONS.md", "settings", settingTable(t)) })
	t.Run("readme", func(t *testing.T) { readmeCommands(t, c.Node(1).Addr()) })
}

// readmeCommands runs the README's commands with kcat, and reads the record back
// with each of its clients.
func readmeCommands(t *testing.T, addr string) {
	kcat := apachekafka.Kcat(t)
	for _, line := range []string{"echo hello | kcat -b 127.0.0.1:9092 -t greetings -P", "kcat -b 127.0.0.1:9092 -t greetings -C -e"} {
		if !strings.Contains(read(t, "README.md"), line) {
			t.Fatalf("the README has no %q", line)
		}
		line = strings.NewReplacer("kcat", kcat, "127.0.0.1:9092", addr).Replace(line)
		var stderr strings.Builder
		cmd := exec.Command("sh", "-c", line)
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if want := map[bool]string{true: "hello\n"}[strings.HasSuffix(line, "-e")]; err != nil || string(out) != want {
			t.Fatalf("%s: %v, printed %q, want %q\n%s", line, err, out, want, stderr.String())
		}
	}
	args := []string{"consume", "greetings", "--from-beginning", "--exit", "--bootstrap-server", addr}
	if out := cluster.Run(t, "", args...); out != "hello\n" {
		t.Errorf("tidemark consume printed %q", out)
	}
	if out := cluster.Run(t, "", append(args, "--group", "readers", "-o", "json")...); !strings.Contains(out, `"value":"hello"`) {
		t.Errorf("tidemark consume --group printed %q", out)
	}
}

// advertised is what a listener answers to ApiVersions.
func advertised(t *testing.T, addr string) map[int16]string {
	t.Helper()
	cl := cluster.Client(t, addr)
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = "documents", "1"
	resp, err := cl.SeedBrokers()[0].Request(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	out := map[int16]string{}
	for _, k := range resp.(*kmsg.ApiVersionsResponse).ApiKeys {
		out[k.ApiKey] = fmt.Sprintf("%d-%d", k.MinVersion, k.MaxVersion)
		if k.MinVersion == k.MaxVersion {
			out[k.ApiKey] = fmt.Sprint(k.MinVersion)
		}
	}
	return out
}

func apiTable(broker, controller map[int16]string) string {
	rows := map[int16]bool{}
	for k := range broker {
		rows[k] = true
	}
	for k := range controller {
		rows[k] = true
	}
	var b strings.Builder
	b.WriteString("| key | API | broker listener | controller listener |\n| ---: | --- | --- | --- |\n")
	for _, k := range slices.Sorted(maps.Keys(rows)) {
		fmt.Fprintf(&b, "| %d | %s | %s | %s |\n", k, wire.APIName(k), broker[k], controller[k])
	}
	return b.String()
}

var flagLine = regexp.MustCompile(`^ +(?:-\w, )?(--[a-z-]+)`)

// commandTable walks through --help.
func commandTable(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("| command | does | flags |\n| --- | --- | --- |\n")
	walkHelp(t, &b, nil, "")
	return b.String()
}

func walkHelp(t *testing.T, b *strings.Builder, path []string, short string) {
	t.Helper()
	help := cluster.Run(t, "", append(slices.Clone(path), "--help")...)
	_, rest, _ := strings.Cut(help, "Usage:\n")
	usage, _, _ := strings.Cut(rest, "\n")
	var flags []string
	subcommands, part := [][2]string{}, ""
	for line := range strings.Lines(rest) {
		line = strings.TrimRight(line, "\n")
		switch f := strings.Fields(line); {
		case strings.HasSuffix(line, ":") && !strings.HasPrefix(line, " "):
			part = line
		case part == "Available Commands:" && len(f) > 1 && f[0] != "completion" && f[0] != "help":
			subcommands = append(subcommands, [2]string{f[0], strings.Join(f[1:], " ")})
		case part == "Flags:":
			if m := flagLine.FindStringSubmatch(line); m != nil && m[1] != "--help" && m[1] != "--version" {
				flags = append(flags, "`"+m[1]+"`")
			}
		}
	}
	if len(subcommands) == 0 {
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", strings.ReplaceAll(strings.TrimSuffix(strings.TrimSpace(usage), " [flags]"), "|", `\|`), short, strings.Join(flags, " "))
	}
	for _, s := range subcommands {
		walkHelp(t, b, append(slices.Clone(path), s[0]), s[1])
	}
}

// meanings of our own settings; a setting without one fails the test.
var meanings = map[string]string{
	"tidemark.http.listener":          "address of health, metrics, JSON and page; `none` turns it off. A busy default address moves to the next free port up to 9699, a busy configured one is an error",
	"tidemark.state.dir":              "own files: the replication journal, lost and found. Default: the first log directory's name with `.tidemark` added; never inside a log directory",
	"tidemark.fast.failure.detection": "fence a broker at once when all its connections break and a probe of its listener is refused; `false` waits for `broker.session.timeout.ms` as Kafka does",
	"tidemark.journal.max.bytes":      "limit of the journal's two files together",
	"tidemark.recovery.max.bytes":     "how many bytes of a partition's newest segment are to be read and checked, about, after an unclean stop: the rest is brought to disk in the background as it grows. 0 leaves it at Kafka's way, which reads the whole segment",
	"tidemark.scrub.bytes.per.second": "rate at which each log directory's closed segments are read in the background and compared with their checksums; 0 turns it off. A pass takes at least as long as one over 1 GiB",
	"tidemark.log.dir.reserve.bytes":  "space that records leave free on the disk of each log directory, at most a twentieth of it: below it they are refused, and reads go on",
	"tidemark.lostfound.max.bytes":    "limit of what is kept of records that a truncation or a repair removed, in `lost-found` under `tidemark.state.dir`; the oldest go first, 0 keeps nothing",
}

func settingTable(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("| setting | default | meaning |\n| --- | --- | --- |\n")
	for _, k := range config.Keys() {
		if !strings.HasPrefix(k.Name, "tidemark.") {
			continue
		}
		if meanings[k.Name] == "" {
			t.Errorf("say in this test what %s means", k.Name)
		}
		def := ""
		if k.Default != "" {
			def = "`" + k.Default + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", k.Name, def, meanings[k.Name])
	}
	return b.String()
}

// The versions that the README names are those of the table.
func TestReadmeVersions(t *testing.T) {
	_, apis, _ := strings.Cut(read(t, "README.md"), "\n## APIs\n")
	apis, _, _ = strings.Cut(apis, "\n## ")
	served := map[string]string{}
	for _, a := range wire.APIs() {
		served[a.Name] = fmt.Sprintf("%d-%d", a.Min, a.Max)
	}
	all := regexp.MustCompile(`([A-Z][A-Za-z]+) (\d+-\d+)`).FindAllStringSubmatch(apis, -1)
	if len(all) < 15 {
		t.Fatalf("only %d versions in the README", len(all))
	}
	for _, m := range all {
		if served[m[1]] != m[2] {
			t.Errorf("README: %s %s, served are %q", m[1], m[2], served[m[1]])
		}
	}
}

// Every relative link of the documents leads to a file.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)
	docs, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	more, _ := filepath.Glob(filepath.Join(root, "docs", "design", "*.md")) // a bad pattern alone fails
	for _, doc := range append(append(docs, more...), filepath.Join(root, "README.md")) {
		b, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(b), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(doc), m[1])); err != nil {
				t.Errorf("%s: %s: %v", filepath.Base(doc), m[1], err)
			}
		}
	}
}

// The documents name tests that exist, so that a claim can be run.
func TestNamedTestsExist(t *testing.T) {
	named, defined := regexp.MustCompile("`(Test[A-Za-z0-9_]+|Fuzz[A-Za-z0-9_]+)`"), map[string]bool{}
	def := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Za-z0-9_]+)\(`)
	for _, dir := range []string{"internal", "test", "bench"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(name string, d os.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(name, "_test.go") {
				return err
			}
			b, err := os.ReadFile(name)
			for _, m := range def.FindAllStringSubmatch(string(b), -1) {
				defined[m[1]] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, doc := range []string{"README.md", "docs/ARCHITECTURE.md", "docs/LOCKS.md", "docs/PROTOCOL.md", "docs/ROBUSTNESS.md", "docs/CLIENTS.md", "docs/OPERATIONS.md"} {
		for _, m := range named.FindAllStringSubmatch(read(t, doc), -1) {
			if !defined[m[1]] {
				t.Errorf("%s names %s, which no file defines", doc, m[1])
			}
		}
	}
}
