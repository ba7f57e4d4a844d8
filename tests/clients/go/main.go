// Exports one agent run with the published OpenTelemetry SDK for Go.
//
//	OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317 client grpc
//
// Variants: grpc, grpc-gzip, http, http-gzip. Prints one JSON line with what the receiver
// acknowledged, and leaves with 1 when any export failed: the SDK alone would only log it.
package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"sync"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploggrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/log"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// acknowledgedSpans passes spans to the real exporter and remembers which were acknowledged.
type acknowledgedSpans struct {
	sdktrace.SpanExporter
	spans []acknowledgedSpan
}

type acknowledgedSpan struct {
	TraceID string `json:"trace_id"`
	SpanID  string `json:"span_id"`
	Name    string `json:"name"`
}

func (a *acknowledgedSpans) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	if err := a.SpanExporter.ExportSpans(ctx, spans); err != nil {
		problems.add(err)
		return err
	}
	for _, span := range spans {
		a.spans = append(a.spans, acknowledgedSpan{
			span.SpanContext().TraceID().String(),
			span.SpanContext().SpanID().String(),
			span.Name(),
		})
	}
	return nil
}

// acknowledgedLogs does the same for log records.
type acknowledgedLogs struct {
	sdklog.Exporter
	count int
}

func (a *acknowledgedLogs) Export(ctx context.Context, records []sdklog.Record) error {
	if err := a.Exporter.Export(ctx, records); err != nil {
		problems.add(err)
		return err
	}
	a.count += len(records)
	return nil
}

// problems holds what the SDK reports to its global handler instead of to the caller: partial
// success is among it.
var problems collector

type collector struct {
	sync.Mutex
	errors []error
}

func (c *collector) add(err error) {
	c.Lock()
	defer c.Unlock()
	c.errors = append(c.errors, err)
}

func exporters(ctx context.Context, variant string) (sdktrace.SpanExporter, sdklog.Exporter, error) {
	protocol, compression, _ := strings.Cut(variant, "-")
	if compression != "" {
		os.Setenv("OTEL_EXPORTER_OTLP_COMPRESSION", compression)
	}
	switch protocol {
	case "grpc":
		spans, err := otlptracegrpc.New(ctx)
		logs, errLogs := otlploggrpc.New(ctx)
		return spans, logs, errors.Join(err, errLogs)
	case "http":
		spans, err := otlptracehttp.New(ctx)
		logs, errLogs := otlploghttp.New(ctx)
		return spans, logs, errors.Join(err, errLogs)
	}
	return nil, nil, fmt.Errorf("unknown variant %q: use grpc, grpc-gzip, http or http-gzip", variant)
}

// agentRun is invoke_agent > chat > execute_tool; the root alone has the external id and ends last.
func agentRun(ctx context.Context, tracer trace.Tracer, logger log.Logger, externalID string) {
	earlierTrace, _ := trace.TraceIDFromHex("0af7651916cd43dd8448eb211c80319c")
	earlierSpan, _ := trace.SpanIDFromHex("b7ad6b7169203331")
	ctx, root := tracer.Start(ctx, "invoke_agent Zahlungs-Agent ✓",
		trace.WithSpanKind(trace.SpanKindInternal),
		trace.WithLinks(trace.Link{
			SpanContext: trace.NewSpanContext(trace.SpanContextConfig{
				TraceID: earlierTrace, SpanID: earlierSpan, TraceFlags: trace.FlagsSampled, Remote: true,
			}),
			Attributes: []attribute.KeyValue{attribute.String("link.reason", "resumed after approval")},
		}),
		trace.WithAttributes(
			attribute.String("external.trace_id", externalID),
			attribute.String("gen_ai.operation.name", "invoke_agent"),
			attribute.String("gen_ai.agent.name", "Zahlungs-Agent"),
			attribute.String("gen_ai.agent.id", "agent-7"),
			attribute.String("gen_ai.conversation.id", "conversation-of-the-clients"),
			attribute.String("user.id", "käthe@example.com"),
		))
	defer root.End()
	ctx, chat := tracer.Start(ctx, "chat gpt-4.1",
		trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(
			attribute.String("gen_ai.operation.name", "chat"),
			attribute.String("gen_ai.provider.name", "openai"),
			attribute.String("gen_ai.request.model", "gpt-4.1"),
			attribute.Float64("gen_ai.request.temperature", 0.25),
			attribute.StringSlice("gen_ai.response.finish_reasons", []string{"tool_calls"}),
			attribute.Int64("gen_ai.usage.input_tokens", 1234),
			attribute.Int64("gen_ai.usage.output_tokens", 56),
		))
	defer chat.End()
	ctx, tool := tracer.Start(ctx, "execute_tool issue_refund",
		trace.WithSpanKind(trace.SpanKindInternal),
		trace.WithAttributes(
			attribute.String("gen_ai.operation.name", "execute_tool"),
			attribute.String("gen_ai.tool.name", "issue_refund"),
			attribute.String("gen_ai.tool.call.id", "call_1"),
			attribute.String("test.string", "日本語 — 🧾 \x00 \"quoted\" \\ end"),
			attribute.String("test.empty", ""),
			attribute.Bool("test.bool", true),
			attribute.Int64("test.int", math.MaxInt64),
			attribute.Int64("test.int.min", math.MinInt64),
			attribute.Float64("test.double", 0.1),
			attribute.Float64("test.double.negative_zero", math.Copysign(0, -1)),
			attribute.Float64("test.nan", math.NaN()),
			attribute.Float64("test.infinity", math.Inf(1)),
			attribute.StringSlice("test.strings", []string{"a", "ß", ""}),
			attribute.BoolSlice("test.bools", []bool{true, false}),
			attribute.Int64Slice("test.ints", []int64{1, 2, 1<<53 + 1}),
			attribute.Float64Slice("test.doubles", []float64{1.5, -2.25}),
			attribute.ByteSlice("test.bytes", []byte{0, 0xff, 0xfe}),
			attribute.Slice("test.mixed", attribute.StringValue("x"), attribute.Int64Value(1)),
			attribute.Map("test.map", attribute.Map("nested", attribute.String("deep", "ü"))),
		))
	defer tool.End()
	refused := errors.New("Erstattung über 500 € braucht eine Freigabe")
	tool.RecordError(refused)
	tool.SetStatus(codes.Error, refused.Error())

	var record log.Record
	record.SetEventName("refund.held")
	record.SetSeverity(log.SeverityWarn)
	record.SetSeverityText("WARN")
	record.SetBody(attribute.MapValue(
		attribute.String("text", "refund held — wartet"),
		attribute.Float64("amount", 740.5),
		attribute.ByteSlice("raw", []byte{1, 2}),
	))
	record.AddAttributes(
		attribute.String("refund.id", "r-1"),
		attribute.Slice("refund.parts", attribute.Int64Value(1), attribute.StringValue("two")),
		attribute.Map("refund.by", attribute.String("name", "ops"), attribute.Int("level", 3)),
	)
	logger.Emit(ctx, record)
}

func run(variant string) error {
	ctx := context.Background()
	otel.SetErrorHandler(otel.ErrorHandlerFunc(problems.add))
	spanExporter, logExporter, err := exporters(ctx, variant)
	if err != nil {
		return err
	}
	spans := &acknowledgedSpans{SpanExporter: spanExporter}
	logs := &acknowledgedLogs{Exporter: logExporter}
	attributes := resource.NewSchemaless(attribute.String("service.name", "client-go"))
	tracing := sdktrace.NewTracerProvider(sdktrace.WithBatcher(spans), sdktrace.WithResource(attributes))
	logging := sdklog.NewLoggerProvider(
		sdklog.WithProcessor(sdklog.NewBatchProcessor(logs)), sdklog.WithResource(attributes))

	random := make([]byte, 6)
	if _, err := rand.Read(random); err != nil {
		return err
	}
	externalID := "langsmith-run-" + hex.EncodeToString(random)
	agentRun(ctx, tracing.Tracer("client", trace.WithInstrumentationVersion("1.0")),
		logging.Logger("client", log.WithInstrumentationVersion("1.0")), externalID)

	err = errors.Join(tracing.ForceFlush(ctx), logging.ForceFlush(ctx), tracing.Shutdown(ctx), logging.Shutdown(ctx))
	if err = errors.Join(err, errors.Join(problems.errors...)); err != nil {
		return fmt.Errorf("not acknowledged: %w", err)
	}
	if len(spans.spans) == 0 || logs.count == 0 {
		return fmt.Errorf("not acknowledged: %d spans, %d logs", len(spans.spans), logs.count)
	}
	return json.NewEncoder(os.Stdout).Encode(struct {
		ExternalID string             `json:"external_id"`
		Spans      []acknowledgedSpan `json:"spans"`
		Logs       int                `json:"logs"`
	}{externalID, spans.spans, logs.count})
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: client VARIANT")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
