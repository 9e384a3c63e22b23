package peer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"tidemark/internal/wire"
)

// sequentialMin is the first memory that a sequential call reads into.
const sequentialMin = 64 << 10

// exchange is DoRaw for a caller that keeps the memory of the answers in *buf
// from call to call. The body that is returned lies in it.
func (c *Conn) exchange(ctx context.Context, key, version int16, body []byte, buf *[]byte) ([]byte, error) {
	if c.o.Sequential {
		return c.doSequential(ctx, key, version, body, buf)
	}
	got, err := c.DoRaw(ctx, key, version, body, *buf)
	*buf = got // nil after an error: a broken connection may still own it
	return got, err
}

// doSequential writes a request and reads its answer in the caller's goroutine:
// no other one has to be woken for it. The end of ctx breaks the connection.
func (c *Conn) doSequential(ctx context.Context, key, version int16, body []byte, buf *[]byte) ([]byte, error) {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	if err := c.Err(); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() {
		reason := ctx.Err()
		if errors.Is(reason, context.DeadlineExceeded) {
			reason = ErrTimeout
		}
		c.fail(fmt.Errorf("%s to %s: %w", wire.APIName(key), c.Addr(), reason))
	})
	defer stop()
	c.mu.Lock()
	id := c.mu.nextID
	c.mu.nextID = (id + 1) & 0x7fffffff
	c.mu.Unlock()
	err := c.writeRequest(wire.Header{Key: key, Version: version, CorrelationID: id, ClientID: c.clientID}, body)
	var answer []byte
	if err == nil {
		answer, err = c.readSequential(id, buf)
	}
	if err == nil && wire.ResponseHeaderFlexible(key, version) {
		answer, err = wire.SkipTags(answer)
	}
	if err != nil {
		c.fail(err)
		return nil, c.Err() // the first reason counts
	}
	return answer, nil
}

// readSequential reads one answer without its length and correlation id. There
// is no other request, so that whatever can be read belongs to it.
func (c *Conn) readSequential(id int32, buf *[]byte) ([]byte, error) {
	mem := (*buf)[:cap(*buf)]
	for n, need := 0, 8; ; {
		if n == len(mem) {
			mem = slices.Grow(mem, max(min(need-n, n), sequentialMin)) // invariant 2
			mem = mem[:cap(mem)]
			*buf = mem
		}
		k, err := c.nc.Read(mem[n:])
		if n += k; n >= 8 && need == 8 {
			size := int64(int32(binary.BigEndian.Uint32(mem))) // of what follows the length
			got := int32(binary.BigEndian.Uint32(mem[4:]))
			switch {
			case size < 4 || size-4 > int64(c.o.ResponseMax):
				return nil, fmt.Errorf("response of %d bytes from %s, limit is %d: %w", size, c.Addr(), c.o.ResponseMax, ErrTooLarge)
			case got != id:
				return nil, fmt.Errorf("response %d from %s answers no request: %w", got, c.Addr(), ErrMalformed)
			}
			need = 4 + int(size)
		}
		switch {
		case n >= 8 && n > need:
			return nil, fmt.Errorf("%d bytes from %s after response %d: %w", n-need, c.Addr(), id, ErrMalformed)
		case n >= 8 && n == need:
			return mem[8:need], nil
		case err == io.EOF && n > 0:
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, fmt.Errorf("read from %s: %w: %w", c.Addr(), err, ErrClosed)
		}
	}
}
