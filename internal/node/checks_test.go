package node

import "testing"

// A node is ready with one of several directories offline, and says so; without
// any it isn't.
func TestDirCheck(t *testing.T) {
	for _, c := range []struct {
		online, all int
		ok, tells   bool
	}{{2, 2, true, false}, {1, 2, true, true}, {0, 2, false, true}} {
		if got := dirCheck(c.online, c.all); got.OK != c.ok || (got.Reason != "") != c.tells {
			t.Errorf("%d of %d: %+v", c.online, c.all, got)
		}
	}
}
