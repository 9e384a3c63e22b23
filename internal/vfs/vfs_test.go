package vfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// both runs a test on the real file system and on the heap.
func both(t *testing.T, fn func(t *testing.T, f FS, dir string)) {
	t.Run("os", func(t *testing.T) { fn(t, OS, t.TempDir()) })
	t.Run("mem", func(t *testing.T) {
		m := NewMem()
		if err := m.MkdirAll("/d"); err != nil {
			t.Fatal(err)
		}
		fn(t, m, "/d")
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestFiles(t *testing.T) {
	both(t, func(t *testing.T, fsys FS, dir string) {
		name := filepath.Join(dir, "a")
		if _, err := fsys.Open(name); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("open of a missing file: %v", err)
		}
		f, err := fsys.Create(name)
		must(t, err)
		_, err = f.WriteAt([]byte("hello"), 3)
		must(t, err)
		p := make([]byte, 10)
		n, err := f.ReadAt(p, 0)
		if n != 8 || err != io.EOF || string(p[:n]) != "\x00\x00\x00hello" {
			t.Fatalf("read %d %q %v", n, p[:n], err)
		}
		must(t, f.Truncate(5))
		if n, _ := f.Size(); n != 5 {
			t.Fatalf("size %d", n)
		}
		must(t, f.Close())
		if _, err := f.ReadAt(p, 0); !errors.Is(err, ErrClosed) {
			t.Fatalf("read of a closed file: %v", err)
		}
		must(t, fsys.Rename(name, name+"2"))
		must(t, fsys.MkdirAll(filepath.Join(dir, "sub/deep")))
		got, err := fsys.List(dir)
		must(t, err)
		if len(got) != 2 || got[0].Name != "a2" || got[0].Size != 5 || got[1].Name != "sub" || !got[1].IsDir {
			t.Fatalf("list %+v", got)
		}
		must(t, fsys.RemoveAll(filepath.Join(dir, "sub")))
		must(t, fsys.Remove(name+"2"))
		if got, _ := fsys.List(dir); len(got) != 0 {
			t.Fatalf("list %+v", got)
		}
	})
}

func TestWriteFileAtomic(t *testing.T) {
	both(t, func(t *testing.T, fsys FS, dir string) {
		name := filepath.Join(dir, "x")
		must(t, WriteFileAtomic(fsys, name, []byte("one, longer")))
		must(t, WriteFileAtomic(fsys, name, []byte("two")))
		p, err := ReadFile(fsys, name)
		must(t, err)
		if string(p) != "two" {
			t.Fatalf("%q", p)
		}
	})
}

// Whatever the moment of the crash, a reader finds one of the two versions.
func TestWriteFileAtomicCrash(t *testing.T) {
	for _, percent := range []int{0, 50, 100} {
		for seed := range uint64(30) {
			m := NewMem()
			must(t, WriteFileAtomic(m, "x", bytes.Repeat([]byte("a"), 3000)))
			f := NewFaulty(m, func(op Op) error {
				got, err := ReadFile(m.CrashClone(percent, seed), "x")
				if err != nil || (string(got) != strings.Repeat("a", 3000) && string(got) != strings.Repeat("b", 2000)) {
					t.Fatalf("percent %d seed %d before %v %s: %v %.20q", percent, seed, op.Kind, op.Name, err, got)
				}
				return nil
			})
			must(t, WriteFileAtomic(f, "x", bytes.Repeat([]byte("b"), 2000)))
			got, _ := ReadFile(m.CrashClone(0, seed), "x")
			if len(got) != 2000 {
				t.Fatalf("not durable after return: %d bytes", len(got))
			}
		}
	}
}

func TestCrashTakesUnsyncedNamesAndData(t *testing.T) {
	m := NewMem()
	f, err := m.Create("synced")
	must(t, err)
	_, err = f.WriteAt([]byte("abc"), 0)
	must(t, err)
	must(t, f.Sync())
	must(t, m.SyncDir("/"))
	_, err = f.WriteAt([]byte("defg"), 3)
	must(t, err)
	_, err = m.Create("unsynced")
	must(t, err)

	for percent, want := range map[int]string{0: "abc", 100: "abcdefg"} {
		c := m.CrashClone(percent, 1)
		got, err := ReadFile(c, "synced")
		must(t, err)
		there, err := Exists(c, "unsynced")
		must(t, err)
		if string(got) != want || there != (percent == 100) {
			t.Errorf("%d %%: %q, unsynced name there: %v", percent, got, there)
		}
	}
	must(t, f.Truncate(1))
	if got, _ := ReadFile(m.CrashClone(0, 1), "synced"); string(got) != "abc" {
		t.Errorf("an unsynced truncation survived: %q", got)
	}
}

func TestFaulty(t *testing.T) {
	boom := errors.New("boom")
	m := NewMem()
	fsys := NewFaulty(m, func(op Op) error {
		if op.Kind == OpSync {
			return fmt.Errorf("%v %s: %w", op.Kind, op.Name, boom)
		}
		return nil
	})
	if err := WriteFileAtomic(fsys, "x", []byte("a")); !errors.Is(err, boom) {
		t.Fatalf("got %v", err)
	}
	if ok, _ := Exists(m, "x"); ok {
		t.Fatal("replaced although the sync failed")
	}
}

func TestLockExcludesThisProcess(t *testing.T) {
	both(t, func(t *testing.T, fsys FS, dir string) {
		name := filepath.Join(dir, ".lock")
		l, err := fsys.Lock(name)
		must(t, err)
		if _, err := fsys.Lock(name); !errors.Is(err, ErrLocked) {
			t.Fatalf("second lock: %v", err)
		}
		must(t, l.Close())
		l, err = fsys.Lock(name)
		must(t, err)
		must(t, l.Close())
	})
}

func TestLockExcludesOtherProcess(t *testing.T) {
	if name := os.Getenv("TIDEMARK_TEST_LOCK"); name != "" {
		if _, err := OS.Lock(name); errors.Is(err, ErrLocked) {
			fmt.Println("refused")
		}
		return
	}
	name := filepath.Join(t.TempDir(), ".lock")
	l, err := OS.Lock(name)
	must(t, err)
	defer l.Close()
	cmd := exec.Command(os.Args[0], "-test.run=^TestLockExcludesOtherProcess$")
	cmd.Env = append(os.Environ(), "TIDEMARK_TEST_LOCK="+name)
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("refused")) {
		t.Fatalf("another process got the lock: %v\n%s", err, out)
	}
}

// The descriptor outlives Close while reads run on it (invariant 1).
func TestCloseDuringReads(t *testing.T) {
	f, err := OS.Create(filepath.Join(t.TempDir(), "a"))
	must(t, err)
	_, err = f.WriteAt(bytes.Repeat([]byte{7}, 1<<16), 0)
	must(t, err)
	var wg sync.WaitGroup
	started := make(chan struct{}, 4)
	for range 4 {
		wg.Go(func() {
			p := make([]byte, 1<<16)
			for i := 0; ; i++ {
				_, err := f.ReadAt(p, 0)
				if errors.Is(err, ErrClosed) {
					return
				}
				if err != nil || p[1<<15] != 7 {
					t.Errorf("read: %v", err)
					return
				}
				if i == 10 {
					started <- struct{}{}
				}
			}
		})
	}
	for range 4 {
		<-started
	}
	must(t, f.Close())
	wg.Wait()
	if err := f.Close(); !errors.Is(err, ErrClosed) {
		t.Errorf("second close: %v", err)
	}
}

func TestDiskFree(t *testing.T) {
	free, total, err := OS.DiskFree(t.TempDir())
	if err != nil || free == 0 || total < free {
		t.Fatal(free, total, err)
	}
}
