"""Keras model to Keras model: ReLU over ReLU6, BatchNorm folding, equalization."""
