package peer

import (
	"context"
	"fmt"
	"net"
	"time"

	"tidemark/internal/wire"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Options are what Dial needs beyond an address.
type Options struct {
	// ClientID goes into every request header.
	ClientID string
	// Dialer connects; nil dials TCP.
	Dialer func(ctx context.Context, addr string) (net.Conn, error)
	// RequestTimeout bounds requests whose context has no deadline; 0 is 30 s.
	RequestTimeout time.Duration
	// Versions caps the version of a key below what both sides speak.
	Versions map[int16]int16
	// ResponseMax is the largest response accepted, in bytes; 0 is 128 MiB.
	ResponseMax int32
	// Sequential is for one caller that never has two requests in flight. It
	// reads its answers itself, instead of being woken by a reader goroutine.
	// Further callers wait for their turn; the end of a call's context breaks
	// the connection.
	Sequential bool
	// SoftwareName and SoftwareVersion introduce this node; empty means Tidemark.
	SoftwareName, SoftwareVersion string
}

// Features are what the peer says of itself in ApiVersions.
type Features struct {
	// Supported maps a feature to the levels that the peer can run.
	Supported map[string]FeatureRange
	// Finalized maps a feature to the level in force, as of FinalizedEpoch,
	// which is -1 if the peer doesn't know.
	Finalized      map[string]int16
	FinalizedEpoch int64
}

// FeatureRange is an inclusive range of levels.
type FeatureRange struct{ Min, Max int16 }

// Dial connects to addr and exchanges ApiVersions, both within ctx and
// Options.RequestTimeout.
func Dial(ctx context.Context, addr string, o Options) (*Conn, error) {
	if o.Dialer == nil {
		var d net.Dialer
		o.Dialer = func(ctx context.Context, addr string) (net.Conn, error) { return d.DialContext(ctx, "tcp", addr) }
	}
	if o.RequestTimeout <= 0 {
		o.RequestTimeout = 30 * time.Second
	}
	if o.ResponseMax <= 0 {
		o.ResponseMax = 128 << 20
	}
	if o.SoftwareName == "" {
		o.SoftwareName, o.SoftwareVersion = "tidemark", "1"
	}
	ctx, cancel := context.WithTimeout(ctx, o.RequestTimeout)
	defer cancel()
	nc, err := o.Dialer(ctx, addr)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	c := newConn(direct(nc), o)
	if err := c.negotiate(ctx); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	return c, nil
}

// Versions returns the range of key that the peer advertised.
func (c *Conn) Versions(key int16) (lowest, highest int16, ok bool) {
	a, ok := c.versions[key]
	return a.Min, a.Max, ok
}

// Features returns what the peer said when the connection began.
func (c *Conn) Features() Features { return c.features }

// negotiate asks for the peer's versions: first in the newest version, then,
// if the peer doesn't know that, in the one it names, at last in version 0.
func (c *Conn) negotiate(ctx context.Context) error {
	own, _ := wire.Lookup(wire.KeyApiVersions)
	resp, err := c.apiVersions(ctx, own.Max)
	if err == nil && resp.ErrorCode == kerr.UnsupportedVersion.Code {
		next := int16(0)
		for _, k := range resp.ApiKeys {
			if k.ApiKey == wire.KeyApiVersions {
				next = min(own.Max-1, k.MaxVersion)
			}
		}
		resp, err = c.apiVersions(ctx, max(next, 0))
	}
	if err != nil {
		return err
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return fmt.Errorf("ApiVersions: %w: %w", err, ErrUnsupported)
	}
	c.versions = make(map[int16]wire.API, len(resp.ApiKeys))
	for _, k := range resp.ApiKeys {
		c.versions[k.ApiKey] = wire.API{Key: k.ApiKey, Min: k.MinVersion, Max: k.MaxVersion}
	}
	c.features = Features{
		Supported: map[string]FeatureRange{}, Finalized: map[string]int16{}, FinalizedEpoch: resp.FinalizedFeaturesEpoch,
	}
	for _, f := range resp.SupportedFeatures {
		c.features.Supported[f.Name] = FeatureRange{f.MinVersion, f.MaxVersion}
	}
	for _, f := range resp.FinalizedFeatures {
		c.features.Finalized[f.Name] = f.MaxVersionLevel
	}
	return nil
}

// apiVersions decodes the answer as version 0 when it begins with
// UNSUPPORTED_VERSION: that is how a broker answers a version it doesn't know.
func (c *Conn) apiVersions(ctx context.Context, version int16) (*kmsg.ApiVersionsResponse, error) {
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = c.o.SoftwareName, c.o.SoftwareVersion
	req.SetVersion(version)
	body, err := c.DoRaw(ctx, req.Key(), version, req.AppendTo(nil), nil)
	if err != nil {
		return nil, err
	}
	if len(body) >= 2 && int16(uint16(body[0])<<8|uint16(body[1])) == kerr.UnsupportedVersion.Code {
		version = 0
	}
	resp, err := wire.DecodeResponse(req.Key(), version, body)
	if err != nil {
		return nil, err
	}
	return resp.(*kmsg.ApiVersionsResponse), nil
}
