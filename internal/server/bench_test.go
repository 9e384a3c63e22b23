package server

import (
	"bufio"
	"io"
	"log/slog"
	"net"
	"testing"

	"tidemark/internal/wire"
)

// BenchmarkPipeline sends requests 20 at a time, with 16 KiB or next to
// nothing in each, over loopback TCP and reads a small answer for each.
func BenchmarkPipeline(b *testing.B) {
	for name, size := range map[string]int{"empty": 0, "16KiB": 16 << 10} {
		b.Run(name, func(b *testing.B) {
			scratch := make([]byte, 0, 64)
			s, err := Listen(Config{Address: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler), Stats: NewStats()},
				handlerFunc{handle: func(r *Request) {
					scratch = wire.AppendResponseHeader(scratch[:0], r.Header)
					r.Respond(wire.Part{Bytes: append(scratch, "forty bytes of an answer to a request..."...)})
				}})
			if err != nil {
				b.Fatal(err)
			}
			s.Start()
			defer s.Shutdown(b.Context())
			nc, err := net.Dial("tcp", s.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			defer nc.Close()
			var batch []byte
			for i := range int32(20) {
				batch = append(batch, frame(i, make([]byte, size))...)
			}
			r := bufio.NewReaderSize(nc, 64<<10)
			b.SetBytes(int64(len(batch) / 20))
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; i < b.N; i += 20 {
				if _, err := nc.Write(batch); err != nil {
					b.Fatal(err)
				}
				if _, err := io.CopyN(io.Discard, r, 20*48); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkSendfile answers every request with 1 MiB of a file.
func BenchmarkSendfile(b *testing.B) {
	for name, n := range map[string]int{"15KiB": 15 << 10, "64KiB": 64 << 10, "1MiB": 1 << 20} {
		b.Run(name, func(b *testing.B) {
			f := testFile(b, pattern(n))
			released := make(chan struct{}, 1)
			s, err := Listen(Config{Address: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)},
				handlerFunc{handle: func(r *Request) {
					r.Respond(answer(r, nil), wire.Part{Slice: &fileSlice{f: f, n: n, released: released}})
				}})
			if err != nil {
				b.Fatal(err)
			}
			s.Start()
			defer s.Shutdown(b.Context())
			nc, err := net.Dial("tcp", s.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			defer nc.Close()
			buf := make([]byte, n+8)
			req := frame(1, nil)
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := nc.Write(req); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(nc, buf); err != nil {
					b.Fatal(err)
				}
				<-released
			}
		})
	}
}
