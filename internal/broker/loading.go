package broker

import "sync/atomic"

// unread is what is still to be done of a directory's logs after a start.
type unread struct{ logs, segments atomic.Int64 }

// Recovering is what is left to load of one log directory: logs that aren't open
// yet, and segments that are still to be read of those that are being opened.
type Recovering struct {
	Dir            string
	Logs, Segments int
}

// Recovery tells what is left to load of each directory, in the order of log.dirs.
func (b *Broker) Recovery() []Recovering {
	var out []Recovering
	for _, d := range b.dirs {
		out = append(out, Recovering{d.Path, int(d.left.logs.Load()), int(d.left.segments.Load())})
	}
	return out
}

// recovery follows the segments of one log that is being opened.
type recovery struct {
	of    *unread
	known int // of this log, in of.segments
}

// progress takes in how many segments were read, of how many.
func (r *recovery) progress(done, total int) {
	r.of.segments.Add(int64(total - done - r.known))
	r.known = total - done
}

// end takes back what won't be read: the log is open, or can't be.
func (r *recovery) end() { r.progress(0, 0) }
