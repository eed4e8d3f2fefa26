"""TFMOT in a process of its own, for it switches Keras to legacy: `python tfmot_apart.py CASE`.

Prints one JSON line of what was measured.
"""

from __future__ import annotations

import json
import os
import sys

os.environ["TF_USE_LEGACY_KERAS"] = "1"
import numpy as np
import tensorflow_model_optimization as tfmot
import tf_keras as keras
from ai_edge_litert.interpreter import Interpreter

import tfq_ext as tfq
from tfq_ext.qat.tfmot import scheme, scope, start_ranges
from tfq_ext.tflite.read import Model

RNG = np.random.default_rng(0)
CLASSES = RNG.normal(size=(3, 5))
LAYERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


def samples(n):
    """Images whose class is told by their mean colour: float32[n, 12, 12, 3], int[n]."""
    color = RNG.normal(size=(n, 1, 1, 3))
    x = (color + 0.3 * RNG.normal(size=(n, 12, 12, 3))).astype(np.float32)
    return x, (x.mean((1, 2)) @ CLASSES).argmax(1)


X, Y = samples(512)


def network():
    """conv, BatchNorm, ReLU, depthwise, BatchNorm, ReLU, add, concat, dense, softmax; trained."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    image = layers.Input((12, 12, 3))
    x = layers.Conv2D(16, 3, padding="same", use_bias=False)(image)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    y = layers.ReLU()(layers.BatchNormalization()(y))
    x = layers.add([layers.Conv2D(16, 1)(y), x])
    x = layers.concatenate([layers.DepthwiseConv2D(1)(x), layers.Conv2D(8, 1)(x)])
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dense(64, activation="relu")(x)
    model = keras.Model(image, layers.Dense(5, activation="softmax")(x))
    fit(model, epochs=8)
    return model


def fit(model, epochs=2, callbacks=()):
    """Adam; returns the model."""
    model.compile(keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy")
    model.fit(X, Y, batch_size=32, epochs=epochs, verbose=0, callbacks=list(callbacks))
    return model


def predict(content, x):
    """What the file says."""
    interpreter = Interpreter(model_content=content)
    index = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(index, x.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(index, x)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def trained(qat):
    """(codes int[rest, channels], clipped as FakeQuant clips) of every wrapped kernel."""
    rows = []
    for layer in qat.layers:
        for weight, quantizer, variables in getattr(layer, "_weight_vars", ()):
            high = variables["max_var"].numpy().reshape(-1)
            most = 2 ** (quantizer.num_bits - 1) - 1
            axes = 2 if "depthwise" in weight.name else 1
            flat = weight.numpy().reshape(-1, int(np.prod(weight.shape[-axes:])))
            codes = np.clip(np.round(flat / (high / most)), -most, most)
            rows.append(codes.astype(int))
    return rows


def stored(content):
    """(type, codes int[rest, channels], number of scales) of every layer's kernel in a file."""
    graph = Model.parse(content).graphs[0]
    rows = []
    for op in graph.ops:
        if graph.code(op) in LAYERS:
            t = int(op.inputs[1])
            axis = 3 if graph.code(op).startswith("DEPTH") else 0
            codes = np.moveaxis(graph.constant(t), axis, -1)
            scales = len(graph.tensors[t].quantization.scale)
            rows.append((graph.dtype(t), codes.reshape(-1, codes.shape[-1]).astype(int), scales))
    return rows


def different(qat, content):
    """Codes that the file has otherwise; a channel with negative BatchNorm gamma changes sign."""
    wanted, total = trained(qat), 0
    for _, codes, _ in stored(content):
        alike = [w for w in wanted if w.shape == codes.shape]
        total += min(int(np.sum(np.abs(w) != np.abs(codes))) for w in alike)
    return total


def scheme_case(bits):
    """Our scheme, trained, quantized without data."""
    model = network()
    with scope():
        annotated = tfmot.quantization.keras.quantize_annotate_model(model)
        qat = tfmot.quantization.keras.quantize_apply(annotated, scheme(weight_bits=bits))
    started = start_ranges(qat, model, X[:128])
    given = start_ranges(qat, model, ranges={"dense": (0.0, 3.0)})
    start_ranges(qat, model, X[:128])
    return {"started": len(started), "given": given["quant_dense"].max, **measured(fit(qat, 4))}


def default_case():
    """TFMOT's own 8-bit scheme."""
    return measured(fit(tfmot.quantization.keras.quantize_model(network()), 4))


def measured(qat):
    """Quantize a QAT model and compare it with its own forward pass."""
    result = tfq.quantize(qat)
    x, _ = samples(1000)
    ours, theirs = predict(result.content, x), qat.predict(x, verbose=0)
    return {
        "agree": float(np.mean(ours.argmax(1) == theirs.argmax(1))),
        "different": different(qat, result.content),
        "types": [dtype for dtype, *_ in stored(result.content)],
        "scales": [scales for *_, scales in stored(result.content)],
        "calibrators": sorted({row.calibrator for row in result.account.ranges}),
        "float": [row.reason for row in result.account.float_ops],
    }


def preserving(model, kind):
    """The same, trained with TFMOT's sparsity- or cluster-preserving quantization."""
    schemes = tfmot.experimental.combine
    chosen = {
        "pq": schemes.Default8BitPrunePreserveQuantizeScheme,
        "cq": schemes.Default8BitClusterPreserveQuantizeScheme,
    }[kind]()
    annotated = tfmot.quantization.keras.quantize_annotate_model(model)
    return fit(tfmot.quantization.keras.quantize_apply(annotated, chosen), 1)


def sparse_case(kind):
    """Pruned and clustered models, after training and after quantization-aware training."""
    model = network()
    pruning, clustering = tfmot.sparsity.keras, tfmot.clustering.keras
    if "p" in kind:
        schedule = pruning.ConstantSparsity(0.5, 0, frequency=1)
        model = pruning.prune_low_magnitude(model, pruning_schedule=schedule)
        model = pruning.strip_pruning(fit(model, 1, [pruning.UpdatePruningStep()]))
    if "c" in kind:
        clustered = clustering.cluster_weights(
            model,
            number_of_clusters=16,
            cluster_centroids_init=clustering.CentroidInitialization.KMEANS_PLUS_PLUS,
        )
        model = clustering.strip_clustering(fit(clustered, 1))
    if "q" in kind:
        model = preserving(model, kind)
    data = None if "q" in kind else X[:64]
    account = tfq.quantize(model, data, recipe="int8", show_progress=False).account
    rows = [(row.before, row.after) for row in account.weights]
    return {
        "sparsity": [
            sum(s.zeros for s in side) / sum(s.size for s in side)
            for side in zip(*rows, strict=True)
        ],
        "in_channel": [[b.in_channel, a.in_channel] for b, a in rows],
        "distinct": [[b.distinct, a.distinct] for b, a in rows],
        "notes": [f"{note.op}: {note.reason}" for note in account.notes],
    }


def _share(side):
    return sum(s.zeros for s in side) / sum(s.size for s in side)


CASES = {
    "ours8": lambda: scheme_case(8),
    "ours4": lambda: scheme_case(4),
    "default": default_case,
    **{kind: (lambda kind=kind: sparse_case(kind)) for kind in ("p", "c", "pq", "cq")},
}

if __name__ == "__main__":
    print(json.dumps(CASES[sys.argv[1]]()))
