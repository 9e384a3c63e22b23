package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// outputFlag adds -o with the two forms that every command has.
func outputFlag(c *cobra.Command, target *string) {
	c.Flags().StringVarP(target, "output", "o", "text", "output form: text or json")
	pre := c.PreRunE
	c.PreRunE = func(c *cobra.Command, args []string) error {
		if *target != "text" && *target != "json" {
			return UsageError{fmt.Errorf("-o %s: want text or json", *target)}
		}
		if pre != nil {
			return pre(c, args)
		}
		return nil
	}
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// table prints rows under a header in aligned columns.
func table(w io.Writer, header []string, rows [][]string) error {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(tw, strings.Join(header, "\t"))
	for _, r := range rows {
		fmt.Fprintln(tw, strings.Join(r, "\t"))
	}
	return tw.Flush()
}
