package peer

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// ErrMalformed marks an answer that decodes but doesn't fit its request. The
// connection should be dropped.
var ErrMalformed = errors.New("malformed response")

// do sends req and returns the response as its own type.
func do[R kmsg.Response](ctx context.Context, c *Conn, req kmsg.Request) (R, error) {
	var zero R
	resp, err := c.Do(ctx, req)
	if err != nil {
		return zero, err
	}
	r, ok := resp.(R)
	if !ok {
		return zero, fmt.Errorf("%w: %T for %T", ErrMalformed, resp, req)
	}
	return r, nil
}
