package model

import (
	"bytes"
	"encoding/base64"
	"fmt"
)

// UUID is a 128-bit identifier, printed as Kafka prints it: 22 characters of
// URL-safe base64 without padding.
type UUID [16]byte

// TopicID distinguishes a topic from an earlier one of the same name.
type TopicID = UUID

// DirectoryID identifies one log directory of one node for its whole life.
type DirectoryID = UUID

// Reserved directory ids (reference: KIP-858).
var (
	// MigratingDir means unknown: the replica predates directory ids.
	MigratingDir = DirectoryID{}
	// UnassignedDir means that the broker has not yet chosen a directory.
	UnassignedDir = DirectoryID{15: 1}
	// LostDir means a directory that is offline and whose id is unknown.
	LostDir = DirectoryID{15: 2}
)

// String returns the 22-character form.
func (u UUID) String() string { return base64.RawURLEncoding.EncodeToString(u[:]) }

// IsZero reports whether u is the all-zero id.
func (u UUID) IsZero() bool { return u == UUID{} }

// IsReserved reports whether u is among the first 100 ids, which Kafka never
// hands out.
func (u UUID) IsReserved() bool {
	return bytes.Equal(u[:15], make([]byte, 15)) && u[15] < 100
}

// Compare orders ids by their bytes, as signed 64-bit halves are never needed here.
func (u UUID) Compare(o UUID) int { return bytes.Compare(u[:], o[:]) }

// MarshalText writes the 22-character form.
func (u UUID) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// UnmarshalText reads the 22-character form.
func (u *UUID) UnmarshalText(b []byte) error {
	v, err := ParseUUID(string(b))
	if err != nil {
		return err
	}
	*u = v
	return nil
}

// ParseUUID reads the 22-character form; trailing padding is accepted.
func ParseUUID(s string) (UUID, error) {
	var u UUID
	for len(s) > 0 && s[len(s)-1] == '=' {
		s = s[:len(s)-1]
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return u, fmt.Errorf("uuid %q: want 22 characters of url-safe base64: %w", s, err)
	}
	if len(b) != len(u) {
		return u, fmt.Errorf("uuid %q: decodes to %d bytes, want %d", s, len(b), len(u))
	}
	copy(u[:], b)
	return u, nil
}
