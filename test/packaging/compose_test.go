package packaging

import (
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"tidemark/internal/config"
	"tidemark/internal/model"
	"tidemark/test/cluster"
)

// composeFile is what these tests look at of compose.yaml.
type composeFile struct {
	Services map[string]service `yaml:"services"`
	Volumes  map[string]any     `yaml:"volumes"`
}

type service struct {
	Build       string            `yaml:"build"`
	Image       string            `yaml:"image"`
	Hostname    string            `yaml:"hostname"`
	Environment map[string]string `yaml:"environment"`
	Ports       []string          `yaml:"ports"`
	Volumes     []string          `yaml:"volumes"`
}

func (s service) environ() []string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(s.Environment)) {
		out = append(out, k+"="+s.Environment[k])
	}
	return out
}

func compose(t *testing.T) composeFile {
	t.Helper()
	var c composeFile
	if err := yaml.Unmarshal([]byte(read(t, "compose.yaml")), &c); err != nil {
		t.Fatal(err)
	}
	if len(c.Services) != 3 {
		t.Fatalf("%d services, want 3", len(c.Services))
	}
	return c
}

// load is what a node of the image makes of its environment.
func load(t *testing.T, s service) *config.Config {
	t.Helper()
	const file = "docker/server.properties"
	c, err := config.Load(config.Source{Name: file, Text: read(t, file), Environ: s.environ()})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Warnings) > 0 {
		t.Errorf("warnings: %q", c.Warnings)
	}
	return c
}

func TestComposeNodesAreValid(t *testing.T) {
	file := compose(t)
	clusterIDs, nodes := map[string]bool{}, map[model.BrokerID]string{}
	var voters []config.QuorumVoter
	for _, name := range slices.Sorted(maps.Keys(file.Services)) {
		s := file.Services[name]
		c := load(t, s)
		clusterIDs[s.Environment["CLUSTER_ID"]] = true
		nodes[c.NodeID] = s.Hostname
		if s.Hostname != name || s.Build != "." || s.Image == "" {
			t.Errorf("%s: hostname %q, build %q, image %q", name, s.Hostname, s.Build, s.Image)
		}
		if voters == nil {
			voters = c.Voters
		}
		if !slices.Equal(voters, c.Voters) {
			t.Errorf("%s names other voters: %v, not %v", name, c.Voters, voters)
		}
		if !c.Broker || !c.Controller || c.LogDirs[0] != "/var/lib/kafka/data" || c.Topics.ReplicationFactor != 3 {
			t.Errorf("%s: %+v", name, c)
		}
		checkPorts(t, name, s, c)
		checkVolume(t, name, s, c, file.Volumes)
	}
	if len(clusterIDs) != 1 || len(nodes) != 3 || len(voters) != 3 {
		t.Errorf("cluster ids %v, nodes %v, voters %v", clusterIDs, nodes, voters)
	}
	for id := range clusterIDs {
		if _, err := model.ParseUUID(id); err != nil {
			t.Errorf("CLUSTER_ID %s: %v", id, err)
		}
	}
	for _, v := range voters {
		if nodes[model.BrokerID(v.ID)] != v.Host {
			t.Errorf("voter %d is at %s, node %d at %s", v.ID, v.Host, v.ID, nodes[model.BrokerID(v.ID)])
		}
		c := load(t, file.Services[v.Host])
		if l, _ := c.ListenerFor("CONTROLLER"); l.Port != v.Port {
			t.Errorf("voter %d is at port %d, its node listens at %d", v.ID, v.Port, l.Port)
		}
	}
}

// checkPorts compares what is published with what the node listens on and tells clients.
func checkPorts(t *testing.T, name string, s service, c *config.Config) {
	t.Helper()
	client, _ := c.ListenerFor("PLAINTEXT_HOST")
	inter, _ := c.ListenerFor(c.InterBrokerListener)
	if inter.AdvertisedHost != s.Hostname || inter.AdvertisedPort != inter.Port {
		t.Errorf("%s tells other nodes %s:%d", name, inter.AdvertisedHost, inter.AdvertisedPort)
	}
	want := fmt.Sprintf("127.0.0.1:%d:%d", client.AdvertisedPort, client.Port)
	if !slices.Contains(s.Ports, want) || client.AdvertisedHost != "localhost" {
		t.Errorf("%s publishes %q, clients are told %s, thus want %s", name, s.Ports, client.AdvertisedHost, want)
	}
	_, http, _ := net.SplitHostPort(c.HTTP.Address)
	if !slices.ContainsFunc(s.Ports, func(p string) bool { return strings.HasSuffix(p, ":"+http) }) {
		t.Errorf("%s doesn't publish the HTTP port %s: %q", name, http, s.Ports)
	}
}

// checkVolume looks that data and state are on the node's own volume.
func checkVolume(t *testing.T, name string, s service, c *config.Config, volumes map[string]any) {
	t.Helper()
	if len(s.Volumes) != 1 {
		t.Fatalf("%s has the volumes %q", name, s.Volumes)
	}
	volume, target, _ := strings.Cut(s.Volumes[0], ":")
	if _, ok := volumes[volume]; !ok || volume != name {
		t.Errorf("%s uses the volume %s", name, volume)
	}
	for _, dir := range append(slices.Clone(c.LogDirs), c.MetadataDir, c.StateDir) {
		if !strings.HasPrefix(dir, target+"/") {
			t.Errorf("%s: %s is outside the volume %s", name, dir, target)
		}
	}
}

// onLoopback moves a service's environment to this machine: each node's ports to
// free ones, host names to 127.0.0.1, data to a temporary directory.
func onLoopback(t *testing.T, file composeFile, name, dir string, ports map[string]int) []string {
	t.Helper()
	s := file.Services[name]
	env := maps.Clone(s.Environment)
	for _, port := range []string{"19092", "9092", "29093"} {
		local := func(node string) string { return fmt.Sprintf("127.0.0.1:%d", ports[node+":"+port]) }
		env["KAFKA_LISTENERS"] = strings.ReplaceAll(env["KAFKA_LISTENERS"]+",", "://:"+port+",", "://"+local(name)+",")
		env["KAFKA_LISTENERS"] = strings.TrimSuffix(env["KAFKA_LISTENERS"], ",")
		for node := range file.Services {
			for _, k := range []string{"KAFKA_ADVERTISED_LISTENERS", "KAFKA_CONTROLLER_QUORUM_VOTERS"} {
				env[k] = strings.ReplaceAll(env[k], node+":"+port, local(node))
			}
		}
	}
	env["KAFKA_LOG_DIRS"] = filepath.Join(dir, name, "data")
	env["KAFKA_TIDEMARK_HTTP_LISTENER"] = fmt.Sprintf("127.0.0.1:%d", ports[name+":http"])
	return service{Environment: env}.environ()
}

// The environment of compose.yaml alone, on empty disks, makes a cluster that
// serves: nobody runs storage format.
func TestComposeEnvironmentStartsACluster(t *testing.T) {
	file, dir, bin := compose(t), t.TempDir(), cluster.Binary(t)
	names := slices.Sorted(maps.Keys(file.Services))
	free := cluster.FreePorts(t, 4*len(names))
	ports := map[string]int{}
	for i, name := range names {
		for j, p := range []string{"19092", "9092", "29093", "http"} {
			ports[name+":"+p] = free[4*i+j]
		}
	}
	args := []string{"server", filepath.Join(root, "docker", "server.properties")}
	for _, name := range names {
		run(t, filepath.Join(dir, name+".log"), onLoopback(t, file, name, dir, ports), bin, args...)
	}
	for _, name := range names {
		url := fmt.Sprintf("http://127.0.0.1:%d/readyz?verbose", ports[name+":http"])
		cluster.Eventually(t, 60*time.Second, func() error { return ready(url) })
	}
	bootstrap := fmt.Sprintf("127.0.0.1:%d", ports["node-2:19092"])
	cluster.Run(t, "hello\n", "produce", "greetings", "--bootstrap-server", bootstrap)
	if got := cluster.Run(t, "", "consume", "greetings", "--from-beginning", "-e", "--bootstrap-server", bootstrap); got != "hello\n" {
		t.Errorf("consumed %q", got)
	}
}

func ready(url string) error {
	resp, err := http.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	return nil
}

// run starts a process that is killed when the test ends.
func run(t *testing.T, log string, env []string, bin string, args ...string) {
	t.Helper()
	f, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.Command(bin, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = env, f, f
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
		if b, err := os.ReadFile(log); t.Failed() && err == nil {
			t.Logf("--- %s\n%s", log, b)
		}
	})
}
