# %% [markdown]
# # What did fine-tuning change, and is it more than noise?
#
# Two weight files are compared layer by layer, without loading them into a model and without
# running anything from them. Then a threshold: a layer has *moved* when its signal is larger than
# what other seeds change as well.
#
# The files are the starting points of frostline's demo, the second trained on from the first, on
# other pictures. Both are synthetic: this shows the method, not a finding.

# %%
import tempfile
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from safetensors.numpy import load_file, save_file

import frostline
from frostline.comparison import noise_floor

assets = Path(frostline.__file__).parent / "assets"
before = assets / "start_classification.safetensors"
after = assets / "start_detection.safetensors"
folder = Path(tempfile.mkdtemp(prefix="frostline-"))

# %% [markdown]
# ## Layer differences
#
# `1 - |cos|` of each convolution, in the order a forward pass meets them. In a notebook, `result`
# alone shows a table.

# %%
result = frostline.diff(before, after)
moved = sorted(result.rows, key=lambda row: row.cosine, reverse=True)
print(f"{result.architecture}: {len(result.rows)} convolutions, largest 1 - |cos|:")
for row in moved[:3]:
    print(f"  {row.index:2d} {row.name:32s} {row.cosine:.2e}  {row.difference.angle:5.2f} degrees")

# %% [markdown]
# ## A threshold from seeds
#
# In earnest: `noise_floor(before, [after_seed_0, after_seed_1, ...])` of your own runs, which
# `frostline run` keeps as `weights.safetensors`. Here the "seeds" are made up: the second file with
# noise, much of it in the first six blocks and little in the others. So it is known what must come
# out: the first blocks differ from the start, but no more than from each other.

# %%
generator = np.random.default_rng(0)
noisy_blocks = tuple(f"backbone.body.{block}." for block in range(7))


def with_noise(name: str, weight: np.ndarray) -> np.ndarray:
    """One made-up seed of one tensor."""
    if weight.ndim != 4:
        return weight
    share = 1.0 if name.startswith(noisy_blocks) else 0.02
    noise = generator.standard_normal(weight.shape, dtype=np.float32)
    return weight + share * weight.std() * noise


tensors = load_file(after)
seeds = [folder / f"seed{seed}.safetensors" for seed in range(3)]
for path in seeds:
    save_file({name: with_noise(name, tensor) for name, tensor in tensors.items()}, path)

floor = noise_floor(before, seeds)
print(
    f"{len(floor.moved)} of {len(floor.rows)} layers moved by more than the seeds differ, "
    f"from layer {floor.moved[0].index} on"
)

# %% [markdown]
# ## The figure

# %%
figure = Figure(figsize=(8, 4), layout="constrained")
result.plot(figure.subplots())
figure.savefig(folder / "differences.png")
print(f"figure: {folder / 'differences.png'}")
