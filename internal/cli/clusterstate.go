package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"tidemark/internal/admin"
)

// stateFlags are the flags of commands that show the cluster's state: as a node's
// HTTP side says it or, with --bootstrap-server, by Kafka's protocol.
type stateFlags struct {
	clientFlags
	address, output string
	watch           bool
}

func (f *stateFlags) add(c *cobra.Command) {
	f.clientFlags.add(c, "")
	c.Flags().StringVar(&f.address, "http", "127.0.0.1:9644", "host:port of a node's HTTP listener (tidemark.http.listener)")
	c.Flags().BoolVarP(&f.watch, "watch", "w", false, "print again every second")
	c.MarkFlagsMutuallyExclusive("bootstrap-server", "http")
	outputFlag(c, &f.output)
}

const stateTimeout = 10 * time.Second

// state asks once.
func (f *stateFlags) state(ctx context.Context) (admin.State, error) {
	ctx, cancel := context.WithTimeout(ctx, stateTimeout)
	defer cancel()
	if f.bootstrap != "" || f.commandConfig != "" {
		return f.kafkaState(ctx)
	}
	return f.httpState(ctx)
}

func (f *stateFlags) httpState(ctx context.Context) (admin.State, error) {
	var s admin.State
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+f.address+"/v1/state", nil)
	if err != nil {
		return s, UsageError{fmt.Errorf("--http %s: want host:port: %w", f.address, err)}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return s, fmt.Errorf("no node answers at %s; name one with --http: %w", f.address, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return s, fmt.Errorf("%s answered %s: is that a node's HTTP listener?", f.address, resp.Status)
	}
	return s, json.NewDecoder(resp.Body).Decode(&s)
}

// show prints once, or once a second with --watch.
func (f *stateFlags) show(ctx context.Context, env Env, print func(admin.State) error) error {
	ctx, cancel := stopOnSignal(ctx, env)
	defer cancel()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		s, err := f.state(ctx)
		if err == nil {
			err = print(s)
		}
		if err != nil || !f.watch {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if f.output == "text" {
			fmt.Fprintln(env.Out)
		}
	}
}
