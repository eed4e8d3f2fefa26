"""Maps with trained parameters and their pseudo-gradients, in keras.ops."""
