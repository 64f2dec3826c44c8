"""Spans over OTLP: encoding, batching, delivery. docs/export.md is the description for users."""
