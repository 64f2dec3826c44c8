"""What each OTEL_* variable does, and the one line that each wrong value gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from apisensor.export import configuration
from apisensor.export.configuration import Configuration
from apisensor.export.otlp import variables
from apisensor.export.receiver import destination, secrets
from apisensor.export.semantics import KNOWN_METHODS
from apisensor.export.signal import TRACES
from apisensor.settings import SettingsError
from tests.peers import certificates


def read(**environ: str) -> Configuration:
    found = configuration.read(environ)
    assert found is not None
    return found


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317"},
        {"OTEL_SDK_DISABLED": "TRUE", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://c:4317", "OTEL_SERVICE_NAME": "x"},
    ],
)
def test_export_is_off(environ: dict[str, str]) -> None:
    assert configuration.read(environ) is None


@pytest.mark.parametrize("name", variables(TRACES))
def test_any_otlp_variable_turns_export_on(name: str, tmp_path: Path) -> None:
    pem = certificates.make(tmp_path)
    values = {"ENDPOINT": "http://c:4318", "PROTOCOL": "grpc", "COMPRESSION": "gzip", "INSECURE": "true"}
    values |= {"CLIENT_CERTIFICATE": str(pem.certificate), "CERTIFICATE": str(pem.certificate)}
    values |= {"HEADERS": "a=b", "TIMEOUT": "5", "CLIENT_KEY": str(pem.key)}
    option = name.removeprefix("OTEL_EXPORTER_OTLP_").removeprefix("TRACES_")
    environ = {name: values[option]}
    if option.startswith("CLIENT_"):
        prefix = name.removesuffix(option)
        environ = {f"{prefix}CLIENT_CERTIFICATE": str(pem.certificate), f"{prefix}CLIENT_KEY": str(pem.key)}
    assert configuration.read(environ) is not None


def test_defaults() -> None:
    found = read(OTEL_TRACES_EXPORTER="otlp")
    assert found.otlp.protocol == "http/protobuf"
    assert found.otlp.endpoint == "http://localhost:4318/v1/traces"
    assert (found.otlp.secure, found.otlp.gzip, found.otlp.headers, found.otlp.timeout_s) == (False, False, (), 10.0)
    assert (found.queue_spans, found.batch_spans) == (16_384, 512)
    assert (found.schedule_delay_ns, found.export_timeout_s) == (10**9, 30.0)
    assert found.known_methods == KNOWN_METHODS
    assert not any(found.capture_headers.values())


@pytest.mark.parametrize(
    ("environ", "protocol", "endpoint", "secure"),
    [
        ({"ENDPOINT": "http://c:4318"}, "http/protobuf", "http://c:4318/v1/traces", False),
        ({"ENDPOINT": "http://c:4318/"}, "http/protobuf", "http://c:4318/v1/traces", False),
        ({"ENDPOINT": "https://c/otlp/"}, "http/protobuf", "https://c/otlp/v1/traces", True),
        ({"TRACES_ENDPOINT": "https://c/x"}, "http/protobuf", "https://c/x", True),
        (
            {"ENDPOINT": "http://a:1", "TRACES_ENDPOINT": "http://b:2/v1/traces"},
            "http/protobuf",
            "http://b:2/v1/traces",
            False,
        ),
        ({"PROTOCOL": "grpc"}, "grpc", "localhost:4317", False),
        ({"PROTOCOL": "grpc", "ENDPOINT": "http://c:4000"}, "grpc", "c:4000", False),
        ({"PROTOCOL": "grpc", "ENDPOINT": "https://c:4000/"}, "grpc", "c:4000", True),
        ({"PROTOCOL": "grpc", "ENDPOINT": "https://c"}, "grpc", "c:4317", True),
        ({"PROTOCOL": "grpc", "ENDPOINT": "http://[::1]:4000"}, "grpc", "[::1]:4000", False),
        ({"PROTOCOL": "grpc", "ENDPOINT": "c:4000"}, "grpc", "c:4000", True),
        ({"PROTOCOL": "grpc", "ENDPOINT": "c:4000", "INSECURE": "true"}, "grpc", "c:4000", False),
        ({"PROTOCOL": "grpc", "ENDPOINT": "https://c:1", "INSECURE": "true"}, "grpc", "c:1", True),
        ({"PROTOCOL": "http/protobuf", "TRACES_PROTOCOL": "grpc"}, "grpc", "localhost:4317", False),
        ({"ENDPOINT": "http://c:4317"}, "grpc", "c:4317", False),
        ({"ENDPOINT": "c:4317", "TRACES_INSECURE": "TRUE"}, "grpc", "c:4317", False),
        ({"ENDPOINT": "http://c:4317", "PROTOCOL": "http/protobuf"}, "http/protobuf", "http://c:4317/v1/traces", False),
    ],
)
def test_endpoints(environ: dict[str, str], protocol: str, endpoint: str, secure: bool) -> None:
    found = read(**{f"OTEL_EXPORTER_OTLP_{name}": value for name, value in environ.items()}).otlp
    assert (found.protocol, found.endpoint, found.secure) == (protocol, endpoint, secure)


def test_everything_else(tmp_path: Path) -> None:
    pem = certificates.make(tmp_path)
    found = read(
        OTEL_EXPORTER_OTLP_HEADERS="Authorization=Bearer%20abc%3D, x-tenant = 7 ,",
        OTEL_EXPORTER_OTLP_TIMEOUT="2500",
        OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
        OTEL_EXPORTER_OTLP_CERTIFICATE=str(pem.certificate),
        OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=str(pem.certificate),
        OTEL_EXPORTER_OTLP_CLIENT_KEY=str(pem.key),
        OTEL_BSP_SCHEDULE_DELAY="5000",
        OTEL_BSP_MAX_QUEUE_SIZE="100",
        OTEL_BSP_EXPORT_TIMEOUT="1500",
        OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=prod,team=a%2Cb",
        OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS="GET,QUERY",
        OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST="X-Tenant,accept",
        OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_RESPONSE="server",
    )
    assert found.otlp.headers == (("authorization", "Bearer abc="), ("x-tenant", "7"))
    assert (found.otlp.timeout_s, found.otlp.gzip) == (2.5, True)
    assert (found.otlp.certificate, found.otlp.client_certificate) == (str(pem.certificate),) * 2
    assert found.otlp.client_key == str(pem.key)
    assert (found.queue_spans, found.batch_spans, found.export_timeout_s) == (100, 100, 1.5)
    assert found.schedule_delay_ns == 5 * 10**9
    assert found.resource_attributes == {"deployment.environment.name": "prod", "team": "a,b"}
    assert found.known_methods == {"GET", "QUERY"}
    assert found.capture_headers == {
        "server_request": ("X-Tenant", "accept"),
        "server_response": (),
        "client_request": (),
        "client_response": ("server",),
    }


WRONG = [
    ("OTEL_SDK_DISABLED", "yes", "true, false"),
    ("OTEL_TRACES_EXPORTER", "jaeger", "otlp, none"),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "grpc, http/protobuf"),
    ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "udp", "grpc, http/protobuf"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318", "a URL http://host[:port][/path] or https://..."),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://:4318", "a URL http://host[:port][/path] or https://..."),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:port", "a URL"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317/v1/traces", "http://host:port, https://host:port or host:port"),
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "ftp://c:4317", "http://host:port, https://host:port or host:port"),
    ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "none, gzip"),
    ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "a whole number from 1 to 600000"),
    ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "0", "a whole number from 1 to 600000"),
    ("OTEL_BSP_SCHEDULE_DELAY", "-1", "a whole number from 0 to 3600000"),
    ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "a whole number from 1 to 1000000"),
    ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "99999", "a whole number from 1 to 16384"),
    ("OTEL_BSP_EXPORT_TIMEOUT", "1.5", "a whole number from 1 to 3600000"),
    ("OTEL_TRACES_SAMPLER", "jaeger_remote", "always_on, always_off, traceidratio, parentbased_always_on, "),
    ("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS", "GET POST", "names separated by commas"),
    ("OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST", ".*:", "names separated by commas"),
    ("OTEL_RESOURCE_ATTRIBUTES", "prod", "name=value pairs separated by commas, values percent-encoded"),
]


@pytest.mark.parametrize(("name", "value", "allowed"), WRONG)
def test_a_wrong_value_is_one_line_with_name_value_and_what_is_allowed(name: str, value: str, allowed: str) -> None:
    with pytest.raises(SettingsError) as raised:
        read(**{"OTEL_TRACES_EXPORTER": "otlp", name: value})
    line = str(raised.value)
    assert "\n" not in line
    assert line.startswith(f"{name}: ")
    assert f"allowed: {allowed}" in line
    if name != "OTEL_RESOURCE_ATTRIBUTES":
        assert value in line


@pytest.mark.parametrize("arg", ["1.5", "-0.1", "nan", "half"])
def test_a_ratio_that_is_none(arg: str) -> None:
    with pytest.raises(SettingsError, match=r"^OTEL_TRACES_SAMPLER_ARG: .* allowed: a number from 0 to 1$"):
        read(OTEL_TRACES_EXPORTER="otlp", OTEL_TRACES_SAMPLER="traceidratio", OTEL_TRACES_SAMPLER_ARG=arg)


@pytest.mark.parametrize("value", ["authorization", "a b=hunter22", "x=hunter22%0d%0ainjected: 1"])
def test_a_wrong_header_is_named_without_its_value(value: str) -> None:
    with pytest.raises(SettingsError) as raised:
        read(OTEL_EXPORTER_OTLP_HEADERS=value)
    assert str(raised.value).startswith("OTEL_EXPORTER_OTLP_HEADERS: its value is not allowed")
    assert "hunter22" not in str(raised.value)


def test_certificate_files_are_tried_at_the_start(tmp_path: Path) -> None:
    missing, garbage = tmp_path / "missing.pem", tmp_path / "garbage.pem"
    garbage.write_text("not a certificate")
    pem = certificates.make(tmp_path)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"CERTIFICATE": missing}, "OTEL_EXPORTER_OTLP_CERTIFICATE: .*missing.pem.*No such file"),
        ({"TRACES_CERTIFICATE": garbage}, "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE: .*no usable PEM"),
        ({"CLIENT_KEY": pem.key}, "OTEL_EXPORTER_OTLP_CLIENT_KEY: set without OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"),
        ({"CLIENT_CERTIFICATE": pem.certificate, "CLIENT_KEY": garbage}, "CLIENT_CERTIFICATE: .*no usable PEM"),
        ({"CLIENT_CERTIFICATE": pem.certificate, "CLIENT_KEY": missing}, "No such file"),
    ]
    for environ, message in cases:
        with pytest.raises(SettingsError, match=message):
            read(**{f"OTEL_EXPORTER_OTLP_{name}": str(path) for name, path in environ.items()})


def test_what_is_shown_of_the_destination_holds_no_secret() -> None:
    found = read(OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="https://user:hunter22@c:1/v1/traces?key=hunter33").otlp
    assert destination(found) == "http/protobuf https://c:1/v1/traces"
    assert set(secrets(found)) == {"hunter22", "key=hunter33"}
    found = read(OTEL_EXPORTER_OTLP_ENDPOINT="http://c:4317", OTEL_EXPORTER_OTLP_HEADERS="a=Bearer%20hunter44,b=c").otlp
    assert destination(found) == "grpc http://c:4317"
    assert set(secrets(found)) == {"Bearer hunter44", "Bearer", "hunter44"}
