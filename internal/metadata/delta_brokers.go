package metadata

import (
	"fmt"
	"maps"

	"tidemark/internal/model"
)

func (d *Delta) ownBrokers() map[model.BrokerID]*Broker {
	if !d.copied.brokers {
		d.img.Brokers, d.copied.brokers = maps.Clone(d.img.Brokers), true
	}
	return d.img.Brokers
}

func featureRanges(fs []FeatureRange) map[string]VersionRange {
	if len(fs) == 0 {
		return nil
	}
	m := make(map[string]VersionRange, len(fs))
	for _, f := range fs {
		m[f.Name] = VersionRange{Min: f.Min, Max: f.Max}
	}
	return m
}

func (d *Delta) registerBroker(r *RegisterBrokerRecord) error {
	if r.BrokerID < 0 {
		return fmt.Errorf("%w: broker id %d", ErrBadValue, r.BrokerID)
	}
	b := &Broker{
		ID: r.BrokerID, Epoch: r.BrokerEpoch, Incarnation: r.Incarnation, Endpoints: r.Endpoints,
		HasRack: r.Rack != nil, Fenced: r.Fenced, InControlledShutdown: r.InControlledShutdown,
		MigratingZk: r.MigratingZk, Dirs: r.Dirs, CordonedDirs: nilIfEmpty(r.CordonedDirs),
		Features: featureRanges(r.Features), RegisteredAt: d.next,
	}
	if r.Rack != nil {
		b.Rack = *r.Rack
	}
	d.ownBrokers()[b.ID] = b
	d.brokers[b.ID] = true
	return nil
}

// broker returns the registration that a record means by id and epoch.
func (d *Delta) broker(id model.BrokerID, epoch model.BrokerEpoch) (*Broker, error) {
	b := d.img.Brokers[id]
	if b == nil {
		return nil, fmt.Errorf("%w: %d", ErrUnknownBroker, id)
	}
	if b.Epoch != epoch {
		return nil, fmt.Errorf("%w: broker %d is at %d, record says %d", ErrBrokerEpoch, id, b.Epoch, epoch)
	}
	return b, nil
}

// ownBroker returns a copy of the registration that the delta may change.
func (d *Delta) ownBroker(id model.BrokerID, epoch model.BrokerEpoch) (*Broker, error) {
	b, err := d.broker(id, epoch)
	if err != nil || d.brokers[id] {
		return b, err
	}
	c := *b
	d.ownBrokers()[id] = &c
	d.brokers[id] = true
	return &c, nil
}

func (d *Delta) unregisterBroker(r *UnregisterBrokerRecord) error {
	if _, err := d.broker(r.BrokerID, r.BrokerEpoch); err != nil {
		return err
	}
	delete(d.ownBrokers(), r.BrokerID)
	d.brokers[r.BrokerID] = false
	return nil
}

func (d *Delta) fence(id model.BrokerID, epoch model.BrokerEpoch, fenced bool) error {
	b, err := d.ownBroker(id, epoch)
	if err != nil {
		return err
	}
	b.Fenced = fenced
	return nil
}

func (d *Delta) changeBroker(r *BrokerRegistrationChangeRecord) error {
	if r.Fenced < Unfence || r.Fenced > Fence || r.InControlledShutdown < 0 || r.InControlledShutdown > 1 {
		return fmt.Errorf("%w: fenced %d, in controlled shutdown %d", ErrBadValue, r.Fenced, r.InControlledShutdown)
	}
	b, err := d.ownBroker(r.BrokerID, r.BrokerEpoch)
	if err != nil {
		return err
	}
	if r.Fenced != FenceNoChange {
		b.Fenced = r.Fenced == Fence
	}
	if r.InControlledShutdown == 1 {
		b.InControlledShutdown = true
	}
	if len(r.Dirs) > 0 {
		b.Dirs = r.Dirs
	}
	if r.CordonedDirs != nil {
		b.CordonedDirs = nilIfEmpty(r.CordonedDirs)
	}
	return nil
}

func (d *Delta) registerController(r *RegisterControllerRecord) {
	d.ownControllers()[r.ControllerID] = &Controller{
		ID: r.ControllerID, Incarnation: r.Incarnation, Endpoints: r.Endpoints, Features: featureRanges(r.Features),
	}
	d.controllers[r.ControllerID] = struct{}{}
}

func (d *Delta) unregisterController(r *UnregisterControllerRecord) error {
	if d.img.Controllers[r.ControllerID] == nil {
		return fmt.Errorf("%w: controller %d", ErrUnknownEntry, r.ControllerID)
	}
	delete(d.ownControllers(), r.ControllerID)
	d.controllers[r.ControllerID] = struct{}{}
	return nil
}

func (d *Delta) ownControllers() map[model.BrokerID]*Controller {
	if !d.copied.controllers {
		d.img.Controllers, d.copied.controllers = maps.Clone(d.img.Controllers), true
	}
	return d.img.Controllers
}

// nilIfEmpty makes equal states equal in memory too.
func nilIfEmpty[T any](s []T) []T {
	if len(s) == 0 {
		return nil
	}
	return s
}
