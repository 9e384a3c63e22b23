package ceiling

import (
	"io"
	"net"
	"time"
)

func ping(addr string) error {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	if _, err := c.Write([]byte{0, 0, 0, 1, opPing}); err != nil {
		return err
	}
	_, err = io.ReadFull(c, make([]byte, 6))
	return err
}
