"""Metrics of calls and of the sensor itself, for Prometheus and OTLP."""
