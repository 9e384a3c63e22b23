package session

import (
	"errors"
	"slices"
	"testing"
	"time"

	"tidemark/internal/model"
)

type parked struct{ claimed bool }

func (p *parked) Wake() bool { p.claimed = true; return true }
func (p *parked) Complete()  {}

var t0 = time.Unix(10_000, 0)

func key(p int32) Key { return Key{Topic: "t", Partition: p} }

func numbers(es []*Entry) []int32 {
	var out []int32
	for _, e := range es {
		out = append(out, e.Partition)
	}
	return out
}

func want(t *testing.T, what string, got, want []int32) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s: %v, want %v", what, got, want)
	}
}

func TestAPassCostsWhatChanged(t *testing.T) {
	s := New(2, false, t0)
	var es []*Entry
	for p := range int32(2000) {
		es = append(es, s.Name(key(p), Position{}))
	}
	if n := len(s.Take(nil)); n != 2000 {
		t.Fatalf("first pass over %d", n)
	}
	es[7].Mark(Data, 100)
	es[3].Mark(Committed, 0)
	es[7].Mark(Data, 100)
	want(t, "dirty", numbers(s.Take(nil)), []int32{7, 3})
	want(t, "dirty after Take", numbers(s.Take(nil)), nil)
	s.Again(es[9])
	want(t, "left behind", numbers(s.Take(nil)), []int32{9})
	es[5].Mark(Data, 1)
	s.Forget(key(5))
	es[5].Mark(Data, 1)
	want(t, "forgotten", numbers(s.Take(nil)), nil)
}

func TestWhatWakesWhom(t *testing.T) {
	for _, v := range []struct {
		name    string
		replica model.BrokerID
		what    Change
		bytes   int
		woken   bool
		dirty   bool
	}{
		{"data wakes a follower", 2, Data, 10, true, true},
		{"too little data does not", 2, Data, 9, false, true},
		{"a high watermark does not wake a follower (KAFKA-9731)", 2, Committed, 10, false, true},
		{"a log start does not", 2, Quiet, 0, false, true},
		{"an epoch does", 2, Broken, 0, true, true},
		{"data does not concern a consumer", -1, Data, 99, false, false},
		{"a high watermark wakes a consumer", -1, Committed, 10, true, true},
		{"an error does", -1, Broken, 0, true, true},
	} {
		s := New(v.replica, false, t0)
		e := s.Name(key(0), Position{})
		s.Take(nil)
		r := &parked{}
		if !s.Park(r, 10) {
			t.Fatalf("%s: does not park", v.name)
		}
		got := e.Mark(v.what, v.bytes)
		if r.claimed != v.woken || (got != nil) != v.woken || len(s.Take(nil)) == 1 != v.dirty {
			t.Errorf("%s: woken=%v", v.name, r.claimed)
		}
	}
}

// A mark between the pass and Park must not be slept over.
func TestMarkDuringThePass(t *testing.T) {
	s := New(2, false, t0)
	e := s.Name(key(0), Position{})
	s.Take(nil)
	e.Mark(Data, 1)
	if s.Park(nil, 1) {
		t.Fatal("parked over a mark")
	}
	want(t, "dirty", numbers(s.Take(nil)), []int32{0})
	if !s.Park(nil, 1) {
		t.Fatal("does not park")
	}
}

func TestSessionEpochs(t *testing.T) {
	c := NewCache(10)
	s := New(2, false, t0)
	c.Add(s, t0)
	find := func(epoch int32, byID bool) error {
		got, err := c.Find(s.ID, epoch, byID, t0)
		if err == nil {
			got.Serve.Unlock()
		}
		return err
	}
	if err := find(1, false); err != nil {
		t.Fatal(err)
	}
	if err := find(1, false); !errors.Is(err, ErrEpoch) {
		t.Fatal(err)
	}
	if err := find(2, true); !errors.Is(err, ErrTopicID) {
		t.Fatal(err)
	}
	if err := find(2, false); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Find(s.ID+1, 1, false, t0); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	s.epoch = 1<<31 - 2
	if err := find(1<<31-2, false); err != nil {
		t.Fatal(err)
	}
	if err := find(1, false); err != nil {
		t.Fatalf("the epoch wraps to 1: %v", err)
	}
}

func TestEviction(t *testing.T) {
	fill := func(replicas ...model.BrokerID) (*Cache, []*Session) {
		c := NewCache(len(replicas))
		var all []*Session
		for i, r := range replicas {
			s := New(r, false, t0)
			for p := range int32(i + 1) {
				s.Name(key(p), Position{})
			}
			c.Add(s, t0)
			all = append(all, s)
		}
		return c, all
	}
	add := func(c *Cache, replica model.BrokerID, size int32, at time.Time) (*Session, *Session) {
		s := New(replica, false, at)
		for p := range size {
			s.Name(key(p), Position{})
		}
		return s, c.Add(s, at)
	}
	c, all := fill(-1, 2, -1)
	if s, out := add(c, -1, 9, t0.Add(time.Minute)); s.ID != 0 || out != nil {
		t.Fatal("a young session lost its slot to a consumer")
	}
	if s, out := add(c, 3, 1, t0.Add(time.Minute)); s.ID == 0 || out != all[0] {
		t.Fatalf("a replica takes the slot of the smallest consumer, got %v", out)
	}
	c, all = fill(2, 3)
	for _, s := range all {
		s.Touch(t0.Add(3 * time.Minute))
	}
	if s, _ := add(c, -1, 9, t0.Add(3*time.Minute)); s.ID != 0 {
		t.Fatal("a consumer took a replica's slot")
	}
	if _, out := add(c, 4, 1, t0.Add(3*time.Minute)); out != all[0] {
		t.Fatal("an old replica session that is not larger makes room for a replica")
	}
	c, all = fill(2, 3)
	all[1].Touch(t0.Add(3 * time.Minute))
	if _, out := add(c, -1, 1, t0.Add(3*time.Minute)); out != all[0] {
		t.Fatal("an idle session makes room for anybody")
	}
	if c.Len() != 2 || c.Evictions() != 1 {
		t.Fatalf("%d sessions", c.Len())
	}
}
