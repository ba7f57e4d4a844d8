"""What every client of a family has in common: the question, the tools, the exporter, the ids."""

import os

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

QUESTION = "Please refund order 1042"
INSTRUCTIONS = "You refund orders. Look an order up before you refund it."
EXTERNAL_ID, SESSION, USER = "ext-7f3a-1042", "sess-1", "u-77"
MODEL, BASE_URL, KEY = os.environ["LAB_MODEL"], os.environ["OPENAI_BASE_URL"], os.environ["OPENAI_API_KEY"]


def lookup_order(order_id: str) -> str:
    """Look an order up.

    Args:
        order_id: Number of the order.
    """
    return f'{{"order_id": "{order_id}", "total": 59.9, "status": "delivered"}}'


def issue_refund(order_id: str, amount: float) -> str:
    """Refund an order.

    Args:
        order_id: Number of the order.
        amount: Amount in EUR.
    """
    return f'{{"order_id": "{order_id}", "refunded": {amount}}}'


def provider():
    """The tracer provider, made the global one. The exporter takes its settings from the environment."""
    made = TracerProvider(resource=Resource.create({"service.version": "1.4.2"}))
    made.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(made)
    return made


def root():
    """A span of the application around the run, with the ids that people search for."""
    attributes = {"external.trace_id": EXTERNAL_ID, "session.id": SESSION, "user.id": USER}
    return trace.get_tracer("refund-service").start_as_current_span("POST /refund", attributes=attributes)
