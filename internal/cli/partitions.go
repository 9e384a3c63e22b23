package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tidemark/internal/admin"
	"tidemark/internal/model"
	"tidemark/internal/replica"
)

type partitionFlags struct {
	stateFlags
	topic    string
	sick     bool
	internal bool
}

func (f partitionFlags) wants(p admin.Partition) bool {
	return (f.topic == "" || p.Topic == f.topic) && (f.internal || f.topic != "" || !strings.HasPrefix(p.Topic, "__")) &&
		(!f.sick || p.UnderReplicated || p.Leader == model.NoBroker)
}

func newPartitions(env Env) *cobra.Command {
	var f partitionFlags
	c := &cobra.Command{
		Use:   "partitions",
		Short: "Show every partition: leader, ISR, high watermark, log end",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.show(cmd.Context(), env, func(s admin.State) error { return f.print(env, s) })
		},
	}
	f.add(c)
	c.Flags().StringVar(&f.topic, "topic", "", "only this topic")
	c.Flags().BoolVar(&f.sick, "under-replicated", false, "only partitions that lack a replica or a leader")
	c.Flags().BoolVar(&f.internal, "internal", false, "internal topics too")
	return c
}

func (f partitionFlags) print(env Env, s admin.State) error {
	var list []admin.Partition
	for _, p := range s.Partitions {
		if f.wants(p) {
			list = append(list, p)
		}
	}
	if f.output == "json" {
		return printJSON(env.Out, list)
	}
	var rows [][]string
	for _, p := range list {
		rows = append(rows, []string{fmt.Sprintf("%s-%d", p.Topic, p.Partition), brokerText(p.Leader), ids(p.Replicas), ids(p.ISR),
			number(p.Known, int64(p.HighWatermark)), number(p.Known, int64(p.LogEnd)), partitionState(p, s.At)})
	}
	return table(env.Out, []string{"PARTITION", "LEADER", "REPLICAS", "ISR", "HIGH-WATERMARK", "LOG-END", "STATE"}, rows)
}

func partitionState(p admin.Partition, now time.Time) string {
	state := "in sync"
	switch {
	case p.Leader == model.NoBroker:
		state = "offline"
	case len(p.ISR) < p.MinISR:
		state = "under min.insync.replicas, lost " + ids(p.Missing)
	case p.UnderReplicated:
		state = "lost " + ids(p.Missing)
	}
	if p.Since != nil {
		state += " for " + now.Sub(*p.Since).Round(time.Second).String()
	}
	if p.Reason != "" {
		state += " (" + p.Reason + ")"
	}
	return state
}

func brokerText(id model.BrokerID) string {
	if id == model.NoBroker {
		return "none"
	}
	return strconv.Itoa(int(id))
}

func ids(list []model.BrokerID) string {
	out := make([]string, len(list))
	for i, id := range list {
		out[i] = strconv.Itoa(int(id))
	}
	return strings.Join(out, ",")
}

func number(known bool, v int64) string {
	if !known || v < 0 {
		return "?"
	}
	return strconv.FormatInt(v, 10)
}

type replicaFlags struct {
	partitionFlags
	lagging bool
	broker  int32
}

func newReplicas(env Env) *cobra.Command {
	var f replicaFlags
	c := &cobra.Command{
		Use:   "replicas",
		Short: "Show every follower: how far it is behind, in what state, and why",
		Long: "Show every follower as its leader sees it, whichever node is asked. States: in-sync, lagging, catching-up (with\n" +
			"rate and time left), joining, flapping, offline. Behind the state stand the causes that its leader's numbers show, the\n" +
			"likeliest first, and the numbers: " + causeList() + ".\n" +
			"A leader that is Apache Kafka's tells the positions alone.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.show(cmd.Context(), env, func(s admin.State) error { return f.print(env, s) })
		},
	}
	f.add(c)
	c.Flags().StringVar(&f.topic, "topic", "", "only this topic")
	c.Flags().BoolVar(&f.internal, "internal", false, "internal topics too")
	c.Flags().BoolVar(&f.lagging, "lagging", false, "only followers that are not in sync")
	c.Flags().Int32Var(&f.broker, "broker", -1, "only followers on this broker")
	return c
}

// replicaRow is one follower, flat: what -o json prints.
type replicaRow struct {
	Topic     string         `json:"topic"`
	Partition int32          `json:"partition"`
	Leader    model.BrokerID `json:"leader"`
	admin.Follower
}

func (f replicaFlags) print(env Env, s admin.State) error {
	list := []replicaRow{}
	for _, p := range s.Partitions {
		for _, r := range p.Followers {
			if f.wants(p) && (!f.lagging || r.State != "in-sync") && (f.broker < 0 || r.Broker == model.BrokerID(f.broker)) {
				list = append(list, replicaRow{p.Topic, p.Partition, p.Leader, r})
			}
		}
	}
	if f.output == "json" {
		return printJSON(env.Out, list)
	}
	slices.SortStableFunc(list, func(a, b replicaRow) int { return int(min(max(b.Lag-a.Lag, -1), 1)) })
	var rows [][]string
	for _, r := range list {
		rows = append(rows, []string{fmt.Sprintf("%s-%d", r.Topic, r.Partition), brokerText(r.Leader), brokerText(r.Broker), number(true, int64(r.LogEnd)),
			number(true, r.Lag), number(true, r.LagBytes), ageText(r.FetchAgeMs), ageText(r.CaughtUpAgeMs), replicaState(r.Follower)})
	}
	return table(env.Out, []string{"PARTITION", "LEADER", "FOLLOWER", "LOG-END", "BEHIND", "BYTES", "LAST-FETCH", "CAUGHT-UP", "STATE"}, rows)
}

// causeList names every cause, a few in a line.
func causeList() string {
	var b strings.Builder
	for i, c := range replica.Causes() {
		switch {
		case i > 0 && i%5 == 0:
			b.WriteString(",\n")
		case i > 0:
			b.WriteString(", ")
		}
		b.WriteString(string(c))
	}
	return b.String()
}

func replicaState(r admin.Follower) string {
	s := r.State
	if len(r.Reasons) > 0 {
		s += ": " + strings.Join(r.Reasons, ", ")
	} else if r.Reason != "" {
		s += ": " + r.Reason
	}
	if r.Detail != "" {
		s += " (" + r.Detail + ")"
	}
	if r.SecondsToCatchUp > 0 {
		s += fmt.Sprintf(", %.0f records/s, about %.0f s left", r.RecordsPerSecond, r.SecondsToCatchUp)
	}
	return s
}

func ageText(ms int64) string {
	if ms < 0 {
		return "never"
	}
	return (time.Duration(ms) * time.Millisecond).Round(10*time.Millisecond).String() + " ago"
}
