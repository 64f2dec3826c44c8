"""Passwords, tokens and session cookies that pass unencrypted: whoever sees the wire has them."""

from __future__ import annotations

from apisensor.detect.detector import SECOND, Detector
from apisensor.detect.model import SEVERITIES, Call, Severity, Signal
from apisensor.detect.tracked import Tracked
from apisensor.sections import Detect

PROVEN = frozenset(
    (
        *("digest", "hawk", "hmac", "hmac-sha256", "mac", "signature", "aws", "aws4-hmac-sha256"),
        *("aws4-ecdsa-p256-sha256", "goog1", "goog4-hmac-sha256", "goog4-rsa-sha256", "sharedkey", "sharedkeylite"),
        *("negotiate", "kerberos", "ntlm", "mutual", "scram-sha-1", "scram-sha-256", "hoba", "dpop", "vapid", "acs"),
        "oauth",
    )
)
"""Schemes that prove a secret without sending it; docs/redaction.md lists all schemes."""

_PASSWORDS: dict[str, Severity] = {"login": "high", "basic": "high"}
_OTHERS: Severity = "medium"
"""Tokens, keys and cookies expire, and do not open other doors."""
REPORT_NS = SECOND
"""Between two signals of one key: this is mostly ordinary traffic, call after call."""


class _Seen:
    __slots__ = ("credentials", "pending", "reported_ns")

    def __init__(self) -> None:
        self.credentials: list[str] = []
        self.pending = 0
        self.reported_ns = 0


class CredentialsOverPlaintext(Detector):
    name = "credentials-over-plaintext"
    title = "Credentials over unencrypted HTTP"
    category = "API8:2023"
    sees = frozenset(
        ("time_ns", "endpoint", "service", "client", "server", "scheme", "login_identity", "encrypted", "loopback")
    )
    about = frozenset(("server", "endpoint", "route"))
    settings = ()
    severities = ("info", "medium", "high")
    quiet_ns = 30 * 86_400 * SECOND

    def __init__(self, settings: Detect) -> None:
        super().__init__(settings)
        self._endpoints: Tracked[_Seen] = Tracked(settings.max_tracked)

    def observe(self, call: Call) -> tuple[Signal, ...]:
        if call.encrypted or (call.scheme is None and call.login_identity is None):
            return ()
        credential = "login" if call.login_identity is not None else call.scheme
        # Without both ends it is not known whether anything crossed a wire.
        if credential is None or credential in PROVEN or call.client is None or call.server is None:
            return ()
        # What has no endpoint is one: who scans paths mints no findings.
        key = f"{'loopback' if call.loopback else 'network'} {call.endpoint or call.service}"
        seen = self._endpoints.get(key)
        if seen is None:
            self._endpoints.put(key, seen := _Seen())
        seen.pending += 1
        new = credential not in seen.credentials
        if new:
            seen.credentials.append(credential)
        elif abs(call.time_ns - seen.reported_ns) < REPORT_NS:
            return ()
        more, seen.pending, seen.reported_ns = seen.pending, 0, call.time_ns
        worst = max((_PASSWORDS.get(name, _OTHERS) for name in seen.credentials), key=SEVERITIES.index)
        return (
            Signal(
                key=key,
                severity="info" if call.loopback else worst,
                title="Credentials over unencrypted HTTP within the node" if call.loopback else None,
                evidence={"credentials": list(seen.credentials), "path": "loopback" if call.loopback else "network"},
                seen=more,
                more=more,
            ),
        )

    def memories(self) -> tuple[Tracked[object], ...]:
        return (self._endpoints,)  # type: ignore[return-value]
