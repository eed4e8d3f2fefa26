"""What a child process may use, and the error when it is no more."""

from __future__ import annotations

from dataclasses import dataclass

from tfq_ext.errors import ModelError, SpecError

GIB = 2**30


@dataclass(frozen=True)
class Limits:
    """What one child may use.

    Args:
        memory_bytes: private memory that it may ask for; None: as much as the machine has (for
            GPU drivers that map more than they use).
        seconds: how long it may go without an answer, in each call and between two values of a
            stream; None: for ever.
    """

    memory_bytes: int | None = 8 * GIB
    seconds: float | None = 120.0

    def __post_init__(self) -> None:
        if self.memory_bytes is not None and self.memory_bytes < GIB // 4:
            raise SpecError(
                f"A child needs 256 MiB to load LiteRT at all, got {self.memory_bytes} bytes."
            )
        if self.seconds is not None and not self.seconds > 0:
            raise SpecError(f"The time limit is a number of seconds over 0, got {self.seconds}.")

    @property
    def memory_text(self) -> str:
        """In words: "limit 8.0 GiB"."""
        if self.memory_bytes is None:
            return "no limit set"
        return f"limit {self.memory_bytes / GIB:.1f} GiB"


# how it ended -> sentence
_SENTENCES = {
    "signal": "{who} died{at}: {how}.",
    "memory": "{who} ran {how}{at}.",
    "hang": "{who} gave {how}{at}.",
    "exit": "{who} ended{at}: {how}.",
    "nonsense": "{who} is damaged{at}: {how}.",
}
KINDS = tuple(_SENTENCES)


class ModelDied(ModelError):
    """The process that ran a model is no more: crashed, hung, or out of memory.

    Args:
        kind: of KINDS.
        how: "SIGSEGV", "no answer in 60 s", "out of memory (limit 8.0 GiB)".
        stage: the last mark before that: "load", "allocate", "invoke"; "" when there is none.
        stderr: the end of what the process wrote.
    """

    def __init__(self, kind: str, how: str, stage: str = "", stderr: str = ""):
        who = "LiteRT" if stage else "The process that runs the model"
        at = f" at {stage}" if stage else ""
        super().__init__(_SENTENCES[kind].format(who=who, how=how, at=at))
        self.kind = kind
        self.how = how
        self.stage = stage
        self.stderr = stderr


class ChildError(RuntimeError):
    """Code of ours raised something unexpected in a child; its traceback is in the notes."""
