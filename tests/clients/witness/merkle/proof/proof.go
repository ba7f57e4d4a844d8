// Package proof stands in for the one of transparency-dev/merkle, whose commit that the witness names is
// not published as a version. The check of consistency is that of Go's own checksum database.
package proof

import (
	"bytes"
	"errors"
	"math"

	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/tlog"
)

// VerifyConsistency checks that the tree of size2 continues the one of size1.
func VerifyConsistency(_ rfc6962.Hasher, size1, size2 uint64, proof [][]byte, root1, root2 []byte) error {
	if size1 == size2 {
		if len(proof) > 0 || !bytes.Equal(root1, root2) {
			return errors.New("not the same tree")
		}
		return nil
	}
	if size2 > math.MaxInt64 || len(root1) != tlog.HashSize || len(root2) != tlog.HashSize {
		return errors.New("no tree of that size")
	}
	var hashes tlog.TreeProof
	for _, hash := range proof {
		if len(hash) != tlog.HashSize {
			return errors.New("not a hash")
		}
		hashes = append(hashes, tlog.Hash(hash))
	}
	return tlog.CheckTree(hashes, int64(size2), tlog.Hash(root2), int64(size1), tlog.Hash(root1))
}

// VerifySubtreeConsistency is of requests that the program does not serve.
func VerifySubtreeConsistency(rfc6962.Hasher, uint64, uint64, uint64, [][]byte, []byte, []byte) error {
	return errors.New("not served here")
}
