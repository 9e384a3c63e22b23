package commitlog

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"tidemark/internal/model"
	"tidemark/internal/vfs"
)

// Names of the other small files.
const (
	partitionMetadataName = "partition.metadata"
	cleanShutdownName     = ".kafka_cleanshutdown"
	metaPropertiesName    = "meta.properties"
	// LockName is the file in a log dir's root that vfs.FS.Lock locks.
	LockName = ".lock"
)

// WritePartitionMetadata records which topic a partition directory belongs to.
// It is written before the first append.
func WritePartitionMetadata(fsys vfs.FS, dir string, id model.TopicID) error {
	text := fmt.Sprintf("version: 0\ntopic_id: %s", id)
	return ioError(vfs.WriteFileAtomic(fsys, filepath.Join(dir, partitionMetadataName), []byte(text)))
}

// ReadPartitionMetadata returns the topic id of a partition directory; ok is
// false if the file is missing.
func ReadPartitionMetadata(fsys vfs.FS, dir string) (id model.TopicID, ok bool, err error) {
	name := filepath.Join(dir, partitionMetadataName)
	p, err := vfs.ReadFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return id, false, nil
	}
	if err != nil {
		return id, false, ioError(err)
	}
	kv := map[string]string{}
	for line := range strings.Lines(string(p)) {
		k, v, _ := strings.Cut(line, ":")
		kv[strings.TrimSpace(k)] = strings.TrimSpace(v)
	}
	if kv["version"] != "0" {
		return id, false, fmt.Errorf("%s: version %q: %w", name, kv["version"], ErrCorrupt)
	}
	id, err = model.ParseUUID(kv["topic_id"])
	if err != nil || id.IsZero() {
		return id, false, fmt.Errorf("%s: topic_id %q: %w", name, kv["topic_id"], ErrCorrupt)
	}
	return id, true, nil
}

// WriteCleanShutdown marks a log dir as cleanly closed by the given broker
// epoch; every log in it has been closed before.
func WriteCleanShutdown(fsys vfs.FS, dir string, epoch model.BrokerEpoch) error {
	text := fmt.Sprintf(`{"version":0,"brokerEpoch":%d}`, epoch)
	return ioError(vfs.WriteFileAtomic(fsys, filepath.Join(dir, cleanShutdownName), []byte(text)))
}

// ReadCleanShutdown takes the marker of a clean shutdown away and returns its
// broker epoch (NoBrokerEpoch if an old or unreadable marker doesn't say). It
// removes the marker durably before it returns, and thus before any log is
// loaded: a crash while loading must not look clean (KAFKA-10471).
func ReadCleanShutdown(fsys vfs.FS, dir string) (epoch model.BrokerEpoch, clean bool, err error) {
	name := filepath.Join(dir, cleanShutdownName)
	p, err := vfs.ReadFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return model.NoBrokerEpoch, false, nil
	}
	if err == nil {
		if err = fsys.Remove(name); err == nil {
			err = fsys.SyncDir(dir)
		}
	}
	if err != nil {
		return model.NoBrokerEpoch, false, ioError(err)
	}
	m := struct{ BrokerEpoch *model.BrokerEpoch }{}
	if json.Unmarshal(p, &m) != nil || m.BrokerEpoch == nil {
		return model.NoBrokerEpoch, true, nil
	}
	return *m.BrokerEpoch, true, nil
}

// MetaProperties identifies a log dir.
type MetaProperties struct {
	ClusterID   string
	NodeID      model.BrokerID
	DirectoryID model.DirectoryID // zero if the file has none (before 3.7)
}

// WriteMetaProperties formats a log dir.
func WriteMetaProperties(fsys vfs.FS, dir string, m MetaProperties) error {
	text := fmt.Sprintf("#\ncluster.id=%s\ndirectory.id=%s\nnode.id=%d\nversion=1\n", m.ClusterID, m.DirectoryID, m.NodeID)
	return ioError(vfs.WriteFileAtomic(fsys, filepath.Join(dir, metaPropertiesName), []byte(text)))
}

// ReadMetaProperties reads what formatted a log dir; ok is false if it hasn't
// been formatted.
func ReadMetaProperties(fsys vfs.FS, dir string) (m MetaProperties, ok bool, err error) {
	name := filepath.Join(dir, metaPropertiesName)
	p, err := vfs.ReadFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return m, false, nil
	}
	if err != nil {
		return m, false, ioError(err)
	}
	kv := map[string]string{}
	for line := range strings.Lines(string(p)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == '!' {
			continue
		}
		sep := strings.IndexAny(line, "=:")
		if sep < 0 {
			continue
		}
		value := strings.NewReplacer(`\:`, ":", `\=`, "=", `\\`, `\`).Replace(strings.TrimSpace(line[sep+1:]))
		kv[strings.TrimSpace(line[:sep])] = value
	}
	if kv["version"] != "1" {
		return m, false, fmt.Errorf("%s: version %q, want 1: %w", name, kv["version"], ErrCorrupt)
	}
	node, err := strconv.ParseInt(kv["node.id"], 10, 32)
	if err != nil || kv["cluster.id"] == "" {
		return m, false, fmt.Errorf("%s: node.id %q, cluster.id %q: %w", name, kv["node.id"], kv["cluster.id"], ErrCorrupt)
	}
	m.ClusterID, m.NodeID = kv["cluster.id"], model.BrokerID(node)
	if v := kv["directory.id"]; v != "" {
		if m.DirectoryID, err = model.ParseUUID(v); err != nil {
			return m, false, fmt.Errorf("%s: directory.id: %w: %w", name, ErrCorrupt, err)
		}
	}
	return m, true, nil
}
