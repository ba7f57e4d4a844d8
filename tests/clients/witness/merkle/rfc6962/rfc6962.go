// Package rfc6962 is what the witness uses of the one of transparency-dev/merkle.
package rfc6962

import "crypto/sha256"

// Hasher is that of RFC 6962, with SHA-256.
type Hasher struct{}

// DefaultHasher is the one there is.
var DefaultHasher = Hasher{}

// EmptyRoot is the hash of the empty tree.
func (Hasher) EmptyRoot() []byte {
	hash := sha256.Sum256(nil)
	return hash[:]
}
