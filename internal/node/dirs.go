package node

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"tidemark/internal/commitlog"
	"tidemark/internal/config"
	"tidemark/internal/model"
	"tidemark/internal/vfs"
)

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// ErrUnformatted tells that the node's directories have to be formatted first;
// the error's text holds the exact command.
var ErrUnformatted = errors.New("not formatted")

// identity is what the directories say about this node.
type identity struct {
	cluster string
	dirs    map[string]model.DirectoryID // by path
}

// readIdentity checks every directory against the configuration and against
// each other. A node never starts on another node's or cluster's data.
func readIdentity(c *config.Config, file string) (identity, error) {
	id := identity{dirs: map[string]model.DirectoryID{}}
	var missing []string
	for _, dir := range c.AllDirs() {
		m, ok, err := commitlog.ReadMetaProperties(vfs.OS, dir)
		if err != nil {
			return id, err
		}
		if !ok {
			missing = append(missing, dir)
			continue
		}
		if m.NodeID != c.NodeID {
			return id, fmt.Errorf("%s belongs to node.id=%d, but this node is configured as %d: use the directory of this node, or correct node.id", dir, m.NodeID, c.NodeID)
		}
		if id.cluster != "" && m.ClusterID != id.cluster {
			return id, fmt.Errorf("%s belongs to cluster %s, but another log directory to %s", dir, m.ClusterID, id.cluster)
		}
		id.cluster = m.ClusterID
		if m.DirectoryID.IsReserved() {
			m.DirectoryID = RandomUUID() // written by a Kafka before 3.7
			if err := commitlog.WriteMetaProperties(vfs.OS, dir, m); err != nil {
				return id, err
			}
		}
		for other, used := range id.dirs {
			if used == m.DirectoryID {
				return id, fmt.Errorf("%s and %s have the same directory.id %s: one is a copy of the other", other, dir, used)
			}
		}
		id.dirs[dir] = m.DirectoryID
	}
	if len(missing) > 0 {
		return id, unformattedError(c, id, missing, file)
	}
	return id, nil
}

func unformattedError(c *config.Config, id identity, missing []string, file string) error {
	cluster, flags := id.cluster, ""
	if cluster == "" {
		cluster = "$(tidemark storage random-uuid)"
	} else {
		flags = " --ignore-formatted"
	}
	if c.Controller && len(c.Voters) == 0 {
		flags += " --standalone"
	}
	return fmt.Errorf("%s: %w; format with:\n  tidemark storage format --config %s --cluster-id %s%s", strings.Join(missing, ", "), ErrUnformatted, file, cluster, flags)
}

// lockedDirs are the locks that keep a second process out of the directories.
type lockedDirs struct{ locks []io.Closer }

// lockDirs locks what the broker role doesn't lock itself: the metadata directory
// if it is one of its own, and on a controller the metadata log in any case,
// since it is open before and after the broker's part.
func lockDirs(c *config.Config) (*lockedDirs, error) {
	l := &lockedDirs{}
	var files []string
	if !c.Broker || !slices.Contains(c.LogDirs, c.MetadataDir) {
		files = append(files, filepath.Join(c.MetadataDir, commitlog.LockName))
	}
	if c.Controller {
		if err := vfs.OS.MkdirAll(metadataPath(c)); err != nil {
			return nil, err
		}
		files = append(files, filepath.Join(metadataPath(c), commitlog.LockName))
	}
	for _, name := range files {
		lock, err := vfs.OS.Lock(name)
		if err != nil {
			_ = l.Close()
			return nil, fmt.Errorf("%s is in use by another process, or can't be locked: %w", filepath.Dir(name), err)
		}
		l.locks = append(l.locks, lock)
	}
	return l, nil
}

// Close releases the locks.
func (l *lockedDirs) Close() error {
	var errs []error
	for _, c := range l.locks {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}
