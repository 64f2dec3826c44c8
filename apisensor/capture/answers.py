"""What the finder has said of files: each is asked about once, and where no answer comes, not for ever."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from apisensor.finder.answer import Found, Question

MOST_FILES = 4096
"""Files whose answers are kept of each question; then all are forgotten."""
MOST_TRIES = 3
"""Of a question without an answer. The finder may be away for a moment; but a file that ends it, or takes longer than
it may, does so each time, and each time capture waits for it."""
NO_ANSWER = Found({}, error=f"it could not be read: the finder gave no answer, {MOST_TRIES} times")


class Answers:
    """By a file's identity, so it does not matter who has mapped it, and under which name."""

    def __init__(self, ask: Callable[[int, Question], Found | None]) -> None:
        """
        Args:
            ask: sends an open file to the finder, and waits for the answer; None where none came.
        """
        self._ask = ask
        self._known: dict[Question, dict[str, Found]] = {question: {} for question in Question}
        self._tries: Counter[tuple[Question, str]] = Counter()

    def of(self, identity: str, descriptor: int, question: Question) -> Found | None:
        """The answer about an open file; None where none came: another try may have one, until MOST_TRIES are over."""
        known = self._known[question]
        if identity in known:
            return known[identity]
        found = self._ask(descriptor, question)
        if found is None:
            if len(self._tries) >= MOST_FILES:
                self._tries.clear()
            self._tries[question, identity] += 1
            if self._tries[question, identity] < MOST_TRIES:
                return None
            found = NO_ANSWER
        if len(known) >= MOST_FILES:
            known.clear()
        known[identity] = found
        return found
