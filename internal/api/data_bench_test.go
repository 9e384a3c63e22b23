package api

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"testing"

	"tidemark/internal/commitlog"
	"tidemark/internal/metadata"
	"tidemark/internal/model"
	"tidemark/internal/partition"
	"tidemark/internal/purgatory"
	"tidemark/internal/record"
	"tidemark/internal/server"
	"tidemark/internal/session"
	"tidemark/internal/vfs"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// One produce request of 1 KiB after the other, acks=1 and acks=all with one
// replica, over a socket.
func BenchmarkProduceOverASocket(b *testing.B) {
	addr := leadingAlone(b, vfs.OS)
	for name, acks := range map[string]int16{"acks=1": 1, "acks=all": -1} {
		b.Run(name, func(b *testing.B) { pingProduce(b, addr, acks) })
	}
}

// leadingAlone serves orders-0, whose only replica is here, and returns where.
func leadingAlone(b testing.TB, fs vfs.FS) string {
	b.Helper()
	n := &dataNode{img: metadata.Empty(), parts: map[model.TopicPartition]*partition.Partition{}}
	tp := model.TopicPartition{Topic: "orders"}
	p, err := partition.Open(partition.Options{
		TP: tp, TopicID: ordersID, Self: 1, Brokers: n,
		LogOptions: commitlog.Options{FS: fs, Dir: b.TempDir(), Config: commitlog.DefaultConfig()},
		Settings:   partition.Settings{MaxBatchBytes: 2 << 20, MinISR: 1, TimestampBeforeMax: 1 << 62, TimestampAfterMax: 1 << 62},
	})
	if err != nil {
		b.Fatal(err)
	}
	one := []model.BrokerID{1}
	if err := p.BecomeLeader(partition.State{Leader: 1, Replicas: one, ISR: one}); err != nil {
		b.Fatal(err)
	}
	n.parts[tp] = p
	topic := &metadata.Topic{Name: "orders", ID: ordersID, Partitions: []*metadata.Partition{{Replicas: one, ISR: one, Leader: 1}}}
	n.img.Topics.ByName["orders"], n.img.Topics.ByID[ordersID] = topic, topic
	h := New(Options{})
	RegisterData(h, DataOptions{
		Self: 1, Partitions: n, Produces: purgatory.New(10), Fetches: purgatory.New(10), Deletes: purgatory.New(10),
		Sessions: session.NewCache(10),
	})
	srv, err := server.Listen(server.Config{
		Listener: "X", Address: "127.0.0.1:0", Stats: server.NewStats(), Logger: slog.New(slog.DiscardHandler),
	}, h)
	if err != nil {
		b.Fatal(err)
	}
	srv.Start()
	b.Cleanup(func() { _ = srv.Shutdown(context.Background()) })
	return srv.Addr().String()
}

func pingProduce(b *testing.B, addr string, acks int16) {
	ask := asker(b, addr, acks, 1024)
	b.SetBytes(1024)
	b.ReportAllocs()
	for b.Loop() {
		ask()
	}
}

// asker returns what sends one record of the given size and waits for the answer.
func asker(b testing.TB, addr string, acks int16, size int) func() {
	b.Helper()
	var rb record.Builder
	rb.Add(1, nil, make([]byte, size))
	req := produceReq(acks, 5000, 0, rb.Build())
	req.SetVersion(13)
	frame := kmsg.NewRequestFormatter(kmsg.FormatterClientID("bench")).AppendRequest(nil, req, 1)
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = nc.Close() })
	r := bufio.NewReader(nc)
	head := make([]byte, 4)
	return func() {
		if _, err := nc.Write(frame); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(r, head); err != nil {
			b.Fatal(err)
		}
		if _, err := r.Discard(int(binary.BigEndian.Uint32(head))); err != nil {
			b.Fatal(err)
		}
	}
}
