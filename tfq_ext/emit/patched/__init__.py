"""Emitters that edit the float flatbuffer themselves, without TensorFlow."""
