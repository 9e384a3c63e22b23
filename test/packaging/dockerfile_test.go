package packaging

import (
	"encoding/json"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// root is the repository, which is the image's build context.
const root = "../.."

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// instruction is one line of the Dockerfile.
type instruction struct {
	stage int // 0 builds, 1 is the image
	name  string
	args  string
}

func dockerfile(t *testing.T) []instruction {
	t.Helper()
	var out []instruction
	stage := -1
	for _, line := range strings.Split(strings.ReplaceAll(read(t, "Dockerfile"), "\\\n", " "), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, args, _ := strings.Cut(line, " ")
		if name == "FROM" {
			stage++
		}
		out = append(out, instruction{stage, name, strings.TrimSpace(args)})
	}
	return out
}

// find returns the arguments of every instruction of that name in a stage.
func find(list []instruction, stage int, name string) []string {
	var out []string
	for _, i := range list {
		if i.stage == stage && i.name == name {
			out = append(out, i.args)
		}
	}
	return out
}

// words reads the JSON form of ENTRYPOINT, CMD and VOLUME.
func words(t *testing.T, args []string) []string {
	t.Helper()
	if len(args) != 1 {
		t.Fatalf("want one instruction, got %q", args)
	}
	var out []string
	if err := json.Unmarshal([]byte(args[0]), &out); err != nil {
		t.Fatalf("%s: without a shell only the JSON form works: %v", args[0], err)
	}
	return out
}

// ignore answers whether .dockerignore keeps a path out of the build context:
// the last pattern that matches the path or one of its parents decides.
type ignore []struct {
	re   *regexp.Regexp
	keep bool
}

func parseIgnore(text string) ignore {
	var out ignore
	for _, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		pattern, keep := strings.CutPrefix(line, "!")
		re := regexp.QuoteMeta(path.Clean(pattern))
		re = strings.NewReplacer(`\*\*/`, `(.*/)?`, `\*\*`, `.*`, `\*`, `[^/]*`, `\?`, `[^/]`).Replace(re)
		out = append(out, struct {
			re   *regexp.Regexp
			keep bool
		}{regexp.MustCompile("^" + re + "$"), keep})
	}
	return out
}

func (list ignore) excludes(name string) bool {
	out := false
	for _, p := range list {
		for n := name; n != "."; n = path.Dir(n) {
			if p.re.MatchString(n) {
				out = !p.keep
				break
			}
		}
	}
	return out
}

func TestIgnorePatterns(t *testing.T) {
	list := parseIgnore("# note\n*\n!a\n**/x_*\n!b/c\n")
	for name, want := range map[string]bool{"z": true, "a": false, "a/b/c.go": false, "a/b/x_1": true, "x_1": true, "b": true, "b/c/d": false, "b/d": true} {
		if got := list.excludes(name); got != want {
			t.Errorf("%s: excluded %v, want %v", name, got, want)
		}
	}
}

// copied returns the sources and the destination of a COPY from the build
// context; nil if it copies from another stage.
func copied(t *testing.T, args string) (from []string, to string) {
	t.Helper()
	f := strings.Fields(args)
	for len(f) > 0 && strings.HasPrefix(f[0], "--") {
		if strings.HasPrefix(f[0], "--from=") {
			return nil, ""
		}
		f = f[1:]
	}
	if len(f) < 2 {
		t.Fatalf("COPY %s", args)
	}
	return f[:len(f)-1], f[len(f)-1]
}

// copyContext carries out the COPY instructions of the build stage: into dir goes
// what the image's build would see, and nothing else.
func copyContext(t *testing.T, dir string) {
	t.Helper()
	ignored := parseIgnore(read(t, ".dockerignore"))
	for _, args := range find(dockerfile(t), 0, "COPY") {
		sources, to := copied(t, args)
		for _, source := range sources {
			files := 0
			err := fs.WalkDir(os.DirFS(root), source, func(name string, d fs.DirEntry, err error) error {
				if err != nil || d.IsDir() || ignored.excludes(name) {
					return err
				}
				files++
				rel, target := strings.TrimPrefix(strings.TrimPrefix(name, source), "/"), filepath.Join(dir, to)
				if rel == "" { // a file, into a directory
					rel = path.Base(name)
				}
				target = filepath.Join(target, rel)
				if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
					return err
				}
				b, err := os.ReadFile(filepath.Join(root, name))
				if err != nil {
					return err
				}
				return os.WriteFile(target, b, 0o644)
			})
			if err != nil || files == 0 {
				t.Errorf("COPY %s: %s is not in the build context (%v)", args, source, err)
			}
		}
	}
}
