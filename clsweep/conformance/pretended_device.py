"""A pretended GPU: what a method does on one, looked at where there is none.

Tensors "on cuda:0" are ordinary ones whose storage is noted, so numbers are the processor's.
One mode answers calls that name or ask for a device, another sees every operation, also those of
the backward pass, and carries the note from arguments to results. What a GPU refuses, or what
would make the processor wait for it inside a training step, is noted with its line, and the run
goes on.

It is no GPU: functions of torch written in Python that ask for a device themselves, generators
made on a GPU, and code that is not of torch, are not followed.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from clsweep.methods import guarded_hooks
from clsweep.methods.base import Method, Phase
from clsweep.user_code import is_users

CUDA = torch.device("cuda", 0)
_OF_METHOD = ("predict", "begin", "fit", "measure", "absorb", "counters")
# What runs in every step, and what runs in it and may read values (`project`), or runs outside.
_IN_STEP = ("loss", "steer", "foresee", "settle", "track")
_OF_PHASE = ("open", "note", "pull", "project", "draw", "survey", "close")
_WAITS = {
    "_local_scalar_dense": "a value is read (item, bool, float or int of a tensor)",
    "nonzero": "nonzero",
    "masked_select": "masked_select",
    "_unique2": "unique",
    "unique_dim": "unique",
    "unique_consecutive": "unique_consecutive",
    "bincount": "bincount",
    "equal": "torch.equal",
}
_INDEXES = ("index", "index_put", "index_put_", "_index_put_impl_")
_COPIES = ("copy_", "_foreach_copy_")


class PretendedDevice:
    """Which tensors are on it, and what went wrong.

    Attributes:
        faults: a sentence each with its file and line, in the order in which they were seen.
    """

    def __init__(self) -> None:
        """Nothing is on it."""
        self.faults: dict[str, bool] = {}  # sentence -> whether its line is the user's
        # By the address of the storage, which no other takes while it is held here.
        self._storages: dict[int, torch.UntypedStorage] = {}
        self._step_hook = ""
        # Whether a function of torch runs that was given a tensor on it. What that makes of no
        # tensor, as `one_hot` its zeros, is on it too.
        self.is_inside = False

    def ran(self, function: Callable[[], Any]) -> Any:
        """What a function returns that is called while 'cuda' names this device.

        Args:
            function: without arguments.
        """
        with self._active():
            return function()

    @contextmanager
    def _active(self) -> Iterator[None]:
        with ExitStack() as stack:
            for name, answer in (("is_available", True), ("is_current_stream_capturing", False)):
                stack.enter_context(mock.patch.object(torch.cuda, name, return_value=answer))
            stack.enter_context(_Operations(self))
            stack.enter_context(_Calls(self))
            yield

    def holds(self, tensor: Tensor) -> bool:
        """Whether a tensor is on it."""
        storage = _storage(tensor)
        return storage is not None and storage._cdata in self._storages

    def put(self, tensor: Tensor, *, here: bool = True) -> None:
        """Note that a tensor is on it, with all that share its storage.

        Args:
            tensor: a new one.
            here: whether it is; False for one on the processor.
        """
        storage = _storage(tensor)
        if storage is not None and here:
            self._storages[storage._cdata] = storage
        elif storage is not None:
            self._storages.pop(storage._cdata, None)

    def moved(self, tensor: Tensor, *, here: bool) -> Tensor:
        """A tensor on the other device; itself where it is there already."""
        if self.holds(tensor) == here:
            return tensor
        if not here:
            self.waits("a copy to the processor")
        if tensor.requires_grad and torch.is_grad_enabled():
            found: Tensor = _Move.apply(tensor, self, here)
            return found
        copied = tensor.clone()
        self.put(copied, here=here)
        return copied

    def refused(self, what: str) -> None:
        """Note what a GPU refuses.

        Args:
            what: a sentence without its place.
        """
        place, is_own = _place()
        self.faults.setdefault(f"{what} ({place})", is_own)

    def waits(self, what: str) -> None:
        """Note what makes the processor wait for the GPU, if that is in a training step.

        Args:
            what: does.
        """
        # What guards methods of the user's reads values too, at the first calls of a hook alone.
        if self._step_hook and not _place()[0].startswith(guarded_hooks.__file__):
            self.refused(f"in every step {self._step_hook} waits for the GPU: {what}")

    def followed(self, method: Method) -> Method:
        """The same method, whose hooks are told apart.

        Args:
            method: hooks.
        """
        changed: dict[str, Any] = {n: self._hook(getattr(method, n)) for n in _OF_METHOD}
        for name in ("phases", "first_phases"):
            changed[name] = tuple(self._phase(phase) for phase in getattr(method, name))
        return dataclasses.replace(method, **changed)

    def said(self) -> str:
        """Up to three faults; those at lines of the user's, where there are any."""
        own = [text for text, is_own in self.faults.items() if is_own]
        return "; ".join((own or list(self.faults))[:3])

    def _phase(self, phase: Phase) -> Phase:
        changed: dict[str, Any] = {n: self._hook(getattr(phase, n)) for n in _OF_PHASE}
        for name in _IN_STEP:
            changed[name] = self._hook(getattr(phase, name), f"{name} of phase '{phase.name}'")
        return dataclasses.replace(phase, **changed)

    def _hook(
        self, hook: Callable[..., Any] | None, in_step: str = ""
    ) -> Callable[..., Any] | None:
        if hook is None:
            return None

        def called(*args: Any) -> Any:
            self._step_hook, before = in_step, self._step_hook
            try:
                return hook(*args)
            finally:
                self._step_hook = before

        return called


class _Move(torch.autograd.Function):
    """A copy to the other device, whose gradient comes back."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, device: PretendedDevice, here: bool) -> Tensor:
        ctx.device, ctx.here = device, here
        copied = tensor.clone()
        device.put(copied, here=here)
        return copied

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return ctx.device.moved(grad, here=not ctx.here), None, None


class _Calls(TorchFunctionMode):
    """Answers what is asked of devices, before torch looks for a real one."""

    def __init__(self, device: PretendedDevice) -> None:
        super().__init__()
        self._device = device

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs, device = dict(kwargs or {}), self._device
        name, first = getattr(func, "__name__", ""), args[0] if args else None
        if isinstance(first, Tensor):
            if name == "__get__":
                return self._asked(func, first)
            if name in ("to", "cpu", "cuda"):
                return self._to(name, first, args[1:], kwargs)
            if name == "pin_memory":
                return first
            if name == "get_device" and device.holds(first):
                return 0
            if name in ("numpy", "__array__") and device.holds(first):
                device.refused("numpy cannot read a tensor on the GPU")
            if name == "tolist" and device.holds(first):
                device.waits("tolist")
            if name == "__deepcopy__":
                found = func(*args, **kwargs)
                device.put(found, here=device.holds(first))
                return found
        wanted = kwargs.get("device")
        if wanted is None:
            return self._inside(func, args, kwargs)
        here = _is_gpu(wanted)
        kwargs["device"] = "cpu"
        if here and kwargs.get("generator") is not None:
            device.refused(f"{name} draws on the GPU with a generator of the processor")
        found = func(*args, **kwargs)
        given = [one for one in tree_leaves(args) if isinstance(one, Tensor)]
        for one in tree_leaves(found):
            if isinstance(one, Tensor):
                if any(_storage(one) is _storage(other) for other in given):  # as_tensor
                    return device.moved(one, here=here)
                device.put(one, here=here)
        return found

    def _inside(self, func: Any, args: tuple[Any, ...], kwargs: Any) -> Any:
        device, before = self._device, self._device.is_inside
        given = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
        device.is_inside = any(map(device.holds, given))
        try:
            return func(*args, **kwargs)
        finally:
            device.is_inside = before

    def _asked(self, func: Any, tensor: Tensor) -> Any:
        found, asked = func(tensor), getattr(func, "__self__", None)
        if asked is torch.Tensor.device and self._device.holds(tensor):
            return CUDA
        if asked in (torch.Tensor.is_cuda, torch.Tensor.is_cpu) and self._device.holds(tensor):
            return asked is torch.Tensor.is_cuda
        return found

    def _to(self, name: str, tensor: Tensor, args: tuple[Any, ...], kwargs: Any) -> Tensor:
        here = {"cpu": False, "cuda": True}.get(name, self._device.holds(tensor))
        rest: list[Any] = []
        named = {key: value for key, value in kwargs.items() if key in ("dtype", "copy")}
        if name == "to":
            for one in (*args, kwargs.get("device"), kwargs.get("other")):
                if isinstance(one, Tensor):
                    here, named["dtype"] = self._device.holds(one), one.dtype
                elif isinstance(one, str | torch.device) or type(one) is int:
                    here = _is_gpu(one)
                elif isinstance(one, torch.dtype):
                    rest.append(one)
        found = tensor.to(*rest, **named) if rest or named else tensor
        return self._device.moved(found, here=here)


class _Operations(TorchDispatchMode):
    """Looks at every operation, and says where its results are."""

    def __init__(self, device: PretendedDevice) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._device = device

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs, device = kwargs or {}, self._device
        tensors = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
        there = [device.holds(one) for one in tensors]
        if not any(there):
            found = func(*args, **kwargs)
            if device.is_inside and not tensors and isinstance(found, Tensor):
                device.put(found)
            return found
        name = func._schema.name.partition("::")[2]
        if name in _COPIES:
            self._copied(name, args)
        elif name in _INDEXES:
            self._indexed(name, args)
        else:
            written = [args[0]] if _writes_first(func) and isinstance(args[0], Tensor) else []
            strays = [
                one
                for one, is_there in zip(tensors, there, strict=True)
                if not is_there and (one.dim() or any(one is other for other in written))
            ]
            if strays:
                shape = list(strays[0].shape)
                device.refused(f"{name} mixes devices: a tensor of shape {shape} is on the CPU")
        if kwargs.get("generator") is not None:
            device.refused(f"{name} draws on the GPU with a generator of the processor")
        if name in _WAITS:
            device.waits(_WAITS[name])
        found = func(*args, **kwargs)
        for one in tree_leaves(found):
            if isinstance(one, Tensor) and not any(one is other for other in tensors):
                device.put(one)
        return found

    def _copied(self, name: str, args: tuple[Any, ...]) -> None:
        to, source = args[0], args[1]
        pairs = [(to, source)] if name == "copy_" else list(zip(to, source, strict=True))
        if any(self._device.holds(b) and not self._device.holds(a) for a, b in pairs):
            self._device.waits("a copy to the processor")

    def _indexed(self, name: str, args: tuple[Any, ...]) -> None:
        device, indices = self._device, [one for one in args[1] if one is not None]
        values = [one for one in args[2:3] if isinstance(one, Tensor)]
        if not device.holds(args[0]) or any(one.dim() and not device.holds(one) for one in values):
            device.refused(f"{name} mixes devices: what is indexed or assigned is on the CPU")
        if any(not device.holds(one) for one in indices):
            device.waits("an index is on the CPU")
        fills = len(indices) == 1 and any(one.numel() == 1 for one in values)
        if any(one.dtype in (torch.bool, torch.uint8) for one in indices) and not fills:
            device.waits("indexing with a mask")


def _is_gpu(device: str | int | torch.device) -> bool:
    return isinstance(device, int) or torch.device(device).type == "cuda"


def _storage(tensor: Tensor) -> torch.UntypedStorage | None:
    """Where its numbers lie; None where it has no such place, as sparse tensors."""
    wrappers = torch._C._functorch
    while wrappers.is_functorch_wrapped_tensor(tensor):  # inside vmap or grad
        tensor = wrappers.get_unwrapped(tensor)
    return tensor.untyped_storage() if tensor.layout == torch.strided else None


def _writes_first(func: Any) -> bool:
    arguments = func._schema.arguments
    info = arguments[0].alias_info if arguments else None
    return info is not None and bool(info.is_write)


def _place() -> tuple[str, bool]:
    """'FILE, line N' of the innermost line of the user's in the hook, or else of clsweep's.

    With whether it is the user's.
    """
    frame: FrameType | None = sys._getframe(1)
    ours = ""
    while frame is not None:
        file, code = frame.f_code.co_filename, frame.f_code
        if file == __file__ and code.co_name in ("called", "ran"):
            break
        at = f"{file}, line {frame.f_lineno}"
        if is_users(file):
            return at, True
        if not ours and file != __file__ and _is_ours(frame):
            ours = at
        frame = frame.f_back
    return ours or "in torch", False


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).startswith("clsweep.")
