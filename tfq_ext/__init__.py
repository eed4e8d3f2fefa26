"""tfq_ext: choose the integers of a .tflite better, and prove it on the file."""
