package cli

import (
	"cmp"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"tidemark/internal/config"
)

// clientFlags are the flags that every command that talks to a cluster has.
type clientFlags struct {
	bootstrap     string
	commandConfig string
}

func clientCommands(env Env) []*cobra.Command {
	return []*cobra.Command{newProduce(env), newConsume(env)}
}

// localBroker is where a broker listens by default.
const localBroker = "127.0.0.1:9092"

func (f *clientFlags) add(c *cobra.Command, bootstrap string) {
	c.Flags().StringVar(&f.bootstrap, "bootstrap-server", bootstrap, "host:port of one or more brokers, separated by commas")
	c.Flags().StringVar(&f.commandConfig, "command-config", "", "file with client settings, as Kafka's tools take it")
}

// options turns the flags into options of the Kafka client. Settings of the
// command-config file that would ask for protection that isn't there are refused.
func (f *clientFlags) options() ([]kgo.Opt, error) {
	opts := []kgo.Opt{kgo.ClientID("tidemark-cli")}
	bootstrap := cmp.Or(f.bootstrap, localBroker)
	if f.commandConfig != "" {
		text, err := os.ReadFile(f.commandConfig)
		if err != nil {
			return nil, err
		}
		props, err := config.ParseProperties(f.commandConfig, string(text))
		if err != nil {
			return nil, err
		}
		for key, s := range props {
			switch {
			case key == "client.id":
				opts = append(opts, kgo.ClientID(s.Value))
			case key == "bootstrap.servers":
				bootstrap = s.Value
			case key == "client.rack":
				opts = append(opts, kgo.Rack(s.Value))
			case key == "security.protocol" && !strings.EqualFold(s.Value, "PLAINTEXT"), strings.HasPrefix(key, "sasl."), strings.HasPrefix(key, "ssl."):
				return nil, fmt.Errorf("%s: %s is not supported yet: only PLAINTEXT is", s.From, key)
			}
		}
	}
	return append(opts, kgo.SeedBrokers(strings.Split(bootstrap, ",")...)), nil
}
