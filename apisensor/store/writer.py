"""The one writer of the store: owns the connection; synchronous; its methods raise sqlite3.Error.

service.py calls it from its thread and decides what an error means.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Literal

from apisensor.detect.model import Finding
from apisensor.inventory.model import Alias, EndpointKey
from apisensor.sections import Store
from apisensor.store.commands import Done, Purge, SetState
from apisensor.store.endpoints import Endpoints
from apisensor.store.findings import Findings
from apisensor.store.opening import open_for_writing
from apisensor.store.pending import Pending
from apisensor.store.purge import Steps, purge
from apisensor.store.retention import Retention
from apisensor.store.schema import transaction, version_of
from apisensor.store.transactions import Stored, Transactions

MAX_NOTES = 20
"""Kept in the database: what happened to the store itself."""


class Writer:
    """One thread at a time uses it."""

    def __init__(self, path: str, settings: Store) -> None:
        """
        Raises:
            StoreError: the database cannot be opened.
        """
        self.connection = open_for_writing(path)
        self._path = path
        try:
            self._identity = os.stat(path)
            self._transactions = Transactions(self.connection)
            self._endpoints = Endpoints(self.connection)
            self._findings = Findings(self.connection)
            self.retention = Retention(self.connection, path, settings, self._findings)
        except BaseException:
            self.connection.close()
            raise

    def write(self, items: list[Stored], pending: Pending | None, findings: Iterable[Finding]) -> int:
        """One commit. Returns how many transactions could not be encoded."""
        try:
            with transaction(self.connection):
                if not (items or pending):
                    # Whether the disk takes writes is asked with a write.
                    self.connection.execute(f"PRAGMA user_version = {version_of(self.connection)}")
                evidence, failed = self._transactions.add(items, self._endpoints.resolve, self._findings.awaited)
                self._findings.hold(evidence)
                if pending:
                    self._endpoints.apply(pending)
                for finding in findings:
                    endpoint = None if finding.endpoint is None else self._endpoints.resolve(finding.endpoint)
                    self._findings.put(finding, endpoint)
        except BaseException:
            self.reload()
            raise
        return failed

    def reload(self) -> None:
        """What is in memory follows the database again."""
        self._transactions.load()
        self._findings.load()

    def move_transactions(self) -> bool:
        """One bounded step of giving merged endpoints' transactions their new id. True: there is more."""
        with transaction(self.connection):
            return self._endpoints.move_transactions()

    def index(self) -> bool:
        """One bounded step of indexing what is full. True: there may be more."""
        return self._transactions.index()

    def set_state(self, command: SetState, now_ns: int) -> Done:
        """
        Raises:
            StoreError: one line.
        """
        with transaction(self.connection):
            self._findings.set_state(command.finding, command.state, command.who, command.comment, now_ns)
        return Done(findings=1)

    def purge(self, command: Purge) -> Steps:
        """
        Raises:
            StoreError: one line.
        """
        return purge(self.connection, self._findings, command)

    def note(self, text: str, now_ns: int) -> None:
        """Keeps a sentence for readers."""
        with transaction(self.connection):
            self.connection.execute("INSERT INTO notes VALUES (?, ?)", (now_ns, text))
            self.connection.execute(
                f"DELETE FROM notes WHERE rowid NOT IN (SELECT rowid FROM notes ORDER BY rowid DESC LIMIT {MAX_NOTES})"
            )

    def endpoints(self) -> list[tuple[str, EndpointKey]]:
        return self._endpoints.keys()

    def told(self, what: Literal["walled", "rpc"]) -> frozenset[str]:
        return self._endpoints.told(what)

    def aliases(self) -> list[Alias]:
        return self._endpoints.aliases()

    def findings(self) -> list[Finding]:
        """Those that are not closed."""
        return self._findings.unclosed()

    def in_place(self) -> bool:
        """Whether the path still leads to the file that is open: somebody may have removed or replaced it."""
        try:
            now = os.stat(self._path)
        except OSError:
            return False
        return (now.st_dev, now.st_ino) == (self._identity.st_dev, self._identity.st_ino)

    def close(self) -> None:
        """The last connection to close moves the WAL into the database."""
        self.connection.close()
