package group

import (
	"math"
	"unicode/utf16"
)

// javaHash is the absolute value of Java's String.hashCode, which works on
// UTF-16; that of the smallest integer is 0, as in Kafka.
func javaHash(s string) int32 {
	var h int32
	for _, r := range s {
		if r > 0xffff {
			hi, lo := utf16.EncodeRune(r)
			h = (h*31+hi)*31 + lo
			continue
		}
		h = h*31 + r
	}
	switch {
	case h == math.MinInt32:
		return 0
	case h < 0:
		return -h
	}
	return h
}
