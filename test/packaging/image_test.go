package packaging

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// buildImage runs the Dockerfile's go build in what it copies, and returns the binary.
func buildImage(t *testing.T) string {
	t.Helper()
	dir, out := t.TempDir(), t.TempDir()
	copyContext(t, dir)
	var command string
	for _, run := range find(dockerfile(t), 0, "RUN") {
		if strings.Contains(run, "go build") {
			command = strings.ReplaceAll(run, "/out/", out+"/")
		}
	}
	if command == "" {
		t.Fatal("the Dockerfile builds nothing")
	}
	cmd := exec.Command("sh", "-c", command)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "VERSION=v0-image", "COMMIT=abcdef", "GOFLAGS=-mod=readonly")
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s\n%v\n%s", command, err, b)
	}
	return filepath.Join(out, "tidemark")
}

// The files that the build stage copies are enough to build, and what comes out
// runs in an image that has no loader and no library.
func TestImageBuildsAStaticBinary(t *testing.T) {
	bin := buildImage(t)
	f, err := elf.Open(bin)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("the binary needs a dynamic loader, which an empty image doesn't have")
		}
	}
	b, err := exec.Command(bin, "version").CombinedOutput()
	if err != nil || !strings.Contains(string(b), "v0-image (commit abcdef") {
		t.Errorf("version: %v %s", err, b)
	}
}

func TestImageStage(t *testing.T) {
	list := dockerfile(t)
	if from := find(list, 1, "FROM"); len(from) != 1 || from[0] != "scratch" {
		t.Errorf("FROM %q, want scratch", from)
	}
	if user := find(list, 1, "USER"); !slices.Equal(user, []string{"1000:1000"}) {
		t.Errorf("USER %q", user)
	}
	if run := find(list, 1, "RUN"); run != nil {
		t.Errorf("scratch has no shell for RUN %q", run)
	}
	ignored := parseIgnore(read(t, ".dockerignore"))
	inside := map[string]bool{}
	for _, args := range find(list, 1, "COPY") {
		sources, to := copied(t, args)
		if sources == nil {
			f := strings.Fields(args)
			to = f[len(f)-1]
		}
		inside[to] = true
		for _, s := range sources {
			if _, err := os.Stat(filepath.Join(root, s)); err != nil || ignored.excludes(s) {
				t.Errorf("COPY %s: %s is missing or ignored (%v)", args, s, err)
			}
		}
	}
	entry, cmd, volume := words(t, find(list, 1, "ENTRYPOINT")), words(t, find(list, 1, "CMD")), words(t, find(list, 1, "VOLUME"))
	for _, name := range []string{entry[0], cmd[len(cmd)-1], volume[0]} {
		if !inside[name] {
			t.Errorf("%s isn't copied into the image", name)
		}
	}
	if !slices.Contains(list, instruction{1, "COPY", "--from=build --chown=1000:1000 /out/lib " + volume[0]}) {
		t.Errorf("the volume %s doesn't belong to the user", volume[0])
	}
	if cmd[0] != "server" || len(cmd) != 2 {
		t.Errorf("CMD %q", cmd)
	}
}

// The Go of the image isn't older than go.mod asks for.
func TestImageGoVersion(t *testing.T) {
	mod := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "go.mod"))
	from := find(dockerfile(t), 0, "FROM")
	if mod == nil || len(from) != 1 || !strings.HasPrefix(from[0], "golang:"+mod[1]+" ") {
		t.Errorf("go.mod says %v, the image builds with %v", mod, from)
	}
}
