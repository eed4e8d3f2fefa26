"""What `print(result)` shows: plain text, no more than a dozen lines."""

from __future__ import annotations

from tfq_ext.report import findings, words
from tfq_ext.result import Result


def summary(result: Result) -> str:
    """Size, integer coverage, what was read back, how near to float, and what to look at."""
    a = result.account
    lines = [headline(result), findings.recipe_line(result)]
    if result.recipe.mode == "static":
        lines.append(findings.integer_share(a))
        lines += [
            f"  float: {row.op} {words.short(row.tensor)}: {row.reason}" for row in a.float_ops[:2]
        ]
    lines.append(f"{a.read_back}.")
    lines += [
        line
        for line in (
            findings.sample_line(result),
            findings.variant_line(a.end_to_end),
            findings.release_line(a),
            findings.learned_line(a),
        )
        if line
    ]
    for row, level in findings.noisiest(a.ranges, 1):
        lines.append(f"Noisiest range: {words.short(row.tensors[0])}, {words.db(level)}.")
    for weight in findings.weakest(a.weights, 1):
        lines.append(
            f"Weakest weight: {weight.op} {words.short(weight.tensor)}, "
            f"{words.db(weight.sqnr_db)} at {weight.bits} bits."
        )
    for ruined in findings.ruined_inputs(a.ranges)[:1]:
        lines.append(f"Look at this: {ruined}.")
    return "\n".join(lines)


def headline(result: Result) -> str:
    """Kind of file, its size beside the float one's, and what it weighs in a zip."""
    a = result.account
    share = a.bytes_after / max(a.bytes_before, 1)
    return (
        f"{result.recipe.mode} .tflite, {words.size(a.bytes_after)}: {share:.0%} of the float "
        f"file's {words.size(a.bytes_before)}; zipped {words.size(result.bytes_zipped)}"
    )
