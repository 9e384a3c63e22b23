package differential

import (
	"fmt"

	"tidemark/test/cluster"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// second is a broker that is registered and never unfenced: topics may name it
// as a replica, and the trace fetches in its name.
const second int32 = 2

// registerSecond makes it known to the controller behind p.
func (r *runner) registerSecond(p *peer, controller, clusterID string) {
	r.Helper()
	c := newPeer(p.name+"'s controller", controller)
	defer c.hangUp()
	req := kmsg.NewPtrBrokerRegistrationRequest()
	req.Version, req.BrokerID, req.ClusterID, req.IncarnationID = 4, second, clusterID, topicID{2}
	req.Listeners = []kmsg.BrokerRegistrationRequestListener{{Name: "PLAINTEXT", Host: "127.0.0.1", Port: 1}}
	req.LogDirs, req.PreviousBrokerEpoch = [][16]byte{{2, 2}}, -1
	versions := kmsg.NewPtrApiVersionsRequest()
	versions.Version, versions.ClientSoftwareName, versions.ClientSoftwareVersion = 4, "differential", "1"
	for _, f := range must[*kmsg.ApiVersionsResponse](r, p, versions).SupportedFeatures {
		req.Features = append(req.Features, kmsg.BrokerRegistrationRequestFeature{
			Name: f.Name, MinSupportedVersion: f.MinVersion, MaxSupportedVersion: f.MaxVersion,
		})
	}
	cluster.Eventually(r, answerLimit, func() error {
		if resp := must[*kmsg.BrokerRegistrationResponse](r, c, req); resp.ErrorCode != 0 {
			return fmt.Errorf("%s: registering broker %d: error %d", p.name, second, resp.ErrorCode)
		}
		return nil
	})
}
