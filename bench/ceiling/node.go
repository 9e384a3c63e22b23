package ceiling

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
)

const (
	opProduce   = 1
	opReplicate = 2
	opConsume   = 3
	opPing      = 4
	opTail      = 5 // consume that waits

	ackAll         = 255
	batchHeader    = 61
	partitionChunk = 1 << 20 // of one partition in one answer to a follower
	answerMax      = 10 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Config is one node's place.
type Config struct {
	ID         int // from 1
	Addrs      []string
	Partitions int
	RF         int // 1, or the number of nodes
	Dir        string
}

type node struct {
	cfg       Config
	parts     []*part
	followers struct {
		sync.Mutex
		list []*follower
	}
}

// part is one partition: a file and, on its leader, who has how much of it.
type part struct {
	id     int
	leader bool
	file   *os.File
	end    atomic.Int64 // of the log, in bytes

	mu struct {
		sync.Mutex
		hw      int64
		log     []int64 // by node id - 1
		waiting []waiter
		tails   []tail
	}
}

// waiter is an acknowledgement due once the high watermark reaches end.
type waiter struct {
	to  *conn
	end int64
}

// Run serves one node until its listener fails.
func Run(cfg Config) error {
	n := &node{cfg: cfg}
	for p := range cfg.Partitions {
		f, err := os.Create(filepath.Join(cfg.Dir, fmt.Sprintf("%d.log", p)))
		if err != nil {
			return err
		}
		pt := &part{id: p, leader: p%len(cfg.Addrs)+1 == cfg.ID, file: f}
		pt.mu.log = make([]int64, len(cfg.Addrs))
		n.parts = append(n.parts, pt)
	}
	l, err := net.Listen("tcp", cfg.Addrs[cfg.ID-1])
	if err != nil {
		return err
	}
	if cfg.RF > 1 {
		for i := range cfg.Addrs {
			if i != cfg.ID-1 && i < cfg.Partitions {
				go n.follow(i + 1)
			}
		}
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go n.serve(&conn{tcp: c.(*net.TCPConn)})
	}
}

// append checks, stamps and writes one batch, and returns the log's new end.
func (p *part) append(batch []byte) (int64, error) {
	if err := check(batch); err != nil {
		return 0, err
	}
	at := p.end.Load() // one producer per partition
	binary.BigEndian.PutUint64(batch, uint64(at))
	if _, err := p.file.WriteAt(batch, at); err != nil {
		return 0, err
	}
	p.end.Store(at + int64(len(batch)))
	return at + int64(len(batch)), nil
}

func check(batch []byte) error {
	if len(batch) < batchHeader {
		return fmt.Errorf("a batch of %d bytes", len(batch))
	}
	if crc32.Checksum(batch[21:], castagnoli) != binary.BigEndian.Uint32(batch[17:]) {
		return fmt.Errorf("bad CRC in a batch of %d bytes", len(batch))
	}
	return nil
}

// acked notes how far one node's log reaches, moves the high watermark and
// returns the acknowledgements that this releases.
func (p *part) acked(id int, end int64, released []*conn) []*conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.log[id-1] = end
	hw := end
	for _, e := range p.mu.log {
		hw = min(hw, e)
	}
	p.mu.hw = max(p.mu.hw, hw)
	k := 0
	for ; k < len(p.mu.waiting) && p.mu.waiting[k].end <= p.mu.hw; k++ {
		released = append(released, p.mu.waiting[k].to)
	}
	p.mu.waiting = append(p.mu.waiting[:0], p.mu.waiting[k:]...)
	return released
}

func (p *part) wait(c *conn, end int64) {
	p.mu.Lock()
	p.mu.waiting = append(p.mu.waiting, waiter{c, end})
	p.mu.Unlock()
}

// highWatermark is how far consumers may read.
func (p *part) highWatermark(rf int) int64 {
	if rf == 1 {
		return p.end.Load()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.hw
}
