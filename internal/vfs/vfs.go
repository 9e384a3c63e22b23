package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"time"
)

// Errors of this package. A missing name is reported as fs.ErrNotExist.
var (
	// ErrLocked means that another process, or this one, holds the lock.
	ErrLocked = errors.New("locked")
	// ErrClosed is returned by operations on a closed file.
	ErrClosed = fs.ErrClosed
)

// FS is a file system. Names are slash-separated paths; errors name the path.
type FS interface {
	// Open opens an existing file for reading and writing.
	Open(name string) (File, error)
	// Create opens a new or emptied file for reading and writing.
	Create(name string) (File, error)
	// OpenOrCreate opens a file for reading and writing and keeps what is in it.
	OpenOrCreate(name string) (File, error)
	// Remove deletes one file or empty directory.
	Remove(name string) error
	// RemoveAll deletes name and everything below it; a missing name is no error.
	RemoveAll(name string) error
	// Rename replaces newName atomically.
	Rename(oldName, newName string) error
	// MkdirAll creates a directory and its parents.
	MkdirAll(dir string) error
	// List returns the entries of a directory, sorted by name.
	List(dir string) ([]Entry, error)
	// Stat describes one name.
	Stat(name string) (Entry, error)
	// SyncDir makes the names in dir durable.
	SyncDir(dir string) error
	// Lock takes the exclusive lock that a JVM's FileLock respects (fcntl
	// F_SETLK) without waiting; ErrLocked if somebody holds it.
	Lock(name string) (io.Closer, error)
	// DiskFree returns the bytes available to this process and the size of
	// the file system that holds dir.
	DiskFree(dir string) (free, total uint64, err error)
}

// File is an open file. Positions are bytes.
type File interface {
	io.ReaderAt
	io.WriterAt
	// Size is the file's length.
	Size() (int64, error)
	// Truncate cuts or extends (with zeros) to n bytes.
	Truncate(n int64) error
	// Sync makes the data durable, and the length that is needed to read it
	// (fdatasync). After an error the data must be regarded as lost.
	Sync() error
	// Close drops the owner's reference. The descriptor itself lives until
	// running operations are done.
	Close() error
	// Fd is the descriptor, for sendfile; false if there is none. It is valid
	// until Close: the caller keeps the file open meanwhile.
	Fd() (uintptr, bool)
}

// Allocator is implemented by files that can reserve blocks without changing
// the file's length.
type Allocator interface {
	Allocate(off, n int64) error
}

// Entry describes a name in a directory.
type Entry struct {
	Name    string
	IsDir   bool
	Size    int64
	ModTime time.Time
}

// TempSuffix is appended to the name of a file while it is being replaced.
const TempSuffix = ".tmp"

// WriteFileAtomic replaces name by data so that a crash leaves either the old
// or the new contents: temporary file, sync, rename, sync of the directory.
func WriteFileAtomic(fsys FS, name string, data []byte) error {
	tmp := name + TempSuffix
	if err := writeSynced(fsys, tmp, data); err != nil {
		return err
	}
	if err := fsys.Rename(tmp, name); err != nil {
		return err
	}
	return fsys.SyncDir(filepath.Dir(name))
}

func writeSynced(fsys FS, name string, data []byte) error {
	f, err := fsys.Create(name)
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(data, 0); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// ReadFile returns the whole contents of name.
func ReadFile(fsys FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	n, err := f.Size()
	if err != nil {
		return nil, err
	}
	p := make([]byte, n)
	if _, err := f.ReadAt(p, 0); err != nil && err != io.EOF {
		return nil, err
	}
	return p, nil
}

// Exists reports whether name exists.
func Exists(fsys FS, name string) (bool, error) {
	_, err := fsys.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func pathError(op, name string, err error) error {
	return fmt.Errorf("%s %s: %w", op, name, err)
}
