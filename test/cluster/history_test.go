package cluster

import (
	"strings"
	"testing"
)

func values(vs ...string) map[int64]string {
	out := map[int64]string{}
	for i, v := range vs {
		if v != "" {
			out[int64(i)] = v
		}
	}
	return out
}

// Each kind of fault is found, and nothing else.
func TestJudge(t *testing.T) {
	good := []string{"0:0", "0:1", "0:2"}
	for _, tt := range []struct {
		name               string
		acked, seen, final []string
		start              int64
		want               []string
	}{
		{"good", good, good, good, 0, nil},
		{"unacknowledged but there", []string{"0:0"}, good, good, 0, nil},
		{"lost", good, good[:2], good[:2], 0, []string{"lost: 0:2", "unseen: 0:2"}},
		{"unseen", good, good[:2], good, 0, []string{"unseen: 0:2"}},
		{"changed", good, []string{"0:0", "0:1", "0:9"}, good, 0, []string{"changed: offset 2 was acknowledged for 0:2, a consumer saw 0:9", "a consumer saw 0:9"}},
		{"seen and gone", good[:2], good, good[:2], 0, []string{"a consumer saw 0:2 at offset 2"}},
		{"duplicate", good, append(good[:3:3], "0:2"), append(good[:3:3], "0:2"), 0, []string{"duplicate or reordered: 0:2 at offset 3"}},
		{"reordered", []string{"0:0"}, nil, []string{"0:0", "0:2", "0:1"}, 0, []string{"unseen: 0:0", "skipped: number 1", "duplicate or reordered: 0:1"}},
		{"invented", nil, nil, []string{"0:0", "1:1"}, 0, []string{"invented: offset 1"}},
		{"garbage", nil, nil, []string{"0:0", "x"}, 0, []string{"invented: offset 1"}},
		{"first one missing", nil, nil, []string{"0:1"}, 0, []string{"skipped: number 0"}},
		{"gap", nil, nil, []string{"0:0", "", "0:1"}, 0, []string{"gap: offset 2 where 1 should be"}},
		{"deleted", good, good, []string{"", "", "0:2"}, 2, nil},
		{"too much deleted", good, good, []string{"", "", "0:2"}, 1, []string{"lost: 0:1", "a consumer saw 0:1", "gap: offset 2 where 1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := history{acked: values(tt.acked...), seen: values(tt.seen...), final: values(tt.final...), start: tt.start}.judge()
			if len(got) != len(tt.want) {
				t.Fatalf("found %q, want %q", got, tt.want)
			}
			for i := range got {
				if !strings.HasPrefix(got[i], tt.want[i]) {
					t.Errorf("found %q, want %q", got[i], tt.want[i])
				}
			}
		})
	}
}
