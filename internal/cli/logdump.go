package cli

import (
	"bufio"
	"fmt"

	"github.com/spf13/cobra"

	"tidemark/internal/commitlog"
	"tidemark/internal/vfs"
)

func newLogdump(env Env) *cobra.Command {
	return &cobra.Command{
		Use:   "logdump FILE|DIR ...",
		Short: "Print segments, indexes, checkpoints and snapshots in words",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return UsageError{fmt.Errorf("%s: want at least one file or partition directory", c.CommandPath())}
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			out := bufio.NewWriter(env.Out)
			for _, name := range args {
				if err := commitlog.Dump(vfs.OS, name, out); err != nil {
					_ = out.Flush() // what was readable, before the reason why the rest isn't
					return fmt.Errorf("%s: %w", name, err)
				}
			}
			return out.Flush()
		},
	}
}
