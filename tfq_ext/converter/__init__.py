"""The drop-in: change the import of TFLiteConverter, keep the script."""

from tfq_ext.converter.converter import TFLiteConverter

__all__ = ["TFLiteConverter"]
