package observer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"tidemark/internal/model"
	"tidemark/internal/vfs"
)

const quorumStateName = "quorum-state"

// quorumState is Kafka's quorum-state file, version 1, as an observer writes it.
type quorumState struct {
	LeaderID         model.BrokerID    `json:"leaderId"`
	LeaderEpoch      model.LeaderEpoch `json:"leaderEpoch"`
	VotedID          model.BrokerID    `json:"votedId"`
	VotedDirectoryID string            `json:"votedDirectoryId"`
	DataVersion      int16             `json:"data_version"`
}

// readQuorumState returns no leader and epoch 0 if there is no file. Version 0
// has more fields, which don't matter to an observer.
func readQuorumState(fsys vfs.FS, dir string) (quorumState, error) {
	none := quorumState{LeaderID: model.NoBroker}
	b, err := vfs.ReadFile(fsys, path.Join(dir, quorumStateName))
	if errors.Is(err, fs.ErrNotExist) {
		return none, nil
	}
	if err != nil {
		return none, err
	}
	var q quorumState
	if err := json.Unmarshal(b, &q); err != nil || q.LeaderEpoch < 0 {
		return none, fmt.Errorf("%s: not a quorum state: %q", quorumStateName, b)
	}
	return q, nil
}

func writeQuorumState(fsys vfs.FS, dir string, leader model.BrokerID, epoch model.LeaderEpoch) error {
	b, err := json.Marshal(quorumState{
		LeaderID: leader, LeaderEpoch: epoch, VotedID: model.NoBroker,
		VotedDirectoryID: model.UUID{}.String(), DataVersion: 1,
	})
	if err != nil {
		return err
	}
	return vfs.WriteFileAtomic(fsys, path.Join(dir, quorumStateName), b)
}
