"""The table of sections of reproduce_whitepaper, and what differs from the papers in each."""

from __future__ import annotations

from functools import partial

import _paper_folding as folding
import _paper_half as half
import _paper_norms as norms
import _paper_ptq as ptq
import _paper_published as published
import _paper_relu as relu
import _paper_speed as speed
import _paper_ternary as ternary
import _paper_trained as trained
from _paper import Section

from tfq_ext._table import Table

SIMULATED = (
    "Grids are simulated in float, as the paper does: FAKE_QUANT behind the activations, decoded "
    "codes in place of weights, both in LiteRT. No kernel takes asymmetric weights."
)
SMALL = (
    "The bundled network has 75 thousand parameters and ten classes of clothes; ImageNet's have "
    "millions and a thousand. Small images and few classes forgive more."
)
GRID = (
    "By layer the paper has asymmetric weights alone; the symmetric column is ours, since integer "
    "kernels take no other. Symmetric grids leave out the code -128, as LiteRT's do."
)
RANGES = (
    "Activation ranges here are the least and greatest values of 100 single images; the paper's "
    "are moving averages over 100 mini-batches."
)
INTEGERS = (
    "The last columns are no simulation: integer kernels of LiteRT, by our recipes. `int8-minmax` "
    'has the grids of the column "symmetric, channel"; `fast` narrows ranges and corrects biases.'
)
TRAINED = (
    "The paper fine-tunes ImageNet networks for many thousands of steps. Rows of CIFAR-10 with "
    'several seeds come from a finished `tools/bench_qat.py` (`--qat`); rows "this CPU" are few '
    "steps of a small network that the tool trains itself, one seed: they tell the direction, not "
    "the last point."
)
SYMMETRIC = (
    "Weights in training are symmetric in both columns, since that is what integer kernels take; "
    "the paper's column by layer is asymmetric."
)
FOUR = (
    "`int4-fast` is no simulation: GPTQ and matched biases, 4-bit integers in LiteRT. The paper "
    "had nearest rounding alone. QAT at 4 bits learns its scales (LSQ); the paper's are "
    "the maximum."
)
CHECKPOINT = (
    "How much one scale a layer loses hangs on the checkpoint: the paper's MobileNets are "
    "TensorFlow's of 2017, MobileNetV2 here has torchvision's weights, whose channels are less far "
    "apart, EfficientNet-Lite0 Google's, and the bundled network its own."
)
SLOW = (
    "EfficientNet-Lite0 is left out here: its simulations take as long as all others together, and "
    "MobileNetV2 is of its kind."
)
NEARER = (
    "Asymmetric grids are nearer to the weights of almost every layer, and their codes are within "
    "half a step; a network may be further from float with them all the same, for its layers' "
    "errors add up."
)
NO_KERNEL = "4-bit activations have no kernel in LiteRT: they train, and are judged in Keras."
ROUNDED = (
    "Both ways have the scale of the largest weight and differ in nothing else; both are judged "
    "with nearest rounding, as on a device."
)
DECAY = "So short a run needs a short memory: the paper's decay belongs to thousands of steps."
UNCAPPED = (
    "The paper trains ImageNet networks with either activation. Where the caps are only taken off "
    '(`relu6 = "relu"`), the network computes something else, and says how often.'
)
FOLDED = (
    "The paper shows one layer of MobileNet-v1; here all convolutions with a BatchNorm count, "
    "channel by channel."
)
BYTES = (
    "A small network has relatively more bytes that are no weights: names, shapes, a scale and a "
    "bias a channel. fp16 and weight_only compute in float on a CPU, dynamic quantizes "
    "activations at run time."
)
TERNARY = (
    "FGQ was shown on ResNets of ImageNet. First and last layer are in 8 bits; new BatchNorm "
    "statistics are matched biases and a gain a channel here, on 100 images. Depthwise kernels "
    "have one input channel each, so groups take neighbouring positions."
)
KERNELS = (
    "LiteRT has no ternary kernel: the file holds 8-bit codes (4-bit ones for `twn`), so what it "
    "would save is computed by hand (packed), and what it does save in a zip is measured."
)
DESKTOP = (
    "The paper and the documentation timed a phone's big core; this is a desktop or server CPU "
    "with today's XNNPACK, whose float kernels are good. Ratios, not milliseconds, can be compared."
)
RANDOM = (
    "The GoogLeNets have random weights: time and bytes do not depend on what they know. Without "
    "auxiliary classifiers and dropout, which inference does not have."
)
SECTIONS: Table[Section] = Table(
    "section",
    {
        "table2": Section(
            "Table 2: weights in 8 bits, nothing trained",
            partial(ptq.table, ptq.WEIGHTS, {}, ptq.weights_only, {}),
            published.TABLE_2,
            (SIMULATED, CHECKPOINT, NEARER, SMALL, GRID),
        ),
        "table3": Section(
            "Table 3: weights and activations in 8 bits, nothing trained",
            partial(ptq.table, ptq.ALL, ptq.INTEGERS, ptq.all_integers, {}),
            published.TABLE_3,
            (SIMULATED, RANGES, INTEGERS),
        ),
        "table4": Section(
            "Table 4: trained on the integers, 8 bits",
            trained.table_4,
            published.TABLE_4,
            (TRAINED, SYMMETRIC),
        ),
        "table5": Section(
            "Table 5: weights in 4 bits",
            partial(ptq.table, ptq.FOUR, ptq.FOUR_INTEGERS, ptq.four_bits, {"QAT, channel": "w4"}),
            published.TABLE_5,
            (SIMULATED, RANGES, NEARER, TRAINED, FOUR, SLOW),
        ),
        "table6": Section(
            "Table 6: activations in 4 bits",
            partial(
                ptq.table,
                ptq.FOUR_ACTIVATIONS,
                {},
                ptq.four_bit_activations,
                {"QAT w8 a4": "w8a4", "QAT w4 a8": "w4"},
            ),
            published.TABLE_6,
            (SIMULATED, RANGES, TRAINED, NO_KERNEL, SLOW),
        ),
        "norms": Section(
            "BatchNorm in training: corrected, frozen, naive",
            norms.run,
            published.NORMS,
            (TRAINED,),
        ),
        "rounding": Section(
            "Stochastic against deterministic rounding in training",
            trained.rounding,
            published.ROUNDING,
            (TRAINED, ROUNDED),
        ),
        "average": Section(
            "A moving average of the weights", trained.average, published.AVERAGE, (TRAINED, DECAY)
        ),
        "relu": Section("ReLU against ReLU6", relu.run, published.RELU, (TRAINED, UNCAPPED)),
        "folding": Section(
            "Appendix A: what folding BatchNorm does to the channels of a weight",
            folding.run,
            published.FOLDING,
            (FOLDED,),
        ),
        "half": Section(
            "Half the bytes: float16 and its rivals", half.run, published.HALF, (BYTES, SMALL)
        ),
        "ternary": Section(
            "FGQ: ternary weights in groups", ternary.run, published.TERNARY, (TERNARY, KERNELS)
        ),
        "speed": Section(
            "Jacob's table of size and time, and a file that is smaller and slower",
            speed.run,
            published.SPEED,
            (DESKTOP, RANDOM),
        ),
    },
)
