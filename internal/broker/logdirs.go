package broker

import (
	"tidemark/internal/model"
	"tidemark/internal/partition"
)

// LogDir is one log directory and what is in it.
type LogDir struct {
	Dir
	Err         error  // why it is offline; nil if it works
	Full        bool   // no records are taken, because only the reserve is left
	Total, Free uint64 // bytes of its file system, as far as Known
	Known       bool
	Replicas    []*partition.Partition // by topic and partition
}

// LogDirs lists the configured directories in order. It asks the file systems
// for their sizes.
func (b *Broker) LogDirs() []LogDir {
	out := make([]LogDir, len(b.dirs))
	index := make(map[model.DirectoryID]int, len(b.dirs))
	for i, d := range b.dirs {
		out[i].Dir, index[d.ID] = d.Dir, i
		if d.offline.Load() {
			out[i].Err = d.why
			continue
		}
		free, total, err := d.fs.DiskFree(d.Path)
		out[i].Free, out[i].Total, out[i].Known = free, total, err == nil
		out[i].Full = err == nil && d.space.isFull(free, total)
	}
	for _, h := range b.set.Load().sorted {
		i := index[h.dir.ID]
		out[i].Replicas = append(out[i].Replicas, h.p)
	}
	return out
}
