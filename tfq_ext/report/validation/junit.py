"""Gates as JUnit XML, which every CI system shows."""

from __future__ import annotations

from xml.etree import ElementTree

from tfq_ext.validation.gate import FAIL, UNDECIDED, GateResult
from tfq_ext.validation.verdict import Validation


def junit(validation: Validation) -> str:
    """One test case a gate: failure for a missed bound, error for one that nobody could judge."""
    gates = validation.gates
    suite = ElementTree.Element(
        "testsuite",
        name=f"tfq validate {_clean(validation.name)}",
        tests=str(len(gates)),
        failures=str(sum(gate.verdict == FAIL for gate in gates)),
        errors=str(sum(gate.verdict == UNDECIDED for gate in gates)),
        time=f"{validation.origin.seconds:.3f}",
        timestamp=validation.origin.when,
    )
    for gate in gates:
        suite.append(_case(gate, validation.name))
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'


def _case(gate: GateResult, name: str) -> ElementTree.Element:
    case = ElementTree.Element("testcase", classname=_clean(name), name=_clean(gate.name))
    words = _clean(
        f"{gate.value or 'not measured'}, {gate.bound}"
        + (f"; {gate.detail}" if gate.detail else "")
    )
    kinds = {FAIL: "failure", UNDECIDED: "error"}
    if gate.verdict in kinds:
        ElementTree.SubElement(case, kinds[gate.verdict], message=words).text = words
    else:
        ElementTree.SubElement(case, "system-out").text = words
    return case


def _clean(text: str) -> str:
    """Without the control characters that XML 1.0 cannot hold, whatever a model calls its parts."""
    return "".join(
        c if c in "\t\n" or (ord(c) >= 32 and not 0xD800 <= ord(c) < 0xE000 and ord(c) < 0xFFFE)
        else "?"
        for c in text
    )  # fmt: skip
