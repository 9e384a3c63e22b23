package driver

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// frameMax bounds an answer, so that a wrong length is an error and not an allocation.
const frameMax = 256 << 20

// Conn is a connection for one request at a time.
type Conn struct {
	c    net.Conn
	r    *bufio.Reader
	corr int32
	buf  []byte
}

// Dial connects to a broker.
func Dial(ctx context.Context, addr string) (*Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &Conn{c: c, r: bufio.NewReaderSize(c, 64<<10)}, nil
}

// Close closes the connection.
func (c *Conn) Close() { c.c.Close() }

// readFrame reads one frame without its length into buf, which grows as needed.
func readFrame(r io.Reader, buf []byte) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return buf, err
	}
	n := int(int32(binary.BigEndian.Uint32(head[:])))
	if n < 0 || n > frameMax {
		return buf, fmt.Errorf("an answer of %d bytes, at most %d expected", n, frameMax)
	}
	if cap(buf) < n {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	_, err := io.ReadFull(r, buf)
	return buf, err
}

// Raw sends a whole frame and returns the answer without its length, valid
// until the next call.
func (c *Conn) Raw(frame []byte, limit time.Duration) ([]byte, error) {
	if err := c.c.SetDeadline(time.Now().Add(limit)); err != nil {
		return nil, err
	}
	if _, err := c.c.Write(frame); err != nil {
		return nil, err
	}
	var err error
	c.buf, err = readFrame(c.r, c.buf)
	return c.buf, err
}

// Do sends a request and waits for its answer, at most limit.
func (c *Conn) Do(req kmsg.Request, limit time.Duration) (kmsg.Response, error) {
	c.corr++
	resp := req.ResponseKind()
	body, err := c.Raw(formatter().AppendRequest(nil, req, c.corr), limit)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", kmsg.NameForKey(req.Key()), err)
	}
	skip := 4
	if req.IsFlexible() {
		skip = 5 // an empty tag section
	}
	if len(body) < skip || int32(binary.BigEndian.Uint32(body)) != c.corr {
		return nil, fmt.Errorf("%s: the answer's correlation id isn't %d", kmsg.NameForKey(req.Key()), c.corr)
	}
	if err := resp.ReadFrom(append([]byte(nil), body[skip:]...)); err != nil {
		return nil, fmt.Errorf("%s: %w", kmsg.NameForKey(req.Key()), err)
	}
	return resp, nil
}
