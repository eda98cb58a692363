# %% [markdown]
# # Freeze part of any model, and prove that it stayed frozen
#
# A torchvision classifier is frozen up to a stage, trained for a few steps on patches of
# frostline's synthetic demo field ("is there an ear in the middle?"), and audited byte by byte.

# %%
import torch
from torch import nn
from torchvision.models import shufflenet_v2_x0_5

import frostline
from frostline.demo import FIELDS, paint

torch.manual_seed(0)
model = shufflenet_v2_x0_5(num_classes=2)  # in earnest with pretrained weights
example = torch.zeros(1, 3, 64, 64)

# %% [markdown]
# ## The layers, read off one forward pass

# %%
table = frostline.layers(model, example)
print(f"{table.architecture}: {len(table)} convolutions; frozen with each stage:")
print(f"  {table.stage_ends()}")

# %% [markdown]
# ## Freeze up to a stage
#
# A number of convolutions (`15`), tensor patterns (`["stage2.*"]`) or a `FreezePlan` do as well.
# The BatchNorm of frozen convolutions is fixed too: its statistics would move without gradients,
# as soon as somebody calls `model.train()`.

# %%
frozen = frostline.freeze(model, "stage2", example_input=example)
print(frozen)

# %% [markdown]
# ## Train as always
#
# The optimiser gets all parameters, and weight decay: frozen ones have no gradient, so it skips
# them.

# %%
paintings = [paint(FIELDS[number % len(FIELDS)], number) for number in range(8)]
crops, labels = [], []
for painting in paintings:
    pixels = torch.from_numpy(painting.pixels).permute(2, 0, 1).float() / 255  # (3, 256, 256)
    for y, x in ((0, 0), (64, 96), (128, 32), (160, 160)):
        in_the_middle = [
            x0 < x + 40 and x1 > x + 24 and y0 < y + 40 and y1 > y + 24
            for x0, y0, x1, y1 in painting.boxes.tolist()
        ]
        crops.append(pixels[:, y : y + 64, x : x + 64])
        labels.append(int(any(in_the_middle)))
images, targets = torch.stack(crops), torch.tensor(labels)

optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
for epoch in range(3):
    model.train()
    for batch in torch.randperm(len(images)).split(8):
        loss = nn.functional.cross_entropy(model(images[batch]), targets[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch + 1}: loss {loss.item():.3f}")

# %% [markdown]
# ## The audit
#
# Every tensor of the plan, running statistics included, must have the bytes it had before.

# %%
audit = frozen.audit()
print(f"audit: {audit.frozen} frozen tensors, {len(audit.changed)} changed")
assert audit.passed
frozen.undo()

# %% [markdown]
# ## Where to freeze is a question for a study
#
# `frostline.run` fine-tunes a detector from several starts, with several depths frozen, several
# seeds each. Here the smallest one: eight images, one start, nothing or everything frozen, one
# seed, four epochs. It shows how a study is run, and its scores mean nothing.

# %%
import tempfile
from pathlib import Path

from PIL import Image

folder = Path(tempfile.mkdtemp(prefix="frostline-"))
(folder / "images").mkdir()
rows = ["image_id,width,height,bbox,source"]
for number, painting in enumerate(paintings):
    Image.fromarray(painting.pixels).save(folder / "images" / f"field{number}.png")
    rows += [
        f'field{number},256,256,"[{x0}, {y0}, {x1 - x0}, {y1 - y0}]",synthetic'
        for x0, y0, x1, y1 in painting.boxes.tolist()
    ]
_ = (folder / "boxes.csv").write_text("\n".join(rows))
start = Path(frostline.__file__).parent / "assets" / "start_detection.safetensors"
_ = (folder / "study.yaml").write_text(f"""
version: 1
data: {{layout: kaggle, images: images, annotations: boxes.csv, split: {{fraction: 0.25}}}}
model: {{backbone: mobilenet_v2, width_mult: 0.35, preset: slim, image_size: 128}}
inits: {{detection: {{source: {start.as_posix()!r}}}}}
depths: [0, all]
seeds: [0]
schedule: {{epochs: 4, batch_size: 2, optimizer: adamw, lr: 1.0e-3}}
""")

# %%
study = frostline.run(folder / "study.yaml")  # in a notebook: its progress below the cell
for record in study.records():
    tensors = record.audit.frozen
    print(f"{record.plan.label}: {tensors} tensors frozen, audit passed: {record.audit.passed}")

# %%
paths = frostline.report(study)
print(f"report: {paths.html}")
