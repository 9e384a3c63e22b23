package e2e

import (
	"encoding/binary"
	"errors"
	"io"
	"math/rand"
	"net"
	"os"
	"testing"
	"time"

	"tidemark/test/cluster"
)

// frame is a request with its length in front.
func frame(key, version int16, body []byte) []byte {
	head := binary.BigEndian.AppendUint16(nil, uint16(key))
	head = binary.BigEndian.AppendUint16(head, uint16(version))
	head = binary.BigEndian.AppendUint32(head, 7)      // correlation id
	head = binary.BigEndian.AppendUint16(head, 0xffff) // no client id
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(head)+len(body))), append(head, body...)...)
}

// closes sends the bytes and waits until the broker hangs up; the error says
// that it didn't.
func closes(addr string, p []byte, halfClose bool) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return err
	}
	_, _ = conn.Write(p) // the broker may hang up in the middle
	if halfClose {
		_ = conn.(*net.TCPConn).CloseWrite()
	}
	_, err = io.Copy(io.Discard, conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errors.New("the connection is still open after 20 s")
	}
	return nil
}

// What no client would send arrives on the clients' and the controllers' port
// while a workload runs: the sender's connection ends, and nothing else.
func TestHostileBytes(t *testing.T) {
	c, w := underLoad(t)
	n := c.LeaderNode("orders", 0)
	garbage := make([]byte, 1<<20)
	rand.New(rand.NewSource(1)).Read(garbage)
	copy(garbage, []byte{0, 0, 16, 0}) // a plausible length, then nonsense
	produce := frame(0, 9, []byte{0, 0, 0xff, 0xff, 0, 0, 0x75, 0x30, 0xff, 0xff, 0xff, 0xff, 0x0f})
	cases := []struct {
		name string
		p    []byte
		half bool
	}{
		{"garbage", garbage, true},
		{"frame of 2 GiB", []byte{0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 3}, false},
		{"negative length", []byte{0xff, 0xff, 0xff, 0xff}, false},
		{"empty frame", []byte{0, 0, 0, 0}, false},
		{"unknown key", frame(31000, 0, nil), false},
		{"version of the future", frame(3, 99, nil), false},
		{"truncated request", frame(3, 12, nil)[:9], true},
		{"array of 2^28 topics", produce, true},
		{"HTTP", []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), true},
		{"TLS hello", []byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3}, true},
		{"nothing", nil, true},
	}
	for _, addr := range []int{n.Client, n.Control} {
		for _, tc := range cases {
			if err := closes(cluster.Loopback(addr), tc.p, tc.half); err != nil {
				t.Errorf("%s on port %d: %v", tc.name, addr, err)
			}
		}
	}
	if rss := n.RSS(t); rss > 600<<20 {
		t.Errorf("node %d uses %d MiB after hostile lengths", n.ID, rss>>20)
	}
	if !n.Running() {
		t.Fatalf("node %d ended", n.ID)
	}
	heals(t, c, w)
}
