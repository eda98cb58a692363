"""The embedded demo: a synthetic field, two small starting points, and the pipeline on them."""

from frostline.demo.field import FIELDS, IMAGE_SIDE, Field, Painting, paint
from frostline.demo.pipeline import NOTICE, STARTS, DemoResult, run_demo, summary, write_demo

__all__ = [
    "FIELDS",
    "IMAGE_SIDE",
    "NOTICE",
    "STARTS",
    "DemoResult",
    "Field",
    "Painting",
    "paint",
    "run_demo",
    "summary",
    "write_demo",
]
