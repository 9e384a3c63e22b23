package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"tidemark/internal/node"
)

func newStorage(env Env) *cobra.Command {
	c := &cobra.Command{Use: "storage", Short: "Format and inspect log directories, like kafka-storage.sh"}
	c.AddCommand(newFormat(env), newStorageInfo(env), newRandomUUID(env))
	return c
}

func newRandomUUID(env Env) *cobra.Command {
	return &cobra.Command{Use: "random-uuid", Short: "Print a random UUID", Args: noArgs, RunE: func(*cobra.Command, []string) error {
		_, err := fmt.Fprintln(env.Out, node.RandomUUID())
		return err
	}}
}

func newFormat(env Env) *cobra.Command {
	var file string
	var scram []string
	var o node.FormatOptions
	c := &cobra.Command{
		Use:   "format",
		Short: "Format the log directories of this node",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			if len(scram) > 0 {
				return UsageError{fmt.Errorf("--add-scram is not supported yet: it comes with SASL; format without it")}
			}
			cfg, err := loadConfig(env, file, nil, nil)
			if err != nil {
				return err
			}
			o.Config = cfg
			lines, err := node.Format(o)
			for _, l := range lines {
				fmt.Fprintln(env.Out, l)
			}
			return err
		},
	}
	fl := c.Flags()
	fl.StringVarP(&file, "config", "c", "", "the server.properties to use")
	fl.StringVarP(&o.ClusterID, "cluster-id", "t", "", "the cluster id to use")
	fl.StringArrayVarP(&scram, "add-scram", "S", nil, "a SCRAM credential to add to the metadata log (not supported yet)")
	fl.BoolVarP(&o.IgnoreFormatted, "ignore-formatted", "g", false, "skip directories that are formatted already")
	fl.StringVarP(&o.ReleaseVersion, "release-version", "r", "", "the release whose feature levels the cluster starts with (default 4.0-IV3)")
	fl.StringArrayVarP(&o.Features, "feature", "f", nil, "feature=level, for example group.version=1; may be repeated")
	fl.BoolVarP(&o.Standalone, "standalone", "s", false, "make this controller the only voter of a dynamic quorum")
	fl.BoolVarP(&o.NoInitialControllers, "no-initial-controllers", "N", false, "format without naming the voters of a dynamic quorum")
	fl.StringVarP(&o.InitialControllers, "initial-controllers", "I", "", "voters of a dynamic quorum: id@host:port:directory,... the same for every node")
	_ = c.MarkFlagRequired("config")
	_ = c.MarkFlagRequired("cluster-id")
	return c
}

func newStorageInfo(env Env) *cobra.Command {
	var file, output string
	c := &cobra.Command{Use: "info", Short: "Show what the log directories of this node hold", Args: noArgs, RunE: func(*cobra.Command, []string) error {
		cfg, err := loadConfig(env, file, nil, nil)
		if err != nil {
			return err
		}
		info := node.StorageInfo(cfg)
		if output == "json" {
			if err := printJSON(env.Out, info); err != nil {
				return err
			}
		} else {
			printStorageInfo(env, info)
		}
		if len(info.Problems) > 0 {
			return fmt.Errorf("%d problem(s) with the log directories", len(info.Problems))
		}
		return nil
	}}
	outputFlag(c, &output)
	c.Flags().StringVarP(&file, "config", "c", "", "the server.properties to use")
	_ = c.MarkFlagRequired("config")
	return c
}

func printStorageInfo(env Env, info node.Storage) {
	if len(info.Dirs) > 0 {
		fmt.Fprintln(env.Out, "Found log directories:")
		for _, d := range info.Dirs {
			fmt.Fprintf(env.Out, "  %s  cluster.id=%s node.id=%d directory.id=%s\n", d.Path, d.ClusterID, d.NodeID, d.DirectoryID)
		}
	}
	if len(info.Problems) > 0 {
		fmt.Fprintln(env.Out, "Found problems:")
		for _, p := range info.Problems {
			fmt.Fprintln(env.Out, "  "+p)
		}
	}
}
