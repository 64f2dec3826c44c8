"""What a finding means and what to do about it, in words for whoever is on duty: one entry for each rule."""

from __future__ import annotations

import msgspec


class Advice(msgspec.Struct, frozen=True):
    """Of a rule."""

    meaning: str
    """What probably happened, and what it may be instead."""
    remedy: str
    """What to look at and to do, the first thing first."""


ADVICE = {
    "auth-failures-identity": Advice(
        "This identity was refused again and again: somebody guesses its password, or a program still has an old "
        "credential.",
        "Ask whether the clients in the evidence are the owner's. If not, limit the tries at this endpoint or lock the "
        "account; if a program has an old credential, renew it.",
    ),
    "auth-failures-client": Advice(
        "One address was refused under several identities: passwords are tried out, or many users share the address.",
        "If the address is no proxy or office of yours, block it or limit its tries; then look for logins from it that "
        "succeeded (login-after-failures).",
    ),
    "login-after-failures": Advice(
        "A password was accepted shortly after many were refused: a guess may have been right.",
        "Ask the owner. If it was somebody else, end the account's sessions, change its password, and look at what the "
        "client called since then.",
    ),
    "response-volume": Advice(
        "This caller took many times what it, or anybody at this endpoint, usually takes: an export, a new job, or "
        "data being carried away.",
        "Look at what the transactions asked for and whether somebody ordered it. If not, revoke the credential, and "
        "limit page sizes and rates at the endpoint.",
    ),
    "credentials-over-plaintext": Advice(
        "A password, token or session cookie was sent unencrypted: whoever is on the way can read and use it. Within "
        "the node (path loopback) nothing crossed a wire.",
        "Serve the endpoint over TLS alone, and replace what was sent. Where a proxy of this node ends TLS, the "
        "finding within the node can be closed.",
    ),
}
"""Rule: its advice. What another version of the sensor has stored may have other rules."""
