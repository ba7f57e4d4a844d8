// An Open Policy Agent with its own configuration, as `opa run --server` is.
//
//	opa CONFIG POLICY…
//
// It listens on a free port of 127.0.0.1 and prints the address as its first line.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/open-policy-agent/opa/v1/runtime"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: opa CONFIG POLICY…")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, config string, policies []string) error {
	params := runtime.NewParams()
	params.Addrs = &[]string{"127.0.0.1:0"}
	params.ConfigFile = config
	params.Paths = policies
	params.Output = os.Stderr
	params.Logging = runtime.LoggingConfig{Level: "info", Format: "json"}
	params.GracefulShutdownPeriod = 5
	rt, err := runtime.NewRuntime(ctx, params)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- rt.Serve(ctx) }()
	// The port is known once it listens.
	for {
		if addrs := rt.Addrs(); len(addrs) > 0 {
			fmt.Println(addrs[0])
			return <-ended
		}
		select {
		case err := <-ended:
			return err
		case <-time.After(10 * time.Millisecond):
		}
	}
}
