"""The embedded demo: a synthetic field, two small starting points, and the pipeline on them."""

from frostline.demo.field import FIELDS, IMAGE_SIDE, Field, Painting, paint
from frostline.demo.pipeline import (
    NOTICE,
    STARTS,
    DemoResult,
    demo_trials,
    run_demo,
    summary,
    write_demo,
)

__all__ = [
    "FIELDS",
    "IMAGE_SIDE",
    "NOTICE",
    "STARTS",
    "DemoResult",
    "Field",
    "Painting",
    "demo_trials",
    "paint",
    "run_demo",
    "summary",
    "write_demo",
]
