package server

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
	"time"

	"tidemark/internal/vfs"
	"tidemark/internal/wire"
)

// Sizes that decide how an answer is sent. A system call per range costs more
// than the copy it saves on small ranges; the peer would also be woken twice.
const (
	sendfileRange    = 16 << 10 // smaller ranges are read into the answer
	sendfileResponse = 64 << 10 // so is any range of a smaller answer
	mergeMax         = 64 << 10 // answers up to this are sent in one write
	helpMax          = 64 << 10 // what a goroutine sends for another connection
	sendfileStep     = 1 << 20  // one call; a cold disk holds a thread that long
)

// fileRange is implemented by slices that can be sent by sendfile.
type fileRange interface {
	FileRange() (f vfs.File, off int64, n int)
}

// item is a piece of output: bytes of a pooled buffer, or a file range.
type item struct {
	buf  *buffer
	p    []byte // what is left of buf
	ends int    // responses that are complete with this item
	// shared: other items have bytes in buf, too, and this one gives it back.
	shared bool

	slice wire.Slice
	fd    uintptr
	off   int64
	n     int // what is left of the range
}

func (i *item) size() int { return len(i.p) + i.n }

func (i *item) release() {
	if i.slice != nil {
		i.slice.Release()
	}
	if i.buf != nil {
		i.buf.put()
	}
	*i = item{}
}

func releaseItems(items []item) {
	for i := range items {
		items[i].release()
	}
}

// output is what a connection still has to send.
type output struct {
	mu struct {
		sync.Mutex
		pending  []*Request // accepted requests, oldest first, from head on
		head     int
		items    []item // in order, ready to be sent
		spare    []item // memory for items
		bytes    int    // in items, and in the hands of who is sending
		inflight int    // requests accepted and not completely answered
		sending  bool   // somebody sends; nobody else may
		waiting  bool   // the reader waits for room
		closed   bool
		current  *Request // the reader is in Handle with it
		drained  bool     // the reader is in Drained

		owed     []*Request // answered requests that items hold, in order, from owedHead on; for stats
		owedHead int
		begun    time.Time // when the socket got what is being sent
	}
	room  chan struct{} // wakes the reader; capacity 1
	stats *statShard
}

// assemble appends parts to items, which is empty, with the length in front. Small ranges are read
// here, before any lock. On error all slices are released. // invariant 5
func (c *Conn) assemble(items []item, parts []wire.Part) ([]item, error) {
	total, inline := 0, 4
	for i := range parts {
		n := parts[i].Len()
		total += n
		if parts[i].Slice == nil || n < sendfileRange {
			inline += n
		}
	}
	if total < sendfileResponse || !c.sock.sendfile() {
		inline = total + 4
	}
	if int64(total) > 1<<31-1 {
		wire.ReleaseParts(parts)
		return nil, fmt.Errorf("response of %d bytes: %w", total, wire.ErrTooLarge)
	}
	buf := getBuffer(inline)
	b := binary.BigEndian.AppendUint32(buf.b, uint32(total))
	from := 0
	for i := range parts {
		s := parts[i].Slice
		if s == nil {
			b = append(b, parts[i].Bytes...)
			continue
		}
		if n := s.Len(); n >= sendfileRange && inline < total+4 {
			if it, ok := rangeItem(s); ok {
				items = append(items, item{p: b[from:len(b):len(b)]}, it)
				from = len(b)
				continue
			}
		}
		var err error
		if b, err = readSlice(b, s); err != nil {
			wire.ReleaseParts(parts[i+1:])
			releaseItems(items)
			return nil, err
		}
	}
	if from == len(b) && len(items) > 0 { // the response ends with a range
		items[len(items)-1].ends = 1
	} else {
		items = append(items, item{p: b[from:], ends: 1})
	}
	// All byte items share one buffer; the last of them gives it back.
	buf.b = b[:0]
	for i := len(items) - 1; i >= 0; i-- {
		if items[i].slice == nil {
			items[i].buf, items[i].shared = buf, len(items) > 1
			break
		}
	}
	return items, nil
}

func rangeItem(s wire.Slice) (item, bool) {
	r, ok := s.(fileRange)
	if !ok {
		return item{}, false
	}
	f, off, n := r.FileRange()
	if f == nil {
		return item{}, false
	}
	fd, ok := f.Fd()
	return item{slice: s, fd: fd, off: off, n: n}, ok && n == s.Len()
}

// readSlice appends the bytes of s to b and releases s.
func readSlice(b []byte, s wire.Slice) ([]byte, error) {
	defer s.Release()
	from, n := len(b), s.Len()
	if n == 0 {
		return b, nil
	}
	if cap(b)-from < n {
		b = append(b, make([]byte, n)...)
	}
	b = b[:from+n]
	got, err := s.ReadInto(b[from:])
	if got < n {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return b, fmt.Errorf("log range of %d bytes ends after %d: %w", n, got, err)
	}
	return b, nil
}

// accept takes a place in the order of answers for r.
func (c *Conn) accept(r *Request) {
	o := &c.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.mu.head > 0 && len(o.mu.pending) == cap(o.mu.pending) {
		n := copy(o.mu.pending, o.mu.pending[o.mu.head:])
		clear(o.mu.pending[n:])
		o.mu.pending, o.mu.head = o.mu.pending[:n], 0
	}
	o.mu.pending = append(o.mu.pending, r)
	o.mu.inflight++
	o.mu.current = r
}

// enqueue puts the answer of r into its place and moves all answers that no
// earlier one holds back to the output.
func (c *Conn) enqueue(r *Request, items []item) {
	o := &c.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.mu.closed {
		releaseItems(items)
		return
	}
	r.items, r.ready = items, true
	if o.stats != nil && o.mu.current != r {
		r.answeredAt = max(time.Since(r.Received), 1)
	}
	for o.mu.head < len(o.mu.pending) && o.mu.pending[o.mu.head].ready {
		next := o.mu.pending[o.mu.head]
		o.mu.pending[o.mu.head] = nil
		o.mu.head++
		o.release(next)
	}
	if o.mu.head == len(o.mu.pending) {
		o.mu.pending, o.mu.head = o.mu.pending[:0], 0
	}
}

// release appends the answer of r to the output. Caller holds mu.
func (o *output) release(r *Request) {
	items := r.items
	r.items = nil
	if len(items) == 0 { // no answer
		o.mu.inflight--
		o.wakeLocked()
		if o.stats != nil {
			o.stats.done(r, time.Time{}, time.Now())
		}
		return
	}
	o.oweLocked(r)
	for i := range items {
		o.mu.bytes += items[i].size()
	}
	if len(items) == 1 && o.mergeLocked(&items[0]) {
		return
	}
	o.mu.items = append(o.mu.items, items...)
}

// mergeLocked copies a small answer behind the one that waits last.
func (o *output) mergeLocked(it *item) bool {
	if len(o.mu.items) == 0 {
		return false
	}
	last := &o.mu.items[len(o.mu.items)-1]
	n := len(last.p) + len(it.p)
	if last.buf == nil || last.shared || n > mergeMax {
		return false
	}
	if cap(last.p) < n {
		bigger := getBuffer(min(4*n, mergeMax))
		bigger.b = append(bigger.b, last.p...)
		last.buf.put()
		last.buf, last.p = bigger, bigger.b
	}
	last.p = append(last.p, it.p...)
	last.ends += it.ends
	it.release()
	return true
}

// oweLocked remembers whose answers items hold, until the socket has them.
func (o *output) oweLocked(r *Request) {
	if o.stats == nil {
		return
	}
	if o.mu.owedHead > 0 && len(o.mu.owed) == cap(o.mu.owed) {
		n := copy(o.mu.owed, o.mu.owed[o.mu.owedHead:])
		clear(o.mu.owed[n:])
		o.mu.owed, o.mu.owedHead = o.mu.owed[:n], 0
	}
	o.mu.owed = append(o.mu.owed, r)
}

// paidLocked counts the requests whose answers are with the socket now.
func (o *output) paidLocked(ends int) {
	if o.stats == nil || ends == 0 {
		return
	}
	now := time.Now()
	for ; ends > 0 && o.mu.owedHead < len(o.mu.owed); ends-- {
		o.stats.done(o.mu.owed[o.mu.owedHead], o.mu.begun, now)
		o.mu.owed[o.mu.owedHead] = nil
		o.mu.owedHead++
	}
	if o.mu.owedHead == len(o.mu.owed) {
		o.mu.owed, o.mu.owedHead = o.mu.owed[:0], 0
	}
}

// wakeLocked wakes a reader that waits for room.
func (o *output) wakeLocked() {
	if o.mu.waiting {
		select {
		case o.room <- struct{}{}:
		default:
		}
	}
}

// maybeFlush sends now, unless the reader is about to send anyway.
func (c *Conn) maybeFlush(r *Request) {
	c.out.mu.Lock()
	later := c.out.mu.current == r || c.out.mu.drained
	c.out.mu.Unlock()
	if !later {
		c.flush(helpMax)
	}
}

// Flush sends what was queued and is next in order, as far as the socket takes
// it at once; the rest is left to the writer goroutine.
func (c *Conn) Flush() { c.flush(helpMax) }

func (c *Conn) flush(limit int) {
	o := &c.out
	o.mu.Lock()
	if o.mu.sending || o.mu.closed || len(o.mu.items) == 0 {
		o.mu.Unlock()
		return
	}
	o.mu.sending = true
	o.mu.Unlock()
	if c.send(limit) {
		return
	}
	c.srv.wg.Go(func() { c.send(-1) })
}

// send empties the output; the caller has set sending. With limit >= 0 it
// doesn't wait, gives up after about limit bytes, and returns false with
// sending still set if anything is left.
func (c *Conn) send(limit int) bool {
	o := &c.out
	sent, ends := 0, 0
	var work []item
	for {
		o.mu.Lock()
		o.finishedLocked(sent, ends)
		if o.mu.closed {
			o.mu.sending = false
			o.mu.Unlock()
			return true
		}
		if len(o.mu.items) == 0 {
			o.mu.sending = false
			if work != nil {
				o.mu.spare = work[:0]
			}
			o.mu.Unlock()
			return true
		}
		if limit == 0 {
			o.mu.Unlock()
			return false
		}
		work, o.mu.items, o.mu.spare = o.mu.items, o.mu.spare[:0], nil
		if o.stats != nil {
			o.mu.begun = time.Now()
		}
		o.mu.Unlock()

		var done int
		var err error
		sent, ends, done, err = c.sendItems(work, limit)
		switch {
		case err == nil:
			if limit > 0 {
				limit = max(limit-sent, 0)
			}
		case errors.Is(err, errAgain):
			o.mu.Lock()
			o.finishedLocked(sent, ends)
			if o.mu.closed {
				o.mu.sending = false
				o.mu.Unlock()
				releaseItems(work[done:])
				return true
			}
			o.mu.items = append(append([]item(nil), work[done:]...), o.mu.items...)
			o.mu.Unlock()
			return false
		default:
			releaseItems(work[done:])
			c.Close(fmt.Errorf("write: %w", err))
			o.mu.Lock()
			o.mu.sending = false
			o.mu.Unlock()
			return true
		}
	}
}

// finishedLocked accounts for what was sent.
func (o *output) finishedLocked(sent, ends int) {
	o.mu.bytes -= sent
	o.mu.inflight -= ends
	o.paidLocked(ends)
	if sent > 0 || ends > 0 {
		o.wakeLocked()
	}
}

// sendItems sends items in order; done is how many are complete and released.
// errAgain means that the rest must wait for the socket or for the writer.
func (c *Conn) sendItems(items []item, limit int) (sent, ends, done int, err error) {
	for done = range items {
		it := &items[done]
		more := done+1 < len(items)
		for it.size() > 0 {
			if limit >= 0 && sent > 0 && sent >= limit {
				return sent, ends, done, errAgain
			}
			n, err := c.sendOne(it, more, limit < 0)
			sent += n
			if err != nil {
				return sent, ends, done, err
			}
		}
		ends += it.ends
		it.release()
		c.active.Store(time.Now().UnixNano())
	}
	return sent, ends, len(items), nil
}

func (c *Conn) sendOne(it *item, more, wait bool) (n int, err error) {
	if len(it.p) > 0 {
		n, err = c.sock.write(it.p, more, wait)
		it.p = it.p[n:]
		return n, err
	}
	n, err = c.sock.send(it.fd, it.off, min(it.n, sendfileStep), wait)
	it.off += int64(n)
	it.n -= n
	c.tellTime(it)
	if n == 0 && err == nil { // invariant 6
		err = fmt.Errorf("log range ends %d bytes early: %w", it.n, io.ErrUnexpectedEOF)
	}
	if errors.Is(err, syscall.EIO) { // the disk's; a socket has other errors
		if s, ok := it.slice.(interface{ SendFailed(error) }); ok {
			s.SendFailed(err)
		}
	}
	return n, err
}
