package ceiling

import (
	"encoding/binary"
	"io"
	"log"
	"net"
	"sync"
	"syscall"
	"time"
)

// follower is a leader's view of one follower's connection.
type follower struct {
	c  *conn
	id int

	mu struct {
		sync.Mutex
		parked bool
		at     []int64 // log end by partition
	}
}

// span is a range of a partition's file.
type span struct {
	p    *part
	from int64
	size int
}

// replicate takes a follower's request: positions are acknowledgements, and
// what is new goes out at once or when it comes.
func (n *node) replicate(c *conn, f []byte) error {
	if c.follower == nil {
		c.follower = &follower{c: c, id: int(f[1])}
		c.follower.mu.at = make([]int64, len(n.parts))
		n.followers.Lock()
		n.followers.list = append(n.followers.list, c.follower)
		n.followers.Unlock()
	}
	fo := c.follower
	var released []*conn
	var acked []*part
	entries := f[4:]
	fo.mu.Lock()
	for range binary.BigEndian.Uint16(f[2:]) {
		if len(entries) < 10 {
			fo.mu.Unlock()
			return errShort
		}
		p, err := n.part(entries, true)
		if err != nil {
			fo.mu.Unlock()
			return err
		}
		fo.mu.at[p.id] = int64(binary.BigEndian.Uint64(entries[2:]))
		released, acked = p.acked(fo.id, fo.mu.at[p.id], released), append(acked, p)
		entries = entries[10:]
	}
	head, spans := n.gather(fo)
	fo.mu.parked = spans == nil
	fo.mu.Unlock()
	release(released)
	for _, p := range acked {
		n.feed(p)
	}
	if spans == nil {
		return nil
	}
	return c.send(head, spans)
}

// wake answers the parked followers for whom something came.
func (n *node) wake() {
	n.followers.Lock()
	list := n.followers.list
	n.followers.Unlock()
	for _, fo := range list {
		fo.mu.Lock()
		var head []byte
		var spans []span
		if fo.mu.parked {
			if head, spans = n.gather(fo); spans != nil {
				fo.mu.parked = false
			}
		}
		fo.mu.Unlock()
		switch {
		case spans == nil:
		case bodySize(spans) <= directMax:
			_ = fo.c.send(head, spans) // its own reader notices a dead one
		default: // so much may block; the producer must not wait for it
			go func() { _ = fo.c.send(head, spans) }()
		}
	}
}

// gather collects what a follower lacks; nil if nothing. The caller holds fo.mu.
func (n *node) gather(fo *follower) (head []byte, spans []span) {
	total := 0
	for _, p := range n.parts {
		if p.leader {
			size := min(p.end.Load()-fo.mu.at[p.id], partitionChunk)
			if size > 0 && total+int(size) <= answerMax {
				spans = append(spans, span{p, fo.mu.at[p.id], int(size)})
				total += int(size)
			}
		}
	}
	if spans == nil {
		return nil, nil
	}
	head = binary.BigEndian.AppendUint32(nil, uint32(2+14*len(spans)+total))
	head = binary.BigEndian.AppendUint16(head, uint16(len(spans)))
	for _, s := range spans {
		head = binary.BigEndian.AppendUint16(head, uint16(s.p.id))
		head = binary.BigEndian.AppendUint64(head, uint64(s.p.highWatermark(n.cfg.RF)))
		head = binary.BigEndian.AppendUint32(head, uint32(s.size))
	}
	return head, spans
}

// directMax is up to where one buffer and one write beat sendfile, and up to
// where a write to a reader that waits does not block.
const directMax = 64 << 10

func bodySize(spans []span) (total int) {
	for _, s := range spans {
		total += s.size
	}
	return total
}

// send writes a header and file ranges: small ones in one write, large ones by sendfile.
func (c *conn) send(head []byte, spans []span) error {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	if bodySize(spans) <= directMax {
		c.out = append(c.out[:0], head...)
		for _, s := range spans {
			at := len(c.out)
			c.out = append(c.out, make([]byte, s.size)...)
			if _, err := s.p.file.ReadAt(c.out[at:], s.from); err != nil {
				return err
			}
		}
		_, err := c.tcp.Write(c.out)
		return err
	}
	if _, err := c.tcp.Write(head); err != nil {
		return err
	}
	for _, s := range spans {
		if err := c.sendfile(s); err != nil {
			return err
		}
	}
	return nil
}

func (c *conn) sendfile(s span) error {
	raw, err := c.tcp.SyscallConn()
	if err != nil {
		return err
	}
	fd := int(s.p.file.Fd())
	off, left := s.from, s.size
	var failed error
	err = raw.Write(func(sock uintptr) bool {
		for left > 0 {
			k, err := syscall.Sendfile(int(sock), fd, &off, left)
			switch {
			case err == syscall.EAGAIN:
				return false
			case err == syscall.EINTR:
			case err != nil:
				failed = err
				return true
			case k == 0:
				failed = io.ErrUnexpectedEOF
				return true
			}
			left -= max(k, 0)
		}
		return true
	})
	if err != nil {
		return err
	}
	return failed
}

// follow pulls from one leader for as long as it lives.
func (n *node) follow(leader int) {
	for {
		c, err := net.Dial("tcp", n.cfg.Addrs[leader-1])
		if err != nil {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		log.Printf("following node %d: %v", leader, n.pull(c, leader))
		return
	}
}

func (n *node) pull(c net.Conn, leader int) error {
	defer c.Close()
	var changed []*part
	for _, p := range n.parts {
		if p.id%len(n.cfg.Addrs)+1 == leader {
			changed = append(changed, p)
		}
	}
	var out, in []byte
	for {
		out = append(out[:0], 0, 0, 0, byte(4+10*len(changed)), opReplicate, byte(n.cfg.ID), 0, byte(len(changed)))
		for _, p := range changed {
			out = binary.BigEndian.AppendUint16(out, uint16(p.id))
			out = binary.BigEndian.AppendUint64(out, uint64(p.end.Load()))
		}
		if _, err := c.Write(out); err != nil {
			return err
		}
		var err error
		if in, err = readFrame(c, in); err != nil {
			return err
		}
		if changed, err = n.apply(in, changed[:0]); err != nil {
			return err
		}
	}
}

// readFrame reads one frame into buf, small ones with one read.
func readFrame(c net.Conn, buf []byte) ([]byte, error) {
	if cap(buf) < bufferBytes {
		buf = make([]byte, bufferBytes)
	}
	buf = buf[:cap(buf)]
	k, err := io.ReadAtLeast(c, buf, 4)
	if err != nil {
		return nil, err
	}
	size := 4 + int(binary.BigEndian.Uint32(buf))
	if size > answerMax+bufferBytes {
		return nil, errShort
	}
	if size > len(buf) {
		buf = append(make([]byte, 0, size), buf[:k]...)[:size]
	}
	if _, err := io.ReadFull(c, buf[k:max(k, size)]); err != nil {
		return nil, err
	}
	return buf[:size], nil
}

// apply checks and writes what a leader sent, verbatim.
func (n *node) apply(in []byte, changed []*part) ([]*part, error) {
	if len(in) < 6 {
		return nil, errShort
	}
	k := int(binary.BigEndian.Uint16(in[4:]))
	if len(in) < 6+14*k {
		return nil, errShort
	}
	heads, data := in[6:6+14*k], in[6+14*k:]
	for ; k > 0; k-- {
		p, err := n.part(heads, false)
		if err != nil {
			return nil, err
		}
		size := int(binary.BigEndian.Uint32(heads[10:]))
		if size > len(data) {
			return nil, errShort
		}
		whole, err := wholeBatches(data[:size])
		if err != nil {
			return nil, err
		}
		at := p.end.Load()
		if _, err := p.file.WriteAt(data[:whole], at); err != nil {
			return nil, err
		}
		p.end.Store(at + int64(whole))
		changed = append(changed, p)
		heads, data = heads[14:], data[size:]
	}
	return changed, nil
}

// wholeBatches checks the CRC of every batch and returns where the last whole one ends.
func wholeBatches(p []byte) (n int, err error) {
	for len(p)-n >= batchHeader {
		size := 12 + int(binary.BigEndian.Uint32(p[n+8:]))
		if size > len(p)-n {
			break
		}
		if err := check(p[n : n+size]); err != nil {
			return 0, err
		}
		n += size
	}
	return n, nil
}
