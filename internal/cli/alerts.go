package cli

import (
	_ "embed"
	"io"

	"github.com/spf13/cobra"
)

//go:embed alerts.yaml
var alertRules string

func newGenerate(env Env) *cobra.Command {
	c := &cobra.Command{Use: "generate", Short: "Print files for other systems"}
	c.AddCommand(&cobra.Command{
		Use:   "alerts",
		Short: "Print Prometheus alerting rules for what /metrics exports",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := io.WriteString(env.Out, alertRules)
			return err
		},
	})
	return c
}
