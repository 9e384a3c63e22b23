package peer

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/internal/wire"
)

func TestSequentialAnswersLieInTheCallersMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := connect(t, Options{Sequential: true})
		defer finish(c, p)
		go func() {
			for r := range p.requests {
				size := binary.BigEndian.Uint32(r.body)
				p.answer(r.h, bytes.Repeat([]byte{byte(size)}, int(size)))
			}
		}()
		var buf []byte
		for i, size := range []int{0, 1, 100, 1 << 20, 7, 1 << 20} {
			before := cap(buf)
			version := []int16{4, 18}[i%2] // plain and tagged response header
			got, err := c.exchange(t.Context(), wire.KeyFetch, version, binary.BigEndian.AppendUint32(nil, uint32(size)), &buf)
			if err != nil || !bytes.Equal(got, bytes.Repeat([]byte{byte(size)}, size)) {
				t.Fatalf("%d bytes of %d, %v", len(got), size, err)
			}
			if i > 3 && cap(buf) != before {
				t.Errorf("answer %d: memory of %d bytes became one of %d", i, before, cap(buf))
			}
		}
		if cap(buf) > 4<<20 {
			t.Errorf("%d bytes for answers of 1 MiB", cap(buf))
		}
		// Without memory of its own, a call must not touch that of another.
		first, err := c.exchange(t.Context(), wire.KeyFetch, 4, []byte{0, 0, 0, 9}, &buf)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.DoRaw(t.Context(), wire.KeyFetch, 4, []byte{0, 0, 0, 8}, nil); err != nil || first[0] != 9 {
			t.Errorf("%d, %v", first[0], err)
		}
	})
}

// The memory for an answer follows what has arrived, not what was announced.
func TestSequentialTakesMemoryAsBytesArrive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := connect(t, Options{Sequential: true})
		defer finish(c, p)
		go func() {
			<-p.requests
			_, _ = p.nc.Write([]byte{0x07, 0, 0, 0, 0, 0, 0, 1})
			_, _ = p.nc.Write(make([]byte, 100<<10))
			_ = p.nc.Close()
		}()
		var buf []byte
		if _, err := c.exchange(t.Context(), wire.KeyFetch, 4, nil, &buf); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
		if cap(buf) > 512<<10 {
			t.Errorf("%d bytes after 100 KiB of an answer of 112 MiB", cap(buf))
		}
	})
}

func TestSequentialHostilePeers(t *testing.T) {
	tests := map[string]struct {
		answer []byte
		want   error
	}{
		"2 GiB":       {[]byte{0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 1}, ErrTooLarge},
		"negative":    {[]byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1}, ErrTooLarge},
		"three":       {[]byte{0, 0, 0, 3, 0, 0, 0, 1}, ErrTooLarge},
		"other id":    {[]byte{0, 0, 0, 4, 0, 0, 0, 99}, ErrMalformed},
		"and more":    {[]byte{0, 0, 0, 4, 0, 0, 0, 1, 0}, ErrMalformed},
		"just closes": {nil, ErrClosed},
		"cut short":   {[]byte{0, 0, 0, 90, 0, 0, 0, 1, 1, 2, 3}, ErrClosed},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, p := connect(t, Options{ResponseMax: 1 << 20, Sequential: true})
				defer finish(c, p)
				go func() {
					<-p.requests
					_, _ = p.nc.Write(tt.answer)
					_ = p.nc.Close()
				}()
				_, err := c.DoRaw(t.Context(), wire.KeyPrivate, 0, nil, nil)
				if !errors.Is(err, tt.want) {
					t.Errorf("got %v", err)
				}
				<-c.Broken()
				if _, again := c.DoRaw(t.Context(), wire.KeyPrivate, 0, nil, nil); fmt.Sprint(again) != fmt.Sprint(err) {
					t.Errorf("afterwards: %v", again)
				}
			})
		})
	}
}

// A call that waits ends with its context or with the connection, and leaves
// nothing behind.
func TestSequentialCallEnds(t *testing.T) {
	tests := map[string]struct {
		end  func(cancel context.CancelFunc, c *Conn)
		want error
		took time.Duration
	}{
		"timeout": {func(context.CancelFunc, *Conn) {}, ErrTimeout, 3 * time.Second},
		"cancel":  {func(cancel context.CancelFunc, _ *Conn) { cancel() }, context.Canceled, time.Second},
		"close":   {func(_ context.CancelFunc, c *Conn) { _ = c.Close() }, ErrClosed, time.Second},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, p := connect(t, Options{RequestTimeout: 3 * time.Second, Sequential: true})
				defer finish(c, p)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				from := time.Now()
				time.AfterFunc(time.Second, func() { tt.end(cancel, c) })
				_, err := c.DoRaw(ctx, wire.KeyPrivate, 0, nil, nil)
				if !errors.Is(err, tt.want) || time.Since(from) != tt.took {
					t.Errorf("%v after %v", err, time.Since(from))
				}
			})
		})
	}
}
