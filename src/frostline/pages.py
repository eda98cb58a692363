"""HTML pages that ask for nothing from outside themselves: templates, escaped, and one palette."""

from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from frostline.figures.theme import css_palette

__all__ = ["render_page", "template_source"]


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("frostline", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render_page(
    template: str,
    values: Mapping[str, Any],
    filters: Mapping[str, Callable[..., Any]] | None = None,
) -> str:
    """A page as HTML text.

    Beside ``values`` a template has ``version`` (of frostline), ``palette`` (CSS variables for
    light, dark and print) and ``source(name)``, the text of one of our own style sheets or scripts.

    Args:
        template: its name under ``templates/``.
        values: what it shows; texts are escaped, ``Markup`` is not.
        filters: more filters.
    """
    environment = _environment()
    environment.filters |= dict(filters or {})
    ours = {
        "version": metadata.version("frostline"),
        "palette": Markup(css_palette()),  # noqa: S704  (our own colours)
        "source": lambda name: Markup(template_source(name)),  # noqa: S704  (our own file)
    }
    return environment.get_template(template).render(ours | dict(values))


def template_source(name: str) -> str:
    """The text of a file under ``templates/`` as it stands."""
    environment = _environment()
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]
