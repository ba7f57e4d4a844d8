import io.opentelemetry.api.common.AttributeKey;
import io.opentelemetry.api.common.Attributes;
import io.opentelemetry.api.common.KeyValue;
import io.opentelemetry.api.common.Value;
import io.opentelemetry.api.logs.Logger;
import io.opentelemetry.api.logs.Severity;
import io.opentelemetry.api.trace.SpanContext;
import io.opentelemetry.api.trace.SpanKind;
import io.opentelemetry.api.trace.StatusCode;
import io.opentelemetry.api.trace.TraceFlags;
import io.opentelemetry.api.trace.TraceState;
import io.opentelemetry.api.trace.Tracer;
import io.opentelemetry.sdk.OpenTelemetrySdk;
import io.opentelemetry.sdk.autoconfigure.AutoConfiguredOpenTelemetrySdk;
import io.opentelemetry.sdk.common.CompletableResultCode;
import io.opentelemetry.sdk.logs.data.LogRecordData;
import io.opentelemetry.sdk.logs.export.LogRecordExporter;
import io.opentelemetry.sdk.trace.data.SpanData;
import io.opentelemetry.sdk.trace.export.SpanExporter;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.UUID;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Collectors;

/**
 * Exports one agent run with the published OpenTelemetry SDK for Java.
 *
 * <pre>OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317 java -jar client-java.jar grpc</pre>
 *
 * Variants: grpc, grpc-gzip, http-protobuf, http-protobuf-gzip. Prints one JSON line with what the
 * receiver acknowledged, and leaves with 1 when any export failed: the SDK alone would only log it.
 */
public final class Client {
  private static final Queue<SpanData> SPANS = new ConcurrentLinkedQueue<>();
  private static final AtomicInteger LOGS = new AtomicInteger();
  private static final AtomicInteger FAILED = new AtomicInteger();

  /** Passes spans to the real exporter and remembers which were acknowledged. */
  private record AcknowledgedSpans(SpanExporter exporter) implements SpanExporter {
    @Override
    public CompletableResultCode export(Collection<SpanData> spans) {
      CompletableResultCode result = exporter.export(spans);
      result.whenComplete(
          () -> {
            if (result.isSuccess()) {
              SPANS.addAll(spans);
            } else {
              FAILED.incrementAndGet();
            }
          });
      return result;
    }

    @Override
    public CompletableResultCode flush() {
      return exporter.flush();
    }

    @Override
    public CompletableResultCode shutdown() {
      return exporter.shutdown();
    }
  }

  /** The same for log records. */
  private record AcknowledgedLogs(LogRecordExporter exporter) implements LogRecordExporter {
    @Override
    public CompletableResultCode export(Collection<LogRecordData> logs) {
      CompletableResultCode result = exporter.export(logs);
      result.whenComplete(
          () -> (result.isSuccess() ? LOGS : FAILED).addAndGet(result.isSuccess() ? logs.size() : 1));
      return result;
    }

    @Override
    public CompletableResultCode flush() {
      return exporter.flush();
    }

    @Override
    public CompletableResultCode shutdown() {
      return exporter.shutdown();
    }
  }

  /** The variant is the only setting beside the endpoint. */
  private static Map<String, String> settings(String variant) {
    boolean gzip = variant.endsWith("-gzip");
    String protocol = gzip ? variant.substring(0, variant.length() - "-gzip".length()) : variant;
    Map<String, String> settings = new HashMap<>();
    switch (protocol) {
      case "grpc" -> settings.put("otel.exporter.otlp.protocol", "grpc");
      case "http-protobuf" -> settings.put("otel.exporter.otlp.protocol", "http/protobuf");
      default -> {
        System.err.println(
            "unknown variant " + variant + ": use grpc or http-protobuf, with or without -gzip");
        System.exit(2);
      }
    }
    settings.put("otel.exporter.otlp.compression", gzip ? "gzip" : "none");
    settings.put("otel.service.name", "client-java");
    // An audit receiver takes traces and logs.
    settings.put("otel.metrics.exporter", "none");
    return settings;
  }

  /** invoke_agent > chat > execute_tool; the root alone has the external id and ends last. */
  private static void agentRun(Tracer tracer, Logger logger, String externalId) {
    var earlier =
        SpanContext.createFromRemoteParent(
            "0af7651916cd43dd8448eb211c80319c",
            "b7ad6b7169203331",
            TraceFlags.getSampled(),
            TraceState.getDefault());
    var root =
        tracer
            .spanBuilder("invoke_agent Zahlungs-Agent ✓")
            .setNoParent()
            .setSpanKind(SpanKind.INTERNAL)
            .addLink(
                earlier,
                Attributes.of(AttributeKey.stringKey("link.reason"), "resumed after approval"))
            .setAttribute("external.trace_id", externalId)
            .setAttribute("gen_ai.operation.name", "invoke_agent")
            .setAttribute("gen_ai.agent.name", "Zahlungs-Agent")
            .setAttribute("gen_ai.agent.id", "agent-7")
            .setAttribute("gen_ai.conversation.id", "conversation-of-the-clients")
            .setAttribute("user.id", "käthe@example.com")
            .startSpan();
    try (var inRoot = root.makeCurrent()) {
      var chat =
          tracer
              .spanBuilder("chat gpt-4.1")
              .setSpanKind(SpanKind.CLIENT)
              .setAttribute("gen_ai.operation.name", "chat")
              .setAttribute("gen_ai.provider.name", "openai")
              .setAttribute("gen_ai.request.model", "gpt-4.1")
              .setAttribute("gen_ai.request.temperature", 0.25)
              .setAttribute(
                  AttributeKey.stringArrayKey("gen_ai.response.finish_reasons"),
                  List.of("tool_calls"))
              .setAttribute("gen_ai.usage.input_tokens", 1234)
              .setAttribute("gen_ai.usage.output_tokens", 56)
              .startSpan();
      try (var inChat = chat.makeCurrent()) {
        tool(tracer, logger);
      } finally {
        chat.end();
      }
    } finally {
      root.end();
    }
  }

  private static void tool(Tracer tracer, Logger logger) {
    var tool =
        tracer
            .spanBuilder("execute_tool issue_refund")
            .setSpanKind(SpanKind.INTERNAL)
            .setAttribute("gen_ai.operation.name", "execute_tool")
            .setAttribute("gen_ai.tool.name", "issue_refund")
            .setAttribute("gen_ai.tool.call.id", "call_1")
            .setAttribute("test.string", "日本語 — 🧾 \0 \"quoted\" \\ end")
            .setAttribute("test.empty", "")
            .setAttribute("test.bool", true)
            .setAttribute("test.int", Long.MAX_VALUE)
            .setAttribute("test.int.min", Long.MIN_VALUE)
            .setAttribute("test.double", 0.1)
            .setAttribute("test.double.negative_zero", -0.0)
            .setAttribute("test.nan", Double.NaN)
            .setAttribute("test.infinity", Double.POSITIVE_INFINITY)
            .setAttribute(AttributeKey.stringArrayKey("test.strings"), List.of("a", "ß", ""))
            .setAttribute(AttributeKey.booleanArrayKey("test.bools"), List.of(true, false))
            .setAttribute(
                AttributeKey.longArrayKey("test.ints"), List.of(1L, 2L, 9_007_199_254_740_993L))
            .setAttribute(AttributeKey.doubleArrayKey("test.doubles"), List.of(1.5, -2.25))
            .setAttribute(
                AttributeKey.valueKey("test.bytes"), Value.of(new byte[] {0, (byte) 0xff}))
            .setAttribute(
                AttributeKey.valueKey("test.map"),
                Value.of(KeyValue.of("nested", Value.of(Value.of("x"), Value.of(1)))))
            .startSpan();
    try (var inTool = tool.makeCurrent()) {
      var refused = new SecurityException("Erstattung über 500 € braucht eine Freigabe");
      tool.recordException(refused);
      tool.setStatus(StatusCode.ERROR, refused.getMessage());
      logger
          .logRecordBuilder()
          .setEventName("refund.held")
          .setSeverity(Severity.WARN)
          .setSeverityText("WARN")
          .setBody(
              Value.of(
                  KeyValue.of("text", Value.of("refund held — wartet")),
                  KeyValue.of("amount", Value.of(740.5)),
                  KeyValue.of("raw", Value.of(new byte[] {1, 2}))))
          .setAttribute(AttributeKey.stringKey("refund.id"), "r-1")
          .setAttribute(AttributeKey.longArrayKey("refund.parts"), List.of(1L, 2L))
          .emit();
    } finally {
      tool.end();
    }
  }

  private static String json(String externalId) {
    String spans =
        SPANS.stream()
            .map(
                span ->
                    "{\"trace_id\":\"%s\",\"span_id\":\"%s\",\"name\":\"%s\"}"
                        .formatted(span.getTraceId(), span.getSpanId(), span.getName()))
            .collect(Collectors.joining(","));
    return "{\"external_id\":\"%s\",\"spans\":[%s],\"logs\":%d}"
        .formatted(externalId, spans, LOGS.get());
  }

  public static void main(String[] arguments) {
    var settings = settings(arguments.length == 1 ? arguments[0] : "");
    OpenTelemetrySdk sdk =
        AutoConfiguredOpenTelemetrySdk.builder()
            .addPropertiesSupplier(() -> settings)
            .addSpanExporterCustomizer((exporter, config) -> new AcknowledgedSpans(exporter))
            .addLogRecordExporterCustomizer((exporter, config) -> new AcknowledgedLogs(exporter))
            .disableShutdownHook()
            .build()
            .getOpenTelemetrySdk();
    String externalId = "langsmith-run-" + UUID.randomUUID().toString().substring(24);
    agentRun(
        sdk.getTracer("client", "1.0"),
        sdk.getLogsBridge().loggerBuilder("client").setInstrumentationVersion("1.0").build(),
        externalId);

    var flushed =
        CompletableResultCode.ofAll(
                List.of(
                    sdk.getSdkTracerProvider().forceFlush(), sdk.getSdkLoggerProvider().forceFlush()))
            .join(60, TimeUnit.SECONDS);
    boolean closed = sdk.shutdown().join(60, TimeUnit.SECONDS).isSuccess();
    if (!flushed.isSuccess() || !closed || FAILED.get() > 0 || SPANS.isEmpty() || LOGS.get() == 0) {
      System.err.printf(
          "not acknowledged: flushed=%s, closed=%s, %d exports failed%n",
          flushed.isSuccess(), closed, FAILED.get());
      System.exit(1);
    }
    new PrintStream(System.out, true, StandardCharsets.UTF_8).println(json(externalId));
  }
}
