"""Who of several processes lives, and what has happened to them: short words in the store that torchrun keeps."""

import json
import threading
import time
from contextlib import suppress
from typing import Any

BEAT = 0.5  # seconds between two signs of life


class Life:
    """Who lives, and what has happened: short words in the store that torchrun keeps.

    A thread says every half second that this process lives, whatever else it does.

    lost  whether the store is gone, and torchrun with it: nothing is heard any more
    """

    def __init__(self, store: Any, rank: int, size: int) -> None:
        self.store, self.rank = store, rank
        self.seen = dict.fromkeys(range(size), ("", time.monotonic()))  # the last sign of life, and when it was new
        self.over, self.lost = threading.Event(), False
        threading.Thread(target=self._beat, name="sign of life", daemon=True).start()

    def _beat(self) -> None:
        number = 0
        while not self.over.is_set():
            number += 1
            if not self.tell(f"life/{self.rank}", str(number)):
                return
            self.over.wait(BEAT)

    def tell(self, key: str, word: str) -> bool:
        """Whether a word has reached the store."""
        try:
            self.store.set(key, word)
        except RuntimeError:
            self.lost = True
        return not self.lost

    def heard(self, key: str) -> str | None:
        """A word, if it was said."""
        try:
            return str(self.store.get(key).decode()) if self.store.check([key]) else None
        except RuntimeError:
            self.lost = True
        return None

    def left(self, rank: int) -> bool:
        """Whether a process has gone, and said so."""
        return self.heard(f"left/{rank}") is not None

    def gone(self, rank: int, patience: float) -> bool:
        """Whether a process has gone, or given no sign of life for so many seconds."""
        if rank == self.rank:
            return False
        if self.lost or self.left(rank):
            return True
        sign, now = self.heard(f"life/{rank}") or "", time.monotonic()
        if sign != self.seen[rank][0]:
            self.seen[rank] = (sign, now)
        return now - self.seen[rank][1] > patience

    def failure(self) -> tuple[int, str, str] | None:
        """The first failure that was told: of which process, its kind and its text."""
        if (word := self.heard("failure")) is None:
            return None
        number, kind, text = json.loads(word)
        return number, kind, text

    def tell_failure(self, rank: int, kind: str, text: str) -> None:
        """Tell of a failure, unless another one was told before."""
        with suppress(RuntimeError):
            self.store.compare_set("failure", "", json.dumps([rank, kind, text], allow_nan=False))

    def leave(self) -> None:
        """Give no more signs of life."""
        self.tell(f"left/{self.rank}", "yes")
        self.over.set()
