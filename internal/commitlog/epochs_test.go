package commitlog

import (
	"fmt"
	"slices"
	"testing"

	"tidemark/internal/model"
)

func cacheOf(pairs ...int) *epochCache {
	c := &epochCache{}
	for i := 0; i < len(pairs); i += 2 {
		c.assign(model.LeaderEpoch(pairs[i]), model.Offset(pairs[i+1]))
	}
	return c
}

// KIP-101: the five cases of OffsetForLeaderEpoch.
func TestEndOffsetFor(t *testing.T) {
	c := cacheOf(2, 10, 4, 20, 7, 50)
	for _, x := range []struct {
		name  string
		c     *epochCache
		want  model.LeaderEpoch
		epoch model.LeaderEpoch
		end   model.Offset
	}{
		{"undefined", c, -1, -1, -1},
		{"latest", c, 7, 7, 100},
		{"above the latest", c, 8, -1, -1},
		{"below the first", c, 1, 1, 10},
		{"the first", c, 2, 2, 20},
		{"between", c, 5, 4, 50},
		{"known", c, 4, 4, 50},
		{"no epochs", cacheOf(), 0, -1, -1},
		{"epoch 0 (KAFKA-10432)", cacheOf(0, 0, 1, 5), 0, 0, 5},
	} {
		t.Run(x.name, func(t *testing.T) {
			if e, end := x.c.endOffsetFor(x.want, 100); e != x.epoch || end != x.end {
				t.Errorf("got (%d, %d), want (%d, %d)", e, end, x.epoch, x.end)
			}
		})
	}
}

func TestEpochCacheRules(t *testing.T) {
	for _, x := range []struct {
		name string
		do   func(c *epochCache)
		want string
	}{
		{"elections without a write leave the latest (KAFKA-7415)", func(c *epochCache) { c.assign(5, 60); c.assign(6, 60) }, "[{1 0} {2 30} {6 60}]"},
		{"same epoch again", func(c *epochCache) { c.assign(2, 50) }, "[{1 0} {2 30}]"},
		{"a tail that contradicts goes", func(c *epochCache) { c.assign(3, 10) }, "[{1 0} {3 10}]"},
		{"an older epoch wins over newer entries", func(c *epochCache) { c.assign(1, 70) }, "[{1 70}]"},
		{"truncate from end", func(c *epochCache) { c.truncateFromEnd(30) }, "[{1 0}]"},
		{"truncate from end, nothing above", func(c *epochCache) { c.truncateFromEnd(31) }, "[{1 0} {2 30}]"},
		{"truncate from start keeps the floor", func(c *epochCache) { c.truncateFromStart(40) }, "[{2 40}]"},
		{"truncate from start inside the first", func(c *epochCache) { c.truncateFromStart(10) }, "[{1 10} {2 30}]"},
		{"truncate from start at a border", func(c *epochCache) { c.truncateFromStart(30) }, "[{2 30}]"},
	} {
		t.Run(x.name, func(t *testing.T) {
			c := cacheOf(1, 0, 2, 30)
			x.do(c)
			if got := fmt.Sprint(c.entries()); got != x.want {
				t.Errorf("got %s, want %s", got, x.want)
			}
		})
	}
}

func TestEpochAt(t *testing.T) {
	c := cacheOf(2, 10, 4, 20)
	for off, want := range map[model.Offset]model.LeaderEpoch{9: -1, 10: 2, 19: 2, 20: 4, 1000: 4} {
		if got := c.at(off); got != want {
			t.Errorf("epoch at %d: %d, want %d", off, got, want)
		}
	}
}

// The log start goes up, the epochs below it are forgotten, a flush saves that.
// Nobody writes the log start down before the crash: the log begins at the old
// start again, and must know the epochs of its records again.
func TestEpochsBelowALogStartThatWasLost(t *testing.T) {
	for _, roll := range []bool{false, true} {
		for _, more := range []int{0, 3} {
			fs := newMem(t)
			l := open(t, memOptions(fs))
			fill(t, l, 1, 2, 2) // [0, 4)
			fill(t, l, 2, 2, 2) // [4, 8)
			fill(t, l, 3, 2, 2) // [8, 12)
			must(t, l.AdvanceStart(6))
			must(t, l.Flush(l.End()))
			if roll {
				must(t, l.Roll())
			}
			fill(t, l, 4, more, 2)
			o := memOptions(fs.CrashClone(100, 1))
			o.RecoveryPoint = 12
			l = open(t, o)
			want := []EpochEntry{{1, 0}, {2, 4}, {3, 8}}
			if more > 0 {
				want = append(want, EpochEntry{4, 12})
			}
			if got := l.Epochs(); l.Start() != 0 || !slices.Equal(got, want) {
				t.Errorf("roll %v, more %d: start %d, epochs %v, want %v", roll, more, l.Start(), got, want)
			}
		}
	}
}

// A log that was closed well, and whose epoch file is gone, knows its epochs from
// its batches: without them it could only be cut at its high watermark.
func TestEpochsOfALostFile(t *testing.T) {
	fs := newMem(t)
	o := memOptions(fs)
	l := open(t, o)
	fill(t, l, 1, 2, 2) // [0, 4)
	fill(t, l, 4, 2, 2) // [4, 8)
	must(t, l.Close(true))
	must(t, fs.Remove(testDir+"/"+epochFileName))
	o.Clean = true
	l = open(t, o)
	if got, want := l.Epochs(), []EpochEntry{{1, 0}, {4, 4}}; !slices.Equal(got, want) {
		t.Errorf("epochs %v, want %v", got, want)
	}
}
