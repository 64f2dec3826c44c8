"""What people change in the store, through core's socket."""

from __future__ import annotations

import msgspec

from apisensor.detect.model import State


class SetState(msgspec.Struct, frozen=True, kw_only=True, tag="set_state", forbid_unknown_fields=True):
    """A finding's next step."""

    finding: str
    state: State
    who: str
    comment: str = ""


class Purge(msgspec.Struct, frozen=True, kw_only=True, tag="purge", forbid_unknown_fields=True):
    """Deletes what is kept: exactly one of these is given."""

    before: int | None = None
    """Unix time, s: transactions, traffic and findings that are older, and endpoints not seen since."""
    service: str | None = None
    """Transactions, endpoints, traffic and findings of this service (or destination)."""
    identity: str | None = None
    """Transactions and findings of this keyed hash, and the caller in every profile."""


Command = SetState | Purge


class Done(msgspec.Struct, frozen=True):
    """What a command did."""

    transactions: int = 0
    """Deleted, copies that findings held included."""
    endpoints: int = 0
    """Deleted; for an identity: from which a caller was taken."""
    findings: int = 0
    """Deleted; for SetState: changed."""


class Failed(msgspec.Struct, frozen=True):
    """It could not be done."""

    message: str
    """One line."""
