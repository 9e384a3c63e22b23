package metadata

import (
	"fmt"
	"maps"

	"tidemark/internal/model"
)

func (d *Delta) scram() map[ScramKey]*UserScramCredentialRecord {
	if !d.copied.scram {
		d.img.ScramCredentials, d.copied.scram = maps.Clone(d.img.ScramCredentials), true
	}
	return d.img.ScramCredentials
}

func (d *Delta) acls() map[model.UUID]*AccessControlEntryRecord {
	if !d.copied.acls {
		d.img.ACLs, d.copied.acls = maps.Clone(d.img.ACLs), true
	}
	return d.img.ACLs
}

func (d *Delta) tokens() map[string]*DelegationTokenRecord {
	if !d.copied.tokens {
		d.img.Tokens, d.copied.tokens = maps.Clone(d.img.Tokens), true
	}
	return d.img.Tokens
}

func (d *Delta) removeACL(r *RemoveAccessControlEntryRecord) error {
	if d.img.ACLs[r.ID] == nil {
		return fmt.Errorf("%w: ACL %v", ErrUnknownEntry, r.ID)
	}
	delete(d.acls(), r.ID)
	return nil
}

func (d *Delta) setQuota(r *ClientQuotaRecord) {
	if !d.copied.quotas {
		d.img.ClientQuotas, d.copied.quotas = maps.Clone(d.img.ClientQuotas), true
	}
	// Quotas change seldom: a copy for every record is simpler than to
	// remember which entity is already ours.
	key := QuotaKey(r.Entity)
	q := &ClientQuota{Entity: sortedEntity(r.Entity), Values: map[string]float64{}}
	if old := d.img.ClientQuotas[key]; old != nil {
		maps.Copy(q.Values, old.Values)
	}
	if r.Remove {
		delete(q.Values, r.Name)
	} else {
		q.Values[r.Name] = r.Value
	}
	if len(q.Values) == 0 {
		delete(d.img.ClientQuotas, key)
		return
	}
	d.img.ClientQuotas[key] = q
}

// ACLsChanged reports whether an ACL was added or removed.
func (d *Delta) ACLsChanged() bool { return d.copied.acls }

// QuotasChanged reports whether a client quota was set or removed.
func (d *Delta) QuotasChanged() bool { return d.copied.quotas }

// ScramChanged reports whether a SCRAM credential was set or removed.
func (d *Delta) ScramChanged() bool { return d.copied.scram }

// TokensChanged reports whether a delegation token was set or removed.
func (d *Delta) TokensChanged() bool { return d.copied.tokens }
