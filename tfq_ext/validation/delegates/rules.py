"""What can be wrong with a file on a delegate."""

from __future__ import annotations

from tfq_ext._table import Table
from tfq_ext.validation.finding import Rule

_TRIED = "own measurement with the GPU accelerator of the ai-edge-litert wheel"
_CPU = "own measurement on the CPU; emulation of fp16 accumulation that agrees with the GPU's bits"
_FP32 = (
    "Have the GPU compute in fp32: setPrecisionLossAllowed(false) in Android's GpuDelegate, "
    "is_precision_loss_allowed=0 in C, GpuOptions(enforce_f32=True) in LiteRT."
)

RULES: Table[Rule] = Table(
    "rule",
    {
        rule.id: rule
        for rule in (
            Rule(
                "gpu-wrong",
                "error",
                "The GPU delegate gives other numbers than the CPU.",
                "A phone that takes the GPU then answers differently, without any error.",
                "tfq delegates --bisect names the first op that goes wrong: leave it to the CPU or "
                "write it another way; if only fp16 is wrong, compute in fp32.",
                _TRIED,
            ),
            Rule(
                "gpu-died",
                "error",
                "The GPU delegate ends the process on this file.",
                "The app that loads it crashes, and cannot catch that.",
                "tfq delegates --bisect names the op; write it another way (a copy in between for "
                "an op that reads one tensor twice), or keep the model on the CPU.",
                _TRIED,
            ),
            Rule(
                "gpu-refused",
                "warning",
                "The GPU delegate does not take this file at all.",
                "It runs on the CPU, or not at all where the app allows the GPU only.",
                "Use ops and types that it takes: float or 8-bit, not 16-bit activations.",
                _TRIED,
            ),
            Rule(
                "gpu-refused-op",
                "warning",
                "The GPU delegate leaves an op to the CPU.",
                "Tensors travel between CPU and GPU around it, and LiteRT gives the GPU one "
                "stretch of ops only: what lies beyond stays on the CPU too.",
                "Replace the op (RESHAPE for SQUEEZE and EXPAND_DIMS, x / sqrt(sum x^2) for "
                "L2_NORMALIZATION), or move it to the end of the model.",
                _TRIED,
            ),
            Rule(
                "gpu-known-wrong",
                "error",
                "The file holds an op that the GPU delegate is known to compute wrongly.",
                "It gives wrong numbers, or dies, without an error that an app could see.",
                "Write the op another way; see the message.",
                _TRIED,
            ),
            Rule(
                "gpu-known-refused",
                "info",
                "The file holds an op that the GPU delegate is known to refuse.",
                "Part of the model stays on the CPU, or all of it.",
                "Replace the op (RESHAPE for SQUEEZE and EXPAND_DIMS, x / sqrt(sum x^2) for "
                "L2_NORMALIZATION), or move it to the end of the model.",
                _TRIED,
            ),
            Rule(
                "gpu-not-checked",
                "info",
                "The GPU delegate was not run.",
                "Nothing is known about this file on a GPU.",
                "Install a driver (tools/install_software_gpu.sh has one in software), or try the "
                "file on the phone.",
                "own check",
            ),
            Rule(
                "fp16-not-really",
                "info",
                "The driver computed in fp32 although fp16 was allowed.",
                "The fp16 figures of this machine say nothing about a phone.",
                "Check with a driver that has fp16 shaders (Mesa's llvmpipe 25, or a real GPU).",
                _TRIED,
            ),
            Rule(
                "gpu-fp16-overflow",
                "error",
                "Values pass 65504, the largest number of fp16.",
                "They become infinite; a later ReLU, minimum or softmax hides that, and the answer "
                "is wrong without a NaN in it.",
                f"Rescale the layer, cap it with ReLU6, or write masks as -30000. {_FP32}",
                _CPU,
            ),
            Rule(
                "gpu-fp16-accumulation",
                "warning",
                "An op adds up so many products that fp16 loses them.",
                "GPUs add in fp16 where precision loss is allowed: once the sum is 2048 times a "
                "product, the product is gone.",
                f"Split the op over channels, or centre its inputs. {_FP32}",
                _CPU,
            ),
            Rule(
                "gpu-fp16-underflow",
                "warning",
                "Values are too small for fp16: they lose their digits or become 0.",
                "An epsilon that becomes 0 turns a division or a root into infinity; small "
                "activations lose their content.",
                f"Scale the tensor up, or use an epsilon of at least 1e-4. {_FP32}",
                _CPU,
            ),
        )
    },
)
