package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// Set by the linker, see the Makefile.
var (
	version = ""
	commit  = ""
)

// Env is what the commands see of the process.
type Env struct {
	Out, Err io.Writer
	In       io.Reader
	Environ  []string
	Self     string // path of this executable, for the children of dev
	// Signals delivers SIGINT and SIGTERM; the second one forces.
	Signals <-chan struct{}
}

// UsageError makes main exit with 2.
type UsageError struct{ error }

// Unwrap returns what was wrong.
func (e UsageError) Unwrap() error { return e.error }

// ExitCode is the process's exit code for an error of Execute.
func ExitCode(err error) int {
	var u UsageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &u):
		return 2
	}
	return 1
}

// Execute runs the command that args name.
func Execute(ctx context.Context, env Env, args []string) error {
	root := newRoot(env)
	root.SetArgs(args)
	root.SetOut(env.Out)
	root.SetErr(env.Err)
	root.SetIn(env.In)
	err := root.ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintln(env.Err, "tidemark:", err)
	}
	return err
}

func newRoot(env Env) *cobra.Command {
	root := &cobra.Command{
		Use:           "tidemark",
		Short:         "A replicated log that speaks Kafka's protocol",
		Long:          "Tidemark is a replicated log that speaks Kafka's protocol. Start with: tidemark dev",
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       versionText(),
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return UsageError{fmt.Errorf("%w (see %s --help)", err, c.CommandPath())}
	})
	root.AddCommand(newServer(env), newStorage(env), newDev(env), newVersion(env), newLogdump(env), newLostFound(env), newPartitions(env), newReplicas(env), newGenerate(env))
	root.AddCommand(clientCommands(env)...)
	return root
}

// Version returns the version that the linker stamped, or what the build info knows.
func Version() (v, rev string) {
	v, rev = version, commit
	if info, ok := debug.ReadBuildInfo(); ok && v == "" {
		v = info.Main.Version
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 7 {
				rev = s.Value[:7]
			}
		}
	}
	if v == "" {
		v = "unknown"
	}
	if rev == "" {
		rev = "unknown"
	}
	return v, rev
}

func versionText() string {
	v, rev := Version()
	return fmt.Sprintf("tidemark %s (commit %s, %s, speaks Apache Kafka 4.3.1's protocol)", v, rev, runtime.Version())
}

func newVersion(env Env) *cobra.Command {
	var output string
	c := &cobra.Command{Use: "version", Short: "Print the version", Args: noArgs, RunE: func(*cobra.Command, []string) error {
		if output == "json" {
			v, rev := Version()
			return printJSON(env.Out, map[string]string{"version": v, "commit": rev, "go": runtime.Version()})
		}
		_, err := fmt.Fprintln(env.Out, versionText())
		return err
	}}
	outputFlag(c, &output)
	return c
}

func noArgs(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return UsageError{fmt.Errorf("%s takes no argument, got %q", c.CommandPath(), args[0])}
	}
	return nil
}

func exactArgs(n int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != n {
			return UsageError{fmt.Errorf("%s: want %s, got %d arguments", c.CommandPath(), what, len(args))}
		}
		return nil
	}
}
