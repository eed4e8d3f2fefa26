"""What the user asked of the data, as every opener receives it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tfq_ext.errors import DataError
from tfq_ext.samples.preprocess import Preprocess
from tfq_ext.samples.spec import InputSpec, describe

Labels = Sequence | str | bool | None


@dataclass(frozen=True)
class Request:
    """The model's inputs and the options.

    Args:
        inputs: all of them, every signature.
        preprocess: from pixels to values; None when not stated.
        labels: True or a name asks for labels that lie beside the data.
    """

    inputs: tuple[InputSpec, ...]
    preprocess: Preprocess | None = None
    labels: Labels = None

    def image_input(self, what: str) -> InputSpec:
        """The one input that images can feed.

        Raises:
            DataError: the model has several inputs, or its input is no image.
        """
        if len(self.inputs) != 1 or not self.inputs[0].is_image:
            raise DataError(
                f"{what} can feed a model with one input of shape (batch, height, width, channels);"
                f" this one takes {describe(self.inputs)}. Give a dict of arrays or a generator."
            )
        return self.inputs[0]
