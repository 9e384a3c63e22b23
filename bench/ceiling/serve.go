package ceiling

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log"
	"net"
	"slices"
	"sync"
)

// conn is one accepted connection; its reader goroutine handles what it sends.
type conn struct {
	tcp *net.TCPConn
	wmu sync.Mutex

	buf      []byte
	r, w     int     // unread bytes of buf
	touched  []*part // appended to in this drain
	acks     int     // due to this connection at the end of the drain
	follower *follower
	out      []byte
}

const (
	bufferBytes = 256 << 10
	frameMax    = 8 << 20
)

func (n *node) serve(c *conn) {
	defer c.tcp.Close()
	c.buf = make([]byte, bufferBytes)
	for {
		if err := c.fill(); err != nil {
			return
		}
		for {
			f := c.frame()
			if f == nil {
				break
			}
			if err := n.handle(c, f); err != nil {
				log.Printf("%v: %v", c.tcp.RemoteAddr(), err)
				return
			}
		}
		if err := n.drained(c); err != nil {
			return
		}
	}
}

// fill reads once. A large frame is read up to its end and no further, so that
// what follows need not be moved.
func (c *conn) fill() error {
	if c.r == c.w {
		c.r, c.w = 0, 0
	}
	limit := len(c.buf)
	if c.w-c.r >= 4 {
		size := 4 + int(binary.BigEndian.Uint32(c.buf[c.r:]))
		if size > frameMax {
			return fmt.Errorf("a frame of %d bytes", size)
		}
		if c.r+size > len(c.buf) {
			if size > len(c.buf) {
				bigger := make([]byte, size)
				copy(bigger, c.buf[c.r:c.w])
				c.buf = bigger
			} else {
				copy(c.buf, c.buf[c.r:c.w])
			}
			c.r, c.w = 0, c.w-c.r
		}
		limit = len(c.buf)
		if size > bufferBytes/4 {
			limit = c.r + size
		}
	} else if len(c.buf)-c.w < 4 {
		copy(c.buf, c.buf[c.r:c.w])
		c.r, c.w = 0, c.w-c.r
	}
	k, err := c.tcp.Read(c.buf[c.w:limit])
	c.w += k
	return err
}

// frame returns the next whole frame without its length, or nil.
func (c *conn) frame() []byte {
	if c.w-c.r < 4 {
		return nil
	}
	size := int(binary.BigEndian.Uint32(c.buf[c.r:]))
	if size < 1 || c.w-c.r-4 < size {
		return nil
	}
	f := c.buf[c.r+4 : c.r+4+size]
	c.r += 4 + size
	return f
}

var errShort = errors.New("a request that is too short")

func (n *node) handle(c *conn, f []byte) error {
	switch {
	case f[0] == opProduce && len(f) > 4:
		p, err := n.part(f[2:], true)
		if err != nil {
			return err
		}
		end, err := p.append(f[4:])
		if err != nil {
			return err
		}
		if n.cfg.RF == 1 || f[1] != ackAll {
			c.acks++
		} else {
			p.wait(c, end)
		}
		if !slices.Contains(c.touched, p) {
			c.touched = append(c.touched, p)
		}
	case f[0] == opReplicate && len(f) >= 4:
		return n.replicate(c, f)
	case f[0] == opConsume && len(f) == 15:
		return n.consume(c, f)
	case f[0] == opTail && len(f) == 15:
		return n.tail(c, f)
	case f[0] == opPing:
		c.acks++
	default:
		return errShort
	}
	return nil
}

func (n *node) part(b []byte, leader bool) (*part, error) {
	id := int(binary.BigEndian.Uint16(b))
	if id >= len(n.parts) || n.parts[id].leader != leader {
		return nil, fmt.Errorf("partition %d isn't served here", id)
	}
	return n.parts[id], nil
}

// drained does once what the requests of one drain caused (invariant 1).
func (n *node) drained(c *conn) error {
	if len(c.touched) > 0 && n.cfg.RF > 1 {
		var released []*conn
		for _, p := range c.touched {
			released = p.acked(n.cfg.ID, p.end.Load(), released)
		}
		n.wake()
		release(released)
		for _, p := range c.touched {
			n.feed(p)
		}
	}
	c.touched = c.touched[:0]
	k := c.acks
	c.acks = 0
	return c.answer(k)
}

// release sends acknowledgements, one write for each connection.
func release(to []*conn) {
	for len(to) > 0 {
		c, k := to[0], 0
		to = slices.DeleteFunc(to, func(o *conn) bool {
			if o == c {
				k++
			}
			return o == c
		})
		_ = c.answer(k) // a dead connection's own reader ends it
	}
}

// answer sends k answers without an error.
func (c *conn) answer(k int) error {
	if k == 0 {
		return nil
	}
	c.wmu.Lock()
	defer c.wmu.Unlock()
	c.out = c.out[:0]
	for range k {
		c.out = append(c.out, 0, 0, 0, 2, 0, 0)
	}
	_, err := c.tcp.Write(c.out)
	return err
}

func (n *node) consume(c *conn, f []byte) error {
	p, err := n.part(f[1:], true)
	if err != nil {
		return err
	}
	from, limit := int64(binary.BigEndian.Uint64(f[3:])), int64(binary.BigEndian.Uint32(f[11:]))
	hw := p.highWatermark(n.cfg.RF)
	size := max(0, min(hw-from, limit))
	head := binary.BigEndian.AppendUint32(nil, uint32(8+size))
	head = binary.BigEndian.AppendUint64(head, uint64(hw))
	return c.send(head, []span{{p, from, int(size)}})
}
