package vfs

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// OS is the operating system's file system.
var OS FS = &osFS{locks: map[string]bool{}}

type osFS struct {
	mu    sync.Mutex
	locks map[string]bool // names locked by this process: fcntl locks don't exclude their own process
}

func (*osFS) open(name string, flags int) (File, error) {
	fd, err := retry(func() (int, error) {
		return unix.Open(name, flags|unix.O_RDWR|unix.O_CLOEXEC, 0o644)
	})
	if err != nil {
		return nil, pathError("open", name, err)
	}
	f := &osFile{fd: fd, name: name}
	f.refs.Store(1)
	return f, nil
}

func (o *osFS) Open(name string) (File, error)   { return o.open(name, 0) }
func (o *osFS) Create(name string) (File, error) { return o.open(name, unix.O_CREAT|unix.O_TRUNC) }
func (o *osFS) OpenOrCreate(name string) (File, error) {
	return o.open(name, unix.O_CREAT)
}
func (*osFS) Remove(name string) error             { return os.Remove(name) }
func (*osFS) RemoveAll(name string) error          { return os.RemoveAll(name) }
func (*osFS) Rename(oldName, newName string) error { return os.Rename(oldName, newName) }
func (*osFS) MkdirAll(dir string) error            { return os.MkdirAll(dir, 0o755) }

func (*osFS) List(dir string) ([]Entry, error) {
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	out := make([]Entry, 0, len(names))
	for _, d := range names {
		fi, err := d.Info()
		if os.IsNotExist(err) { // removed meanwhile
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, entryOf(fi))
	}
	slices.SortFunc(out, func(a, b Entry) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

func (*osFS) Stat(name string) (Entry, error) {
	fi, err := os.Stat(name)
	if err != nil {
		return Entry{}, err
	}
	return entryOf(fi), nil
}

func entryOf(fi os.FileInfo) Entry {
	return Entry{Name: fi.Name(), IsDir: fi.IsDir(), Size: fi.Size(), ModTime: fi.ModTime()}
}

func (*osFS) SyncDir(dir string) error {
	fd, err := retry(func() (int, error) {
		return unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return pathError("open", dir, err)
	}
	err = unix.Fsync(fd)
	unix.Close(fd)
	if err != nil {
		return pathError("fsync", dir, err)
	}
	return nil
}

func (*osFS) DiskFree(dir string) (free, total uint64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, pathError("statfs", dir, err)
	}
	size := uint64(st.Bsize)
	return st.Bavail * size, st.Blocks * size, nil
}

func (o *osFS) Lock(name string) (io.Closer, error) {
	abs, err := filepath.Abs(name)
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	// Closing any descriptor of a file drops all fcntl locks that the process
	// holds on it, so a second attempt must not even open the file.
	if o.locks[abs] {
		return nil, pathError("lock", name, fmt.Errorf("%w by this process", ErrLocked))
	}
	fd, err := unix.Open(abs, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	lk := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	if err := unix.FcntlFlock(uintptr(fd), unix.F_SETLK, &lk); err != nil {
		unix.Close(fd)
		if err == unix.EACCES || err == unix.EAGAIN {
			return nil, pathError("lock", name, fmt.Errorf("%w by another process", ErrLocked))
		}
		return nil, pathError("lock", name, err)
	}
	o.locks[abs] = true
	return &osLock{fs: o, name: abs, fd: fd}, nil
}

type osLock struct {
	fs   *osFS
	name string
	fd   int
	once sync.Once
}

func (l *osLock) Close() (err error) {
	l.once.Do(func() {
		l.fs.mu.Lock()
		defer l.fs.mu.Unlock()
		delete(l.fs.locks, l.name)
		err = unix.Close(l.fd)
	})
	return err
}

// osFile owns a descriptor; refs counts the owner and every running operation
// (invariant 1).
type osFile struct {
	fd     int
	name   string
	refs   atomic.Int64
	closed atomic.Bool
}

func (f *osFile) acquire() error {
	for {
		n := f.refs.Load()
		if n <= 0 || f.closed.Load() {
			return pathError("use", f.name, ErrClosed)
		}
		if f.refs.CompareAndSwap(n, n+1) {
			return nil
		}
	}
}

func (f *osFile) release() error {
	if f.refs.Add(-1) == 0 {
		return unix.Close(f.fd)
	}
	return nil
}

func (f *osFile) ReadAt(p []byte, off int64) (n int, err error) {
	if err := f.acquire(); err != nil {
		return 0, err
	}
	defer f.release()
	for n < len(p) {
		m, err := unix.Pread(f.fd, p[n:], off+int64(n))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return n, pathError("pread", f.name, err)
		case m == 0:
			return n, io.EOF
		default:
			n += m
		}
	}
	return n, nil
}

func (f *osFile) WriteAt(p []byte, off int64) (n int, err error) {
	if err := f.acquire(); err != nil {
		return 0, err
	}
	defer f.release()
	for n < len(p) {
		m, err := unix.Pwrite(f.fd, p[n:], off+int64(n))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return n, pathError("pwrite", f.name, err)
		case m == 0:
			return n, pathError("pwrite", f.name, io.ErrShortWrite)
		default:
			n += m
		}
	}
	return n, nil
}

func (f *osFile) Size() (int64, error) {
	if err := f.acquire(); err != nil {
		return 0, err
	}
	defer f.release()
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return 0, pathError("fstat", f.name, err)
	}
	return st.Size, nil
}

func (f *osFile) Truncate(n int64) error {
	if err := f.acquire(); err != nil {
		return err
	}
	defer f.release()
	if _, err := retry(func() (int, error) { return 0, unix.Ftruncate(f.fd, n) }); err != nil {
		return pathError("ftruncate", f.name, err)
	}
	return nil
}

func (f *osFile) Sync() error {
	if err := f.acquire(); err != nil {
		return err
	}
	defer f.release()
	if err := unix.Fdatasync(f.fd); err != nil {
		return pathError("fdatasync", f.name, err)
	}
	return nil
}

// Allocate reserves blocks beyond the end without changing the length.
func (f *osFile) Allocate(off, n int64) error {
	if err := f.acquire(); err != nil {
		return err
	}
	defer f.release()
	if err := unix.Fallocate(f.fd, unix.FALLOC_FL_KEEP_SIZE, off, n); err != nil {
		return pathError("fallocate", f.name, err)
	}
	return nil
}

func (f *osFile) Close() error {
	if f.closed.Swap(true) {
		return pathError("close", f.name, ErrClosed)
	}
	if err := f.release(); err != nil {
		return pathError("close", f.name, err)
	}
	return nil
}

func (f *osFile) Fd() (uintptr, bool) { return uintptr(f.fd), !f.closed.Load() }

func retry(fn func() (int, error)) (int, error) {
	for {
		n, err := fn()
		if err != unix.EINTR {
			return n, err
		}
	}
}
