"""Every error that tfq_ext raises on purpose, one tree, so that callers can catch a whole kind."""


class TfqError(Exception):
    """Base of all errors of tfq_ext. The message says what came, what is allowed, what to do."""


class SpecError(TfqError, ValueError):
    """A quantization grid that cannot exist (bits, range, scale)."""


class UnknownName(TfqError, KeyError):
    """A name that is in no table; the message lists the names that are."""

    def __str__(self) -> str:  # KeyError would show repr(message)
        return str(self.args[0]) if self.args else ""


class DataError(TfqError, ValueError):
    """Representative or evaluation data that cannot be used: shape, dtype, NaN, empty."""


class ModelError(TfqError, ValueError):
    """A model that cannot be read, converted or treated."""


class RecipeError(TfqError, ValueError):
    """A recipe with an unknown field, a wrong value or rules that contradict each other."""


class StatsError(TfqError, ValueError):
    """Statistics that are missing, of another model, or of another format version."""


class EmissionError(TfqError, RuntimeError):
    """The file that came out is not the one that was chosen, or could not be made."""


class StrictError(TfqError, RuntimeError):
    """`strict=True` and some op stayed float; the message names op, tensor and reason."""


class MissingDependency(TfqError, ImportError):
    """An optional package is needed and absent; the message holds the pip command."""


class OutputError(TfqError, OSError):
    """The result could not be written; what was there before is untouched."""


class TfqWarning(UserWarning):
    """Something the user should know that does not stop the work."""
