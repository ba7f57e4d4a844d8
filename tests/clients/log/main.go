// Checks a public log with the programs that other logs are checked with: the fsck and the client of
// tessera, and the tlog and note packages of Go's own checksum database.
//
//	client DIRECTORY-OR-URL VERIFIER-KEY [TOKEN]
//
// Prints the size of the tree that everything agrees on, and leaves with 1 when anything does not.
package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: client DIRECTORY-OR-URL VERIFIER-KEY [TOKEN]")
		os.Exit(2)
	}
	size, err := check(context.Background(), os.Args[1], strings.TrimSpace(os.Args[2]), os.Args[3:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(size)
}

func check(ctx context.Context, place, key string, token []string) (uint64, error) {
	verifier, err := note.NewVerifier(key)
	if err != nil {
		return 0, fmt.Errorf("key: %w", err)
	}
	log, err := open(place, token)
	if err != nil {
		return 0, err
	}
	tree, err := signed(ctx, log, verifier)
	if err != nil {
		return 0, fmt.Errorf("checkpoint: %w", err)
	}
	// Everything: each record hashed again, each tile compared.
	whole := fsck.New(verifier.Name(), verifier, log, leafHashes, fsck.Opts{N: 4})
	if err := whole.Check(ctx); err != nil {
		return 0, fmt.Errorf("tessera fsck: %w", err)
	}
	if err := tesseraProofs(ctx, log, tree); err != nil {
		return 0, fmt.Errorf("tessera client: %w", err)
	}
	if err := sumdbProofs(ctx, log, tree); err != nil {
		return 0, fmt.Errorf("sumdb/tlog: %w", err)
	}
	return uint64(tree.N), nil
}

func open(place string, token []string) (fsck.Fetcher, error) {
	if !strings.Contains(place, "://") {
		return &client.FileFetcher{Root: place}, nil
	}
	root, err := url.Parse(strings.TrimSuffix(place, "/") + "/")
	if err != nil {
		return nil, err
	}
	fetcher, err := client.NewHTTPFetcher(root, nil)
	if err == nil && len(token) > 0 {
		fetcher.SetAuthorizationHeader("Bearer " + token[0])
	}
	return fetcher, err
}

// signed reads the checkpoint as Go's own checksum database does: a signed note, then its lines.
func signed(ctx context.Context, log fsck.Fetcher, verifier note.Verifier) (tlog.Tree, error) {
	raw, err := log.ReadCheckpoint(ctx)
	if err != nil {
		return tlog.Tree{}, err
	}
	opened, err := note.Open(raw, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() {
		return tlog.Tree{}, fmt.Errorf("not three lines of %s: %q", verifier.Name(), opened.Text)
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return tlog.Tree{}, err
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		return tlog.Tree{}, fmt.Errorf("root: %w, %d bytes", err, len(root))
	}
	return tlog.Tree{N: size, Hash: tlog.Hash(root)}, nil
}

func leafHashes(bundle []byte) ([][]byte, error) {
	var entries api.EntryBundle
	if err := entries.UnmarshalText(bundle); err != nil {
		return nil, err
	}
	var hashes [][]byte
	for _, entry := range entries.Entries {
		hashes = append(hashes, rfc6962.DefaultHasher.HashLeaf(entry))
	}
	return hashes, nil
}

// places are those of leaves and trees at which a mistake would show.
func places(size uint64) []uint64 {
	var found []uint64
	for _, at := range []uint64{0, 1, 2, 127, 254, 255, 256, 257, 65535, 65536, size / 3, size / 2, size - 1} {
		if at < size {
			found = append(found, at)
		}
	}
	return found
}

func tesseraProofs(ctx context.Context, log fsck.Fetcher, tree tlog.Tree) error {
	size := uint64(tree.N)
	if size == 0 {
		return nil
	}
	prover, err := client.NewProofBuilder(ctx, size, log.ReadTile)
	if err != nil {
		return err
	}
	for _, index := range places(size) {
		bundle, err := client.GetEntryBundle(ctx, log.ReadEntryBundle, index/256, size)
		if err != nil {
			return err
		}
		leaf := rfc6962.DefaultHasher.HashLeaf(bundle.Entries[index%256])
		inclusion, err := prover.InclusionProof(ctx, index)
		if err != nil {
			return err
		}
		err = proof.VerifyInclusion(rfc6962.DefaultHasher, index, size, leaf, inclusion, tree.Hash[:])
		if err != nil {
			return fmt.Errorf("leaf %d: %w", index, err)
		}
	}
	return nil
}

// tiles gives Go's tile reader what lies at the paths of tlog-tiles.
type tiles struct {
	ctx context.Context
	log fsck.Fetcher
}

func (t tiles) Height() int { return 8 }

func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var data [][]byte
	for _, tile := range wanted {
		// A width of 256, full, is 0 here.
		found, err := t.log.ReadTile(t.ctx, uint64(tile.L), uint64(tile.N), uint8(tile.W%256))
		if err != nil {
			return nil, err
		}
		width := tile.W * tlog.HashSize
		if len(found) < width {
			return nil, errors.New("a tile is too short")
		}
		// In the place of a partial tile that is gone stands the full one.
		data = append(data, found[:width])
	}
	return data, nil
}

func (t tiles) SaveTiles([]tlog.Tile, [][]byte) {}

func sumdbProofs(ctx context.Context, log fsck.Fetcher, tree tlog.Tree) error {
	if tree.N == 0 {
		return nil
	}
	// It checks each tile against the signed root before it uses it.
	hashes := tlog.TileHashReader(tree, tiles{ctx, log})
	for _, place := range places(uint64(tree.N)) {
		index := int64(place)
		leaf, err := hashes.ReadHashes([]int64{tlog.StoredHashIndex(0, index)})
		if err != nil {
			return err
		}
		inclusion, err := tlog.ProveRecord(tree.N, index, hashes)
		if err != nil {
			return err
		}
		if err := tlog.CheckRecord(inclusion, tree.N, tree.Hash, index, leaf[0]); err != nil {
			return fmt.Errorf("leaf %d: %w", index, err)
		}
		older := index + 1
		root, err := tlog.TreeHash(older, hashes)
		if err != nil {
			return err
		}
		consistency, err := tlog.ProveTree(tree.N, older, hashes)
		if err != nil {
			return err
		}
		if err := tlog.CheckTree(consistency, tree.N, tree.Hash, older, root); err != nil {
			return fmt.Errorf("tree of %d: %w", older, err)
		}
	}
	return nil
}
