"""What a forward pass uses up to a cut, found by autograd: the reference that plans are held to.

Nothing of frostline is used. The pass is stopped at the cut, the outputs of everything that was
called before it (modules and functions) are summed; the parameters with a gradient are the list.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves


class _Cut(Exception):  # noqa: N818  (no error)
    """The pass has come to the cut."""


class _Outputs(TorchFunctionMode):
    """Keeps what functions and modules return, as long as it depends on a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Tensor] = []

    def keep(self, value: Any) -> None:
        for leaf in tree_leaves(value):
            if isinstance(leaf, Tensor) and leaf.grad_fn is not None:
                self.kept.append(leaf)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        self.keep(output)
        return output


def call(model: nn.Module, example: Any) -> Any:
    return model(*example) if isinstance(example, tuple) else model(example)


def norm_tensors(model: nn.Module) -> set[str]:
    """Names of the tensors of every BatchNorm: of all modules with running statistics."""
    found = set()
    for path, module in model.named_modules(remove_duplicate=False):
        if hasattr(module, "running_mean"):
            prefix = f"{path}." if path else ""
            found |= {prefix + name for name in module.state_dict()}
    return found


def used_by_autograd(
    model: nn.Module, example: Any, *, before: str | None = None, after: str | None = None
) -> set[str]:
    """Names of the parameters that a pass uses before one module is entered first.

    In eval mode, or in train mode where the model can be called so and gets to that module.

    Args:
        model: all of its parameters require a gradient.
        example: a tensor, a list of images, or a tuple of arguments.
        before: the module at whose entry the pass is cut.
        after: instead, the module at whose return it is.
    """
    used = _used(model, example, before, after, training=False)
    assert used is not None, "the cut is on the way"
    return used | (_used(model, example, before, after, training=True) or set())


def _used(
    model: nn.Module, example: Any, before: str | None, after: str | None, *, training: bool
) -> set[str] | None:
    """Of one pass; None where it does not come to the cut."""
    outputs, modules = _Outputs(), dict(model.named_modules(remove_duplicate=False))
    handles = []

    def cut(*_: Any) -> None:
        raise _Cut

    def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
        outputs.keep(output)

    if before is not None:
        handles.append(modules[before].register_forward_pre_hook(cut, prepend=True))
    handles += [module.register_forward_hook(keep) for module in model.modules()]
    if after is not None:
        handles.append(modules[after].register_forward_hook(cut))
    try:
        with _mode(model, training=training), outputs:
            call(model, example)
    except _Cut:
        return _with_gradient(model, outputs.kept)
    except Exception:
        if not training:
            raise
    finally:
        for handle in handles:
            handle.remove()
    return None


@contextlib.contextmanager
def _mode(model: nn.Module, *, training: bool) -> Iterator[None]:
    """Eval or train mode, in which BatchNorm stays in eval mode; then flags and buffers as before.

    In train mode BatchNorm asks for more than one value a channel, and uses the same tensors.
    """
    flags = {module: module.training for module in model.modules()}
    values = {name: value.clone() for name, value in model.named_buffers()}
    model.eval()
    for module in model.modules():
        module.training = training and not hasattr(module, "running_mean")
    try:
        yield
    finally:
        for module, flag in flags.items():
            module.training = flag
        with torch.no_grad():
            for name, value in model.named_buffers() if training else ():
                same = name in values and value.shape == values[name].shape
                if same and not torch.equal(value, values[name]):
                    value.copy_(values[name])


def _with_gradient(model: nn.Module, outputs: Sequence[Tensor]) -> set[str]:
    """Names of the parameters that some outputs depend on."""
    named = dict(model.named_parameters(remove_duplicate=False))
    if not outputs:
        return set()
    total = torch.stack([x.real.float().sum() for x in outputs]).sum()
    parameters = list(dict.fromkeys(named.values()))
    gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    used = {
        id(p) for p, gradient in zip(parameters, gradients, strict=True) if gradient is not None
    }
    return {name for name, parameter in named.items() if id(parameter) in used}


def three_steps(model: nn.Module, loss: Callable[[], Tensor]) -> set[str]:
    """Names of the tensors that three steps with momentum and weight decay move."""
    before = {name: value.detach().clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2, momentum=0.9, weight_decay=0.1)
    for _ in range(3):
        model.train()
        optimizer.zero_grad()
        loss().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return {name for name, value in model.state_dict().items() if not _same(value, before[name])}


def _same(one: Tensor, other: Tensor) -> bool:
    return one.detach().cpu().numpy().tobytes() == other.cpu().numpy().tobytes()


def any_loss(output: Any) -> Tensor:
    """A scalar of everything that a model returns."""
    leaves = [x for x in tree_leaves(output) if isinstance(x, Tensor) and x.requires_grad]
    return torch.stack([(leaf.float() + 1).square().mean() for leaf in leaves]).sum()
