// A witness (c2sp.org/tlog-witness) of transparency-dev: its handler, its signer, its database.
//
//	client key NAME                                     a private key and its verifier key, a line each
//	client serve ADDRESS PRIVATE-KEY-FILE DATABASE LOG-KEYS-FILE
//	client verify NOTE-FILE LOG-KEY WITNESS-KEY         opens a note as others do; prints size and time
//
// The file of log keys is read for each request, so that a log can be added while it runs.
package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/transparency-dev/formats/log"
	fnote "github.com/transparency-dev/formats/note"
	"github.com/transparency-dev/witness/persistence/sqlite"
	"github.com/transparency-dev/witness/witness"
	"golang.org/x/mod/sumdb/note"
)

func main() {
	var err error
	switch {
	case len(os.Args) == 3 && os.Args[1] == "key":
		err = key(os.Args[2])
	case len(os.Args) == 6 && os.Args[1] == "serve":
		err = serve(os.Args[2], os.Args[3], os.Args[4], os.Args[5])
	case len(os.Args) == 5 && os.Args[1] == "verify":
		err = verify(os.Args[2], os.Args[3], os.Args[4])
	default:
		fmt.Fprintln(os.Stderr, "usage: client key NAME | serve ADDRESS KEY-FILE DATABASE LOG-KEYS-FILE | verify NOTE-FILE LOG-KEY WITNESS-KEY")
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func key(name string) error {
	private, public, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		return err
	}
	public, err = fnote.VKeyToCosignatureV1(public)
	if err != nil {
		return err
	}
	fmt.Printf("%s\n%s\n", private, public)
	return nil
}

func serve(address, keyFile, database, logKeys string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	private, err := os.ReadFile(keyFile)
	if err != nil {
		return err
	}
	signer, err := fnote.NewSignerForCosignatureV1(strings.TrimSpace(string(private)))
	if err != nil {
		return err
	}
	kept, end, err := sqlite.New(ctx, sqlite.Opts{Path: database, MaxOpenConns: 1})
	if err != nil {
		return err
	}
	defer end()
	one, err := witness.New(ctx, witness.Opts{
		Persistence:    kept,
		Signers:        []note.Signer{signer},
		VerifierForLog: func(_ context.Context, origin string) (note.Verifier, bool, error) { return known(logKeys, origin) },
	})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /add-checkpoint", witness.NewHTTPHandler(one).AddCheckpoint)
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Println("listening", listener.Addr())
	server := http.Server{Handler: mux}
	go func() {
		<-ctx.Done()
		server.Close()
	}()
	if err := server.Serve(listener); err != http.ErrServerClosed {
		return err
	}
	return nil
}

// known finds the key of a log in a file of verifier keys, one a line.
func known(logKeys, origin string) (note.Verifier, bool, error) {
	lines, err := os.ReadFile(logKeys)
	if err != nil {
		return nil, false, nil
	}
	for _, line := range strings.Fields(string(lines)) {
		verifier, err := note.NewVerifier(line)
		if err != nil {
			return nil, false, err
		}
		if verifier.Name() == origin {
			return verifier, true, nil
		}
	}
	return nil, false, nil
}

func verify(file, logKey, witnessKey string) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	ofLog, err := note.NewVerifier(logKey)
	if err != nil {
		return err
	}
	ofWitness, err := fnote.NewVerifierForCosignatureV1(witnessKey)
	if err != nil {
		return err
	}
	opened, err := note.Open(raw, note.VerifierList(ofLog, ofWitness))
	if err != nil {
		return err
	}
	checkpoint, _, _, err := log.ParseCheckpoint(raw, ofLog.Name(), ofLog, ofWitness)
	if err != nil {
		return err
	}
	for _, signature := range opened.Sigs {
		if signature.Name == ofWitness.Name() && signature.Hash == ofWitness.KeyHash() {
			at, err := fnote.CoSigV1Timestamp(signature)
			if err != nil {
				return err
			}
			fmt.Println(checkpoint.Size, at.Unix())
			return nil
		}
	}
	return fmt.Errorf("the witness %s did not sign it", ofWitness.Name())
}
