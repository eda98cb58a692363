"""The callback under real Trainers of both packages, on the CPU."""

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from frostline.errors import AuditError, DependencyError, PlanError
from frostline.freezing import fingerprint
from frostline.lightning import FreezeCallback
from frostline.plans import FreezePlan

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:lightning"),  # few workers, no logger
    pytest.mark.filterwarnings("ignore::UserWarning:pytorch_lightning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),  # of Lightning about torch
]

PACKAGES = ("lightning.pytorch", "pytorch_lightning")
FROZEN = ("0.weight", "1.bias", "1.num_batches_tracked", "1.running_mean", "1.running_var",
          "1.weight")  # fmt: skip
PLAN = FreezePlan("by hand", FROZEN, "follow")  # in the names of the network, not of the module


def _network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(),
        nn.Conv2d(4, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2),
    )  # fmt: skip


def _module(package: str = PACKAGES[0], **changes: Any) -> Any:
    """A LightningModule; ``changes`` replace its methods."""

    def init(self: Any) -> None:
        super(kind, self).__init__()
        self.model = _network()
        self.example_input_array = torch.zeros(1, 3, 8, 8)
        self.modes = []

    def training_step(self: Any, batch: Any, _index: int) -> Tensor:
        x, y = batch
        loss = nn.functional.cross_entropy(self.model(x), y)
        self.modes.append(getattr(self.model, "_orig_mod", self.model)[1].training)
        return loss

    def configure_optimizers(self: Any) -> torch.optim.Optimizer:
        """Over all parameters, as most people write it; the decay alone would move the frozen."""
        return torch.optim.AdamW(self.parameters(), lr=0.05, weight_decay=0.5)

    methods: dict[str, Any] = {
        "__init__": init,
        "forward": lambda self, x: self.model(x),
        "training_step": training_step,
        "validation_step": lambda self, batch, index: None,
        "configure_optimizers": configure_optimizers,
    }
    kind: Any = type(
        "Classifier", (importlib.import_module(package).LightningModule,), methods | changes
    )
    return kind()


def _data() -> DataLoader[Any]:
    torch.manual_seed(1)
    return DataLoader(TensorDataset(torch.randn(8, 3, 8, 8) + 3, torch.arange(8) % 2), batch_size=4)


def _fit(module: Any, *callbacks: Any, package: str = PACKAGES[0], **options: Any) -> None:
    checkpoint = options.pop("ckpt_path", None)
    trainer = importlib.import_module(package).Trainer(
        **{"max_epochs": 2, "accelerator": "cpu", "logger": False, "callbacks": list(callbacks),
           "enable_checkpointing": False, "enable_progress_bar": False,
           "enable_model_summary": False, **options}
    )  # fmt: skip
    trainer.fit(module, _data(), _data(), ckpt_path=checkpoint)


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("plan", [PLAN, 1, "model.0", ["model.0.*", "model.1.*"]])
def test_weights_and_statistics_hold_under_train_and_weight_decay(package: str, plan: Any) -> None:
    module = _module(package)
    before = fingerprint(module)
    callback = FreezeCallback(plan)
    _fit(module, callback, package=package)
    assert callback.result is not None
    assert callback.result.passed
    after = fingerprint(module)
    moved = {name for name in before if before[name] != after[name]}
    assert moved == {name for name in before if name.removeprefix("model.") not in FROZEN}
    assert module.modes == [False] * 4  # though Lightning calls train()
    assert all(p.requires_grad for p in module.parameters())  # after the fit as before it
    assert not any(m._forward_pre_hooks for m in module.modules())


def test_without_the_callback_the_same_tensors_move() -> None:
    module = _module()
    before = fingerprint(module)
    _fit(module)
    assert before["model.1.running_mean"] != fingerprint(module)["model.1.running_mean"]
    assert before["model.0.weight"] != fingerprint(module)["model.0.weight"]


def test_a_resumed_training_is_held_to_its_first_beginning(tmp_path: Path) -> None:
    module = _module()
    file = tmp_path / "first.ckpt"
    saving = ModelCheckpoint(tmp_path, "first")
    _fit(module, FreezeCallback(PLAN), saving, max_epochs=1, enable_checkpointing=True)
    resumed, callback = _module(), FreezeCallback(PLAN)
    nn.init.zeros_(resumed.model[0].weight)  # the checkpoint's weights replace these
    _fit(resumed, callback, ckpt_path=file)
    assert callback.result is not None
    assert callback.result.passed
    assert torch.equal(resumed.model[0].weight, module.model[0].weight)

    stored = torch.load(file, weights_only=True)
    stored["state_dict"]["model.0.weight"] += 1e-3
    torch.save(stored, file)
    callback = FreezeCallback(PLAN)
    with pytest.raises(AuditError, match=r"1 changed \(model.0.weight\)"):
        _fit(_module(), callback, ckpt_path=file)
    assert callback.result is not None
    assert callback.result.changed == ("model.0.weight",)
    with pytest.raises(PlanError, match="trained with plan 'by hand', expected 'k=2'"):
        _fit(_module(), FreezeCallback(2), ckpt_path=file)


def test_a_plan_with_unknown_tensors_stops_before_training() -> None:
    module = _module()
    plan = FreezePlan("of another model", ("stem.conv.weight",), "live")
    with pytest.raises(PlanError, match="names 1 tensors that the model does not have"):
        _fit(module, FreezeCallback(plan))
    assert module.modes == []


def test_a_plan_that_leaves_nothing_stops_before_training() -> None:
    module = _module()
    with pytest.raises(PlanError, match="freezes every parameter of Classifier: nothing is left"):
        _fit(module, FreezeCallback(["*"]))
    assert module.modes == []
    assert all(p.requires_grad for p in module.parameters())


def test_what_is_set_free_is_frozen_again(caplog: pytest.LogCaptureFixture) -> None:
    def on_train_epoch_start(self: Any) -> None:
        self.model.requires_grad_(True)

    module = _module(on_train_epoch_start=on_train_epoch_start)
    callback = FreezeCallback(PLAN)
    _fit(module, callback)
    assert callback.result is not None
    assert callback.result.passed
    assert caplog.messages.count("batch 0: froze 3 parameters that were set free") == 2


def test_a_change_behind_its_back_is_found() -> None:
    def on_train_batch_end(self: Any, *_: Any) -> None:
        self.model[0].weight.data.mul_(1.001)

    module = _module(on_train_batch_end=on_train_batch_end)
    with pytest.raises(AuditError, match="the trial does not count"):
        _fit(module, FreezeCallback(PLAN))
    assert all(p.requires_grad for p in module.parameters())


def test_layers_built_in_configure_model_are_frozen_too() -> None:
    def configure_model(self: Any) -> None:
        self.model = _network()

    module = _module(configure_model=configure_model)
    del module.model
    callback = FreezeCallback(PLAN)
    _fit(module, callback)
    assert callback.result is not None
    assert callback.result.frozen == 6


def _rebuild(self: Any) -> None:
    self.model = _network()


def _fill(self: Any) -> None:
    if self.model[0].weight.is_meta:
        self.model = _network()


def _compile(self: Any) -> None:
    self.model = torch.compile(self.model, backend="eager")


def _setup(self: Any, stage: str) -> None:
    self.model = _network()


@pytest.mark.parametrize("plan", [1, PLAN, ["model.0.*", "model.1.*"]])
@pytest.mark.parametrize(
    ("build", "meta"),
    [(_rebuild, False), (_fill, True), (_compile, False)],
    ids=["rebuilt", "meta", "compiled"],
)
def test_what_configure_model_leaves_is_frozen(build: Any, meta: bool, plan: Any) -> None:
    module = _module(configure_model=build)
    if meta:
        module.model.to("meta")
    callback = FreezeCallback(plan)
    _fit(module, callback)
    assert callback.result is not None
    assert callback.result.passed
    assert (callback.result.frozen, callback.result.unmoved) == (6, ())
    assert module.modes == [False] * 4
    assert all(p.requires_grad for p in module.parameters())
    assert "configure_model" not in vars(module)


def test_what_setup_builds_is_frozen_before_the_strategy_wraps_it() -> None:
    """One process of DistributedDataParallel, which fails where a freeze comes after it."""
    module = _module(setup=_setup)
    callback = FreezeCallback(1)
    _fit(module, callback, strategy="ddp", devices=1)
    assert callback.result is not None
    assert callback.result.passed
    assert module.modes == [False] * 4
    assert "setup" not in vars(module)


def test_only_fit_freezes() -> None:
    module, callback = _module(), FreezeCallback(PLAN)
    callback.setup(None, module, "validate")  # type: ignore[arg-type]
    assert callback.frozen is None
    assert callback.state_dict() == {}


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("lightning", "pytorch_lightning", "lightning.pytorch"):
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "frostline.lightning")
    with pytest.raises(DependencyError, match=r"pip install 'frostline\[lightning\]'"):
        importlib.import_module("frostline.lightning")
