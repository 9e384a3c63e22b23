package replica

import (
	"math"
	"time"
)

// Unlimited is a rate that no quota ever exceeds.
const Unlimited = math.MaxInt64

// Quota measures the bytes of throttled replication over a sliding window of
// equal slots and compares them with a rate, as Kafka does with
// replication.quota.window.num and .size.seconds. It allows as long as the
// average is not above the rate; a single answer may overdraw it, and what was
// overdrawn is paid for by waiting.
type Quota struct {
	rate  int64 // bytes per second
	slot  time.Duration
	used  []int64 // bytes per slot, by slot number modulo its length
	first int64   // slot number of the oldest one that counts
}

// NewQuota returns an unlimited quota over a window of slots.
func NewQuota(slots int, slot time.Duration) *Quota {
	return &Quota{rate: Unlimited, slot: slot, used: make([]int64, slots)}
}

// SetRate changes the rate, in bytes per second. What was used before still
// counts.
func (q *Quota) SetRate(bytesPerSecond int64) { q.rate = bytesPerSecond }

// Rate is the rate in bytes per second, Unlimited if there is none.
func (q *Quota) Rate() int64 { return q.rate }

// Record counts bytes that were sent or received at now. Time never goes back.
func (q *Quota) Record(bytes int, now time.Time) {
	q.forget(now)
	q.used[q.number(now)%int64(len(q.used))] += int64(bytes)
}

func (q *Quota) number(now time.Time) int64 { return now.UnixNano() / int64(q.slot) }

// forget empties the slots that have left the window.
func (q *Quota) forget(now time.Time) {
	n := int64(len(q.used))
	oldest := q.number(now) - n + 1
	for ; q.first < oldest; q.first++ {
		if oldest-q.first >= n {
			clear(q.used)
			q.first = oldest
			return
		}
		q.used[q.first%n] = 0
	}
}

// Wait is how long the rate stays exceeded if nothing more is recorded: 0 means
// that it is not.
func (q *Quota) Wait(now time.Time) time.Duration {
	if q.rate == Unlimited {
		return 0
	}
	q.forget(now)
	var sum int64
	for _, b := range q.used {
		sum += b
	}
	if sum == 0 {
		return 0
	}
	// The closed slots of the window and the open one as far as it has gone.
	full := time.Duration(len(q.used)-1) * q.slot
	open := now.Sub(time.Unix(0, q.number(now)*int64(q.slot)))
	var waited time.Duration
	for k := int64(0); k < int64(len(q.used)); k++ {
		allowed := q.earned(sum)
		if allowed <= full+open {
			return waited
		}
		if allowed < full+q.slot {
			return waited + allowed - full - open
		}
		// Not within this slot: when it ends, the oldest one leaves the window.
		waited += q.slot - open
		open = 0
		sum -= q.used[(q.first+k)%int64(len(q.used))]
	}
	return waited
}

// earned is the time in which the rate allows that many bytes.
func (q *Quota) earned(bytes int64) time.Duration {
	if bytes <= 0 {
		return 0
	}
	d := float64(bytes) / float64(q.rate) * float64(time.Second) // a rate of 0 gives +Inf
	if d >= math.MaxInt64 {
		return math.MaxInt64
	}
	return time.Duration(math.Ceil(d))
}
