package fetcher

import (
	"testing"
	"testing/synctest"
	"time"
)

// A loop's requests and bytes are counted, and gone with the loop.
func TestLoops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(1)
		defer b.f.Close()
		b.follow(tpn(0), "", "\x01\x01\x02")
		pass(50 * time.Millisecond)
		first := b.f.Loops()
		if len(first) != 1 || first[0].Partitions != 1 || first[0].Requests == 0 || first[0].Bytes == 0 {
			t.Fatalf("%+v", first)
		}
		pass(time.Second) // the leader has nothing more: requests, and no bytes
		if now := b.f.Loops(); now[0].Requests <= first[0].Requests || now[0].Bytes != first[0].Bytes {
			t.Errorf("%+v, before %+v", now, first)
		}
		b.f.Remove(nil)
		if n := len(b.f.Loops()); n != 1 {
			t.Errorf("%d loops", n)
		}
	})
}
