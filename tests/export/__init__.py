"""apisensor.export: bytes against opentelemetry-proto, delivery against real gRPC, HTTP and Jaeger receivers."""
