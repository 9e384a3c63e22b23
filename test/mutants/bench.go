package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// own are the packages whose tests have to notice what the simulator doesn't.
// The package of the mutated file comes first.
var own = []string{"replica", "partition", "commitlog", "controller", "producer", "fetcher", "broker", "api"}

const (
	simulator = "sim"
	patience  = 5 * time.Minute // for one run of a package's tests
)

// bench is a copy of the repository in which one file at a time is wrong.
type bench struct {
	ctx   context.Context
	dir   string
	seeds int
	// simulated are the packages that the simulator is built from.
	simulated map[string]bool
	sound     map[string]bool // packages whose tests pass without a mutation
}

type verdict struct {
	by    string // "" if nothing noticed it
	event string // the first words of what noticed it
}

func newBench(ctx context.Context, seeds int) (*bench, error) {
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return nil, err
	}
	b := &bench{ctx: ctx, dir: dir, seeds: seeds, simulated: map[string]bool{}, sound: map[string]bool{}}
	if err := b.fill(); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func (b *bench) close() { os.RemoveAll(b.dir) }

func (b *bench) fill() error {
	if err := copyTree(b.dir, "."); err != nil {
		return err
	}
	list := b.command("list", "-deps", "-test", "./internal/sim")
	list.Stderr = os.Stderr
	out, err := list.Output()
	if err != nil {
		return err
	}
	for name := range strings.FieldsSeq(string(out)) {
		b.simulated[strings.TrimPrefix(name, "tidemark/")] = true
	}
	return nil
}

// copyTree copies what a test may read: everything but the history and what
// was built.
func copyTree(to, from string) error {
	return filepath.WalkDir(from, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch {
		case e.IsDir() && slices.Contains([]string{".git", "bin", ".cache"}, name):
			return filepath.SkipDir
		case e.IsDir():
			return os.MkdirAll(filepath.Join(to, name), 0o755)
		case !e.Type().IsRegular() || name == ".git":
			return nil
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), data, 0o644)
	})
}

// try puts m into the copy, runs tests until one fails, and takes m out again.
func (b *bench) try(m mutation) (v verdict, err error) {
	was, becomes, err := m.mutate(b.dir)
	if err != nil {
		return verdict{}, err
	}
	name := filepath.Join(b.dir, filepath.FromSlash(m.file))
	if err := os.WriteFile(name, []byte(becomes), 0o644); err != nil {
		return verdict{}, err
	}
	by := ""
	for _, pkg := range b.order(m) {
		v, err = b.test(pkg)
		if err != nil {
			err = fmt.Errorf("%s: %w", m.name, err)
		}
		if by = pkg; err != nil || v.by != "" {
			break
		}
	}
	if err := errors.Join(err, os.WriteFile(name, []byte(was), 0o644)); err != nil {
		return verdict{}, err
	}
	if v.by == "" || b.sound[by] {
		return v, nil
	}
	// A test that fails anyway proves nothing.
	still, err := b.test(by)
	if err == nil && still.by != "" {
		err = fmt.Errorf("%s fails without a mutation: %s: %s", by, still.by, still.event)
	}
	b.sound[by] = err == nil
	return v, err
}

// order is what to run: a simulator that isn't built from the file tells nothing.
func (b *bench) order(m mutation) []string {
	home := path.Base(path.Dir(m.file))
	var pkgs []string
	if b.simulated[path.Dir(m.file)] {
		pkgs = append(pkgs, simulator)
	}
	pkgs = append(pkgs, home)
	for _, p := range own {
		if p != home {
			pkgs = append(pkgs, p)
		}
	}
	return pkgs
}

func (b *bench) command(args ...string) *exec.Cmd {
	c := exec.CommandContext(b.ctx, "go", args...)
	c.Dir = b.dir
	return c
}

// test runs the tests of one package. Not compiling is an error, not a verdict.
func (b *bench) test(pkg string) (verdict, error) {
	args := []string{"test", "-trimpath", "-vet=off", "-count=1", "-failfast", "-timeout=" + patience.String(), "./internal/" + pkg}
	if pkg == simulator {
		args = append(args, "-run=^TestCluster$", "-seeds="+strconv.Itoa(b.seeds))
	}
	out, err := b.command(args...).CombinedOutput()
	var failed *exec.ExitError
	switch {
	case b.ctx.Err() != nil:
		return verdict{}, b.ctx.Err()
	case err == nil:
		return verdict{}, nil
	case !errors.As(err, &failed):
		return verdict{}, err
	case strings.Contains(string(out), "[build failed]") || strings.Contains(string(out), "[setup failed]"):
		return verdict{}, fmt.Errorf("does not compile:\n%s", out)
	}
	by, event := read(string(out), pkg, b.seeds)
	return verdict{by, event}, nil
}

var (
	seedLine  = regexp.MustCompile(`-run TestCluster -seed=(\d+)\n\s+(.*)`)
	failLine  = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+) .*\n(?:\s+--- FAIL: (\S+) .*\n)*`)
	wordsLine = regexp.MustCompile(`^\S+\.go:\d+:\s*`)
	panicLine = regexp.MustCompile(`(?m)^panic: (.*)`)
	hungLine  = regexp.MustCompile(`(?m)^panic: (test timed out after \S+)\n\s*running tests:\n\s*(\S+) `)
)

// read says which test failed, and its first words.
func read(out, pkg string, seeds int) (by, event string) {
	if found := seedLine.FindAllStringSubmatch(out, -1); found != nil {
		first := slices.MinFunc(found, func(a, b []string) int { return number(a[1]) - number(b[1]) })
		return fmt.Sprintf("`TestCluster`, %d of %d seeds, first %s", len(found), seeds, first[1]), first[2]
	}
	if h := hungLine.FindStringSubmatch(out); h != nil {
		return "`" + h[2] + "` (" + pkg + ")", h[1]
	}
	if p := panicLine.FindStringSubmatch(out); p != nil {
		return "panic (" + pkg + ")", p[1]
	}
	at := failLine.FindStringSubmatchIndex(out)
	if at == nil {
		return "failure (" + pkg + ")", ""
	}
	name := out[at[2]:at[3]]
	if at[4] >= 0 {
		name = out[at[4]:at[5]]
	}
	words := strings.TrimSpace(out[at[1]:])
	event, _, _ = strings.Cut(words[len(wordsLine.FindString(words)):], "\n")
	return "`" + name + "` (" + pkg + ")", event
}

func number(s string) int {
	n, _ := strconv.Atoi(s) // digits
	return n
}
