"""Why a weight file may ask for a call. None is ever made: what is here is answered by a stand-in.

A call that is not here is refused by its name, because a file that asks to run something is not
to be trusted, whatever else it holds. What tensors need has handlers in ``known_calls``; the rest
is the small change of hyper-parameters and whole models that were pickled: enum members, partial
functions, times, paths. Of other libraries every *class* may be named, as its instance stays a name
with arguments; functions may not, and nothing of Python's own library that is not listed.
"""

import sys
from typing import Final

__all__ = ["REASONS", "is_foreign_class", "reason_of"]

_OLD: Final = "how Python 2 called it"
_BYTES: Final = "plain bytes that can change"
_TIME: Final = "when a file was written"
_PATH: Final = "where data lay; a path is not opened"
_ENUM: Final = "a member of an enum of Python's own, pickled as class and value"
_PLAIN: Final = "a plain value"
_OBJECT: Final = "how copyreg names the making of an object, whose class is not looked up"
_RANDOM: Final = "the state of a random number generator, saved to resume a training"

#: What may be asked for, and why; where tensors are told from it, ``known_calls`` does so.
REASONS: Final[dict[str, str]] = {
    "__builtin__.bytearray": _BYTES,
    "__builtin__.complex": _PLAIN,
    "__builtin__.getattr": _OLD,
    "__builtin__.frozenset": _OLD,
    "__builtin__.list": _OLD,
    "__builtin__.set": _OLD,
    "__builtin__.slice": _OLD,
    "__builtin__.tuple": _OLD,
    "__builtin__.range": _OLD,
    "__builtin__.xrange": _OLD,
    "_codecs.encode": "bytes of Python 3 in old protocols: text that stands for bytes",
    "_operator.or_": "flags that are set together",
    "builtins.bytearray": _BYTES,
    "builtins.complex": _PLAIN,
    "builtins.frozenset": _PLAIN,
    "builtins.getattr": "a method that was stored on a module, as Ultralytics does",
    "builtins.list": _PLAIN,
    "builtins.range": _PLAIN,
    "builtins.set": _PLAIN,
    "builtins.slice": "a part of a sequence, in hyper-parameters",
    "builtins.tuple": _PLAIN,
    "collections.Counter": "the milestones of torch's MultiStepLR",
    "collections.OrderedDict": "every state dict is one",
    "collections.defaultdict": "the state of an optimizer is one",
    "collections.deque": "the last losses that a logger keeps",
    "copy_reg.__newobj__": _OBJECT,
    "copy_reg._reconstructor": _OBJECT,
    "copyreg.__newobj__": _OBJECT,
    "copyreg._reconstructor": _OBJECT,
    "datetime.date": _TIME,
    "datetime.datetime": _TIME,
    "datetime.time": _TIME,
    "datetime.timedelta": _TIME,
    "datetime.timezone": _TIME,
    "decimal.Decimal": _PLAIN,
    "fractions.Fraction": _PLAIN,
    "functools.partial": "a layer's class with options, as timm and Lightning store them",
    "http.HTTPStatus": _ENUM,
    "inspect._ParameterKind": _ENUM,
    "ipaddress.IPv4Address": _PLAIN,
    "ipaddress.IPv6Address": _PLAIN,
    "logging.getLogger": "the logger of a module that was pickled whole",
    "numpy._core.multiarray._reconstruct": "every array is made so",
    "numpy._core.multiarray.scalar": "one number of numpy",
    "numpy._core.numeric._frombuffer": "arrays in protocol 5",
    "numpy.core.multiarray._reconstruct": "every array is made so (numpy 1)",
    "numpy.core.multiarray.scalar": "one number of numpy (numpy 1)",
    "numpy.core.numeric._frombuffer": "arrays in protocol 5 (numpy 1)",
    "numpy.dtype": "the type of an array",
    "numpy.random._pickle.__bit_generator_ctor": _RANDOM,
    "numpy.random._pickle.__generator_ctor": _RANDOM,
    "numpy.random._pickle.__randomstate_ctor": _RANDOM,
    "numpy.random.bit_generator.__pyx_unpickle_SeedSequence": _RANDOM,
    "operator.attrgetter": "the key of a sort, in hyper-parameters",
    "operator.itemgetter": "the key of a sort, in hyper-parameters",
    "operator.methodcaller": "the key of a sort, in hyper-parameters",
    "pathlib.Path": _PATH,
    "pathlib.PosixPath": _PATH,
    "pathlib.PurePath": _PATH,
    "pathlib.PurePosixPath": _PATH,
    "pathlib.PureWindowsPath": _PATH,
    "pathlib.WindowsPath": _PATH,
    "pathlib._local.Path": _PATH,
    "pathlib._local.PosixPath": _PATH,
    "pathlib._local.PurePath": _PATH,
    "pathlib._local.PurePosixPath": _PATH,
    "pathlib._local.PureWindowsPath": _PATH,
    "pathlib._local.WindowsPath": _PATH,
    "random.Random": _RANDOM,
    "re.RegexFlag": _ENUM,
    "re._compile": "a pattern that chooses parameters by name; it is not compiled",
    "signal.Signals": _ENUM,
    "torch.Generator": _RANDOM,
    "torch.Size": "the sizes of a tensor",
    "torch._tensor._rebuild_from_type_v2": "a tensor of a subclass, or with attributes",
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": "tensors of XLA and other devices",
    "torch._utils._rebuild_device_tensor_from_numpy": "tensors of XLA and other devices",
    "torch._utils._rebuild_meta_tensor_no_storage": "a tensor without values; left out and named",
    "torch._utils._rebuild_mlc_tensor": "a tensor of an Apple device, saved as an array",
    "torch._utils._rebuild_nested_tensor": "a nested tensor; left out and named",
    "torch._utils._rebuild_parameter": "a tensor that is trained",
    "torch._utils._rebuild_parameter_with_state": "a tensor that is trained, with attributes",
    "torch._utils._rebuild_qtensor": "a quantized tensor; left out and named",
    "torch._utils._rebuild_sparse_csr_tensor": "a sparse tensor; left out and named",
    "torch._utils._rebuild_sparse_tensor": "a sparse tensor; left out and named",
    "torch._utils._rebuild_tensor": "a tensor before torch 0.4",
    "torch._utils._rebuild_tensor_v2": "a tensor, as torch writes it since 0.4",
    "torch._utils._rebuild_tensor_v3": "a tensor of a newer type, such as uint16",
    "torch._utils._rebuild_wrapper_subclass": "a tensor made of others; left out and named",
    "torch._utils._rebuild_xla_tensor": "a tensor of XLA, saved as an array",
    "torch.device": "where a tensor was",
    "torch.jit._pickle.build_boollist": "a list of TorchScript",
    "torch.jit._pickle.build_doublelist": "a list of TorchScript",
    "torch.jit._pickle.build_intlist": "a list of TorchScript",
    "torch.jit._pickle.build_tensorlist": "a list of TorchScript",
    "torch.jit._pickle.restore_type_tag": "a list or dictionary of TorchScript with its type",
    "torch.nn.parameter.UninitializedBuffer": "a lazy module's; left out and named",
    "torch.nn.parameter.UninitializedParameter": "a lazy module's; left out and named",
    "torch.storage._load_from_bytes": "the values of a tensor in a plain pickle; read by us too",
    "torch.serialization._get_layout": "how a tensor's elements are laid out",
    "uuid.SafeUUID": _ENUM,
    "uuid.UUID": _PLAIN,
    "zoneinfo.ZoneInfo._unpickle": _TIME,
}

_A_CLASS: Final = "an instance of another library's class, such as an enum of hyper-parameters"
_OWN: Final = sys.stdlib_module_names | {
    "__builtin__", "cPickle", "cStringIO", "commands", "copy_reg", "exceptions", "os2emxpath",
    "popen2", "StringIO", "urllib2", "UserDict",
}  # fmt: skip


def is_foreign_class(name: str) -> bool:
    """Whether a dotted name is that of a class, by the way it is written, outside Python's library.

    Example:
        >>> is_foreign_class("timm.layers.format.Format"), is_foreign_class("subprocess.Popen")
        (True, False)
    """
    module, _, last = name.rpartition(".")
    top = module.partition(".")[0]
    is_class = last.lstrip("_")[:1].isupper() and last.isidentifier()
    return bool(top) and top not in _OWN and is_class


def reason_of(name: str) -> str:
    """Why the call of a name is answered; "" where it is refused."""
    if name in REASONS:
        return REASONS[name]
    return _A_CLASS if is_foreign_class(name) else ""
