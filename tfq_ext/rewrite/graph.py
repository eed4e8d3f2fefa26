"""A Keras model as a list of calls, and its replay: every rewriting is an interpreter of that list.

A stage never edits a graph. It reads the calls of a functional model in execution order and makes
them again, one by one, on new symbolic tensors; what it wants changed it calls differently.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tfq_ext._optional import need
from tfq_ext.errors import ModelError

keras = need("keras", why="Rewriting a Keras model")

Call = Callable[["Node", tuple[Any, ...], dict[str, Any]], Any]
Head = Callable[["Ref", Any], Any]


@dataclass(frozen=True)
class Ref:
    """One tensor of a model.

    Args:
        key: identifies it within its flow.
        shape: None where open, the batch included.
        dtype: "float32", "int32", ...
        name: Keras' own.
    """

    key: int
    shape: tuple[int | None, ...]
    dtype: str
    name: str


@dataclass(frozen=True, eq=False)
class Node:
    """One call of a layer or operation.

    Args:
        operation: the Keras layer or `keras.ops` operation that is called.
        args, kwargs: its arguments, a Ref in place of every tensor.
        outputs: nested structure of Refs.
    """

    operation: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    outputs: Any

    @cached_property
    def kind(self) -> str:
        """Class name of the operation: "Conv2D", "Add", ..."""
        return type(self.operation).__name__

    @cached_property
    def inputs(self) -> tuple[Ref, ...]:
        """The tensors that it reads, in order of its arguments."""
        flat = keras.tree.flatten((self.args, dict(self.kwargs)))
        return tuple(x for x in flat if isinstance(x, Ref))

    @cached_property
    def results(self) -> tuple[Ref, ...]:
        """The tensors that it writes."""
        return tuple(keras.tree.flatten(self.outputs))

    @property
    def output(self) -> Ref:
        """Its first result."""
        return self.results[0]


@dataclass(frozen=True, eq=False)
class Flow:
    """The calls of one functional model in execution order; nested models are one call each."""

    name: str
    inputs: Any
    outputs: Any
    nodes: tuple[Node, ...]

    @cached_property
    def producer(self) -> dict[Ref, Node]:
        """tensor -> the call that writes it; inputs are absent."""
        return {ref: node for node in self.nodes for ref in node.results}

    @cached_property
    def consumers(self) -> dict[Ref, list[Node]]:
        """tensor -> the calls that read it, each once, in order."""
        table: dict[Ref, list[Node]] = {}
        for node in self.nodes:
            for ref in dict.fromkeys(node.inputs):
                table.setdefault(ref, []).append(node)
        return table

    @cached_property
    def heads(self) -> tuple[Ref, ...]:
        """The model's inputs, flat."""
        return tuple(keras.tree.flatten(self.inputs))

    @cached_property
    def results(self) -> tuple[Ref, ...]:
        """The model's outputs, flat."""
        return tuple(keras.tree.flatten(self.outputs))

    def calls_of(self, operation: Any) -> list[Node]:
        """Every call of one (perhaps shared) layer."""
        return [node for node in self.nodes if node.operation is operation]

    def only_reader(self, ref: Ref) -> Node | None:
        """The call that alone reads a tensor which is no output of the model."""
        readers = self.consumers.get(ref, [])
        return readers[0] if len(readers) == 1 and ref not in self.results else None


def is_functional(model: Any) -> bool:
    """Whether the model knows its calls: functional, or a Sequential that has been built."""
    try:
        outputs = keras.tree.flatten(model.outputs)
        return bool(outputs) and all(hasattr(t, "_keras_history") for t in outputs)
    except (AttributeError, ValueError):
        return False


def read_flow(model: Any) -> Flow:
    """The calls of a functional or sequential model.

    Raises:
        ModelError: a subclassed model, whose calls nobody knows; `flat` traces those.
    """
    if not is_functional(model):
        raise ModelError(
            f"Model {model.name!r} ({type(model).__name__}) is no functional model, so its layers' "
            "order is not known. Build it by calling it once, or write it with the functional API."
        )
    inputs = list(keras.tree.flatten(model.inputs))
    refs: dict[int, Ref] = {}
    kept = []  # keeps the tensors alive, so that no id is used twice

    def ref(tensor: Any) -> Any:
        if not isinstance(tensor, keras.KerasTensor):
            return tensor
        kept.append(tensor)
        shape = tuple(tensor.shape)
        new = Ref(len(refs), shape, str(tensor.dtype), _name_of(tensor))
        return refs.setdefault(id(tensor), new)

    def structured(structure: Any) -> Any:
        return keras.tree.map_structure(ref, structure)

    heads = structured(_structure(model, "input", inputs))
    nodes = tuple(
        Node(
            node.operation,
            structured(tuple(node.arguments.args)),
            structured(dict(node.arguments.kwargs)),
            structured(_outputs_of(node)),
        )
        for node in _in_order(model, inputs)
    )
    outputs = structured(_structure(model, "output", list(model.outputs)))
    return Flow(str(model.name), heads, outputs, nodes)


def _name_of(tensor: Any) -> str:
    """Keras' name of a tensor; an input is called what its layer is."""
    operation = tensor._keras_history.operation
    return str(operation.name if isinstance(operation, keras.layers.InputLayer) else tensor.name)


def _structure(model: Any, which: str, flat: list[Any]) -> Any:
    """Inputs or outputs as the model takes and gives them: a dict stays a dict."""
    whole = getattr(model, f"_{which}s_struct", None)  # None for Sequential
    if whole is None:
        return flat[0] if len(flat) == 1 else flat
    return whole


def _outputs_of(node: Any) -> Any:
    outputs = list(node.output_tensors)
    return outputs[0] if len(outputs) == 1 else outputs


def _in_order(model: Any, inputs: list[Any]) -> Iterator[Any]:
    """The nodes between inputs and outputs, each after those that it reads."""
    done = {id(t) for t in inputs}
    stack: list[Any] = list(reversed(keras.tree.flatten(model.outputs)))
    while stack:
        tensor = stack[-1]
        if id(tensor) in done:
            stack.pop()
            continue
        history = tensor._keras_history
        node = history.operation._inbound_nodes[history.node_index]
        waiting = [t for t in node.input_tensors if id(t) not in done]
        if waiting:
            stack.extend(reversed(waiting))
            continue
        done.update(id(t) for t in node.output_tensors)
        if not node.is_input:
            yield node


def replay(flow: Flow, call: Call, *, head: Head | None = None, name: str | None = None) -> Any:
    """A new functional model: `call(node, args, kwargs)` makes each call of the flow again.

    Args:
        flow: what to make again.
        call: gets the node and its arguments as new symbolic tensors; returns what the node's
            outputs shall be, in the same number.
        head: gets each input's Ref and tensor; returns what its readers shall read.
        name: of the new model; the old one's by default.
    """
    inputs = keras.tree.map_structure(
        lambda ref: keras.Input(batch_shape=ref.shape, dtype=ref.dtype, name=ref.name), flow.inputs
    )
    read = inputs if head is None else keras.tree.map_structure(head, flow.inputs, inputs)
    return keras.Model(inputs, splice(flow, read, call), name=name or flow.name)


def splice(flow: Flow, inputs: Any, call: Call) -> Any:
    """Make a flow's calls again on tensors that are there already; returns its outputs.

    Args:
        flow: what to make again.
        inputs: symbolic tensors, as many as the flow has inputs.
        call: as for `replay`.
    """
    heads = keras.tree.flatten(flow.inputs)
    values: dict[Ref, Any] = dict(zip(heads, keras.tree.flatten(inputs), strict=True))

    def filled(structure: Any) -> Any:
        return keras.tree.map_structure(lambda x: values[x] if isinstance(x, Ref) else x, structure)

    for node in flow.nodes:
        outputs = call(node, filled(node.args), filled(dict(node.kwargs)))
        found = keras.tree.flatten(outputs)
        if len(found) < len(node.results):
            raise ModelError(f"{node.kind} {node.operation.name!r} gave {len(found)} tensors.")
        values.update(zip(node.results, found, strict=False))
    return filled(flow.outputs)
