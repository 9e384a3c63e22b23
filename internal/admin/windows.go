package admin

import (
	"sync"
	"time"

	"tidemark/internal/latency"
)

// windows remember distributions, so that percentiles and rates are those of the last
// minute or two and not of the whole life of the process: Kafka's percentiles
// favour the last five minutes. Safe for concurrent use.
type windows struct {
	mu    sync.Mutex
	kept  map[string]*window
	rates map[string]*rate
}

func newWindows() *windows { return &windows{kept: map[string]*window{}, rates: map[string]*rate{}} }

// window holds two earlier snapshots; the older one is the start of the window.
type window struct {
	older, newer latency.Snapshot
	at           time.Time // of newer
}

// windowFor is how long a window is at least, after as much time; it is at most
// twice as long as long as somebody scrapes.
const windowFor = time.Minute

// of returns what was counted of late; everything if nothing was.
func (w *windows) of(key string, s latency.Snapshot, now time.Time) latency.Snapshot {
	w.mu.Lock()
	defer w.mu.Unlock()
	k := w.kept[key]
	if k == nil {
		k = &window{at: now}
		w.kept[key] = k
	}
	if now.Sub(k.at) >= windowFor {
		k.older, k.newer, k.at = k.newer, s, now
	}
	if late := s.Since(&k.older); late.Count() > 0 {
		return late
	}
	return s
}

// rate holds two earlier values.
type rate struct {
	older, newer     float64
	olderAt, newerAt time.Time
}

// rateFor is Kafka's for rates: two windows of half a minute.
const rateFor = 30 * time.Second

// perSecond is how fast a counter grew over the last half minute to minute, and
// since the first question before that.
func (w *windows) perSecond(key string, v float64, now time.Time) float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.rates[key]
	if r == nil || v < r.newer { // it began anew
		w.rates[key] = &rate{v, v, now, now}
		return 0
	}
	if now.Sub(r.newerAt) >= rateFor {
		r.older, r.olderAt, r.newer, r.newerAt = r.newer, r.newerAt, v, now
	}
	if past := now.Sub(r.olderAt).Seconds(); past > 0 {
		return (v - r.older) / past
	}
	return 0
}
