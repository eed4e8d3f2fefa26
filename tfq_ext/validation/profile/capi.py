"""The C library in the LiteRT wheel: the few functions that profiling needs, by ctypes.

Source: litert/c/*.h of LiteRT 2.x; the layout of an event as the library writes it (the public
header says two words of memory use where there are three), checked on every use by `stride`.
"""

from __future__ import annotations

import ctypes as c
import importlib.util
from pathlib import Path
from typing import Any

from tfq_ext.errors import TfqError

LIBRARY = "libLiteRt.so"
CPU = 1  # kLiteRtHwAcceleratorCpu
WRITE = 1  # kLiteRtTensorBufferLockModeWrite
HOST = 1  # kLiteRtTensorBufferTypeHostMemory
RANK = 8

Handle = c.c_void_p
_OUT = c.POINTER(Handle)
_SIZE_OUT = c.POINTER(c.c_size_t)


class Unavailable(TfqError, RuntimeError):
    """Per-op times cannot be had; the message says why."""


class Layout(c.Structure):
    """LiteRtLayout."""

    _fields_ = (
        ("rank", c.c_uint, 7),
        ("has_strides", c.c_bool, 1),
        ("dimensions", c.c_int32 * RANK),
        ("strides", c.c_uint32 * RANK),
    )


class TensorType(c.Structure):
    """LiteRtRankedTensorType."""

    _fields_ = (("element", c.c_int), ("layout", Layout))


class RawEvent(c.Structure):
    """ProfiledEventData."""

    _fields_ = (
        ("tag", c.c_char_p),
        ("kind", c.c_int),
        ("start_us", c.c_uint64),
        ("elapsed_us", c.c_uint64),
        ("memory", c.c_int64 * 6),
        ("node", c.c_uint64),
        ("subgraph", c.c_uint64),
        ("source", c.c_int),
    )


_TYPE = c.POINTER(TensorType)
_CALLBACK = c.CFUNCTYPE(None, c.c_void_p)
_S, _I, _TEXT = c.c_size_t, c.c_int, c.c_char_p
# Name (without "LiteRt") -> argument types. All return a status; 0 is success.
PROTOTYPES: dict[str, tuple[Any, ...]] = {
    "CreateEnvironment": (_I, c.c_void_p, _OUT),
    "CreateModelFromBuffer": (Handle, c.c_void_p, _S, _OUT),
    "CreateOptions": (_OUT,),
    "SetOptionsHardwareAccelerators": (Handle, _I),
    "CreateOpaqueOptions": (_TEXT, c.c_void_p, _CALLBACK, _OUT),
    "AddOpaqueOptions": (Handle, Handle),
    "CreateCompiledModel": (Handle, Handle, Handle, _OUT),
    "GetNumModelSignatures": (Handle, _SIZE_OUT),
    "GetModelSignature": (Handle, _S, _OUT),
    "GetSignatureKey": (Handle, c.POINTER(_TEXT)),
    "GetNumSignatureInputs": (Handle, _SIZE_OUT),
    "GetNumSignatureOutputs": (Handle, _SIZE_OUT),
    "GetSignatureInputName": (Handle, _S, c.POINTER(_TEXT)),
    "GetSignatureInputTensorByIndex": (Handle, _S, _OUT),
    "GetSignatureOutputTensorByIndex": (Handle, _S, _OUT),
    "GetRankedTensorType": (Handle, _TYPE),
    "CompiledModelResizeInputTensor": (Handle, _S, _S, c.POINTER(c.c_int), _S),
    "GetCompiledModelOutputTensorLayouts": (Handle, _S, _S, c.POINTER(Layout), c.c_bool),
    "GetCompiledModelInputBufferRequirements": (Handle, _S, _S, _OUT),
    "GetCompiledModelOutputBufferRequirements": (Handle, _S, _S, _OUT),
    "GetTensorBufferRequirementsBufferSize": (Handle, _SIZE_OUT),
    "CreateManagedTensorBuffer": (Handle, _I, _TYPE, _S, _OUT),
    "GetTensorBufferSize": (Handle, _SIZE_OUT),
    "LockTensorBuffer": (Handle, _OUT, _I),
    "UnlockTensorBuffer": (Handle,),
    "RunCompiledModel": (Handle, _S, _S, _OUT, _S, _OUT),
    "CompiledModelGetProfiler": (Handle, _OUT),
    "StartProfiler": (Handle,),
    "StopProfiler": (Handle,),
    "ResetProfiler": (Handle,),
    "GetNumProfilerEvents": (Handle, c.POINTER(_I)),
    "GetProfilerEvents": (Handle, _I, c.c_void_p),
}
STATUS = {
    1: "invalid argument",
    2: "out of memory",
    3: "runtime failure",
    4: "missing input",
    5: "unsupported",
    6: "not found",
    8: "wrong version",
    501: "invalid flatbuffer",
    504: "compilation failed",
}


def library_path() -> Path:
    """Where the wheel keeps it.

    Raises:
        Unavailable: no such file.
    """
    spec = importlib.util.find_spec("ai_edge_litert")
    folders = (spec.submodule_search_locations or []) if spec else []
    for folder in folders:
        if (path := Path(folder) / LIBRARY).is_file():
            return path
    raise Unavailable(f"this ai-edge-litert has no {LIBRARY}")


class Library:
    """The functions of PROTOTYPES as methods: `call("CreateOptions", ...)`.

    Args:
        path: of the library; None: the wheel's.

    Raises:
        Unavailable: it cannot be loaded, or lacks a function.
    """

    def __init__(self, path: str | Path | None = None):
        where = library_path() if path is None else Path(path)
        try:
            self._dll = c.CDLL(str(where))
        except OSError as error:
            raise Unavailable(f"{where.name} cannot be loaded ({error})") from None
        for name, arguments in PROTOTYPES.items():
            try:
                function = getattr(self._dll, f"LiteRt{name}")
            except AttributeError:
                raise Unavailable(f"{where.name} has no function LiteRt{name}") from None
            function.argtypes, function.restype = arguments, c.c_int
        self._kept: list[Any] = []  # what C holds pointers to

    def call(self, name: str, *arguments: Any) -> None:
        """Call, and turn a bad status into Unavailable."""
        status = getattr(self._dll, f"LiteRt{name}")(*arguments)
        if status:
            reason = STATUS.get(status, f"status {status}")
            raise Unavailable(f"LiteRt{name} says: {reason}")

    def handle(self, name: str, *arguments: Any) -> Handle:
        """Call a function whose last argument is a handle that it makes."""
        made = Handle()
        self.call(name, *arguments, c.byref(made))
        return made

    def size(self, name: str, of: Handle) -> int:
        """Call a function that counts."""
        count = c.c_size_t()
        self.call(name, of, c.byref(count))
        return count.value

    def text(self, name: str, *arguments: Any) -> str:
        """Call a function that names."""
        raw = c.c_char_p()
        self.call(name, *arguments, c.byref(raw))
        return (raw.value or b"").decode("utf-8", "backslashreplace")

    def keep(self, thing: Any) -> Any:
        """Hold on to memory for as long as the library lives."""
        self._kept.append(thing)
        return thing

    def add_option(self, options: Handle, identifier: str, toml: str) -> None:
        """Opaque options: a TOML text under an identifier; the text stays ours."""
        payload = self.keep(c.create_string_buffer(toml.encode("ascii")))
        nothing = self.keep(_CALLBACK(lambda data: None))
        made = self.handle(
            "CreateOpaqueOptions", identifier.encode("ascii"), c.cast(payload, Handle), nothing
        )
        self.call("AddOpaqueOptions", options, made)


_WORDS = 40  # room for one event, in 8-byte words; it takes 13
_MARK = 0xA5A5A5A5A5A5A5A5


def read_events(library: Library, profiler: Handle, room: int) -> list[RawEvent]:
    """The events recorded so far.

    Args:
        room: allocate for so many; there are `GetNumProfilerEvents`.

    Raises:
        Unavailable: an event is not as long as we think: another version of the library.
    """
    if room == 0:
        return []
    words = (c.c_uint64 * (room * _WORDS))(*([_MARK] * (room * _WORDS)))
    library.call("GetProfilerEvents", profiler, room, words)
    written = next((k + 1 for k in range(len(words) - 1, -1, -1) if words[k] != _MARK), 0)
    if written * 8 != c.sizeof(RawEvent) * room:
        raise Unavailable(
            f"an event of this library has {written * 8 / room:g} bytes, "
            f"not the {c.sizeof(RawEvent)} of LiteRT 2.3"
        )
    return list((RawEvent * room).from_buffer(words))
