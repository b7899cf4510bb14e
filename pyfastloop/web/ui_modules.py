"""UI modules: pieces of a page that bring their own scripts and styles.

A template calls ``{% module Name(args) %}``; the module's ``render`` gives the HTML,
its other methods what the page needs once however often the module is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pyfastloop import escape, httputil

if TYPE_CHECKING:
    from pyfastloop.web.handler import RequestHandler

__all__ = ["TemplateModule", "UIModule"]


class UIModule:
    """A reusable piece of a page; one object per module and request.

    Subclasses define :meth:`render`. ``handler``, ``request``, ``ui`` and ``locale``
    are those of the page.
    """

    def __init__(self, handler: RequestHandler) -> None:
        self.handler = handler
        self.request: httputil.HTTPServerRequest = handler.request
        self.ui = handler.ui
        self.locale = handler.locale

    @property
    def current_user(self) -> Any:
        """The handler's ``current_user``."""
        return self.handler.current_user

    def render(self, *args: Any, **kwargs: Any) -> str | bytes:
        """The HTML of one use of this module; must be defined."""
        raise NotImplementedError(
            f"{type(self).__name__} is a UI module without a render method"
        )

    def embedded_javascript(self) -> str | bytes | None:
        """Script to stand in the page itself."""
        return None

    def javascript_files(self) -> str | Iterable[str] | None:
        """Script files to link: URLs, or paths below the static directory."""
        return None

    def embedded_css(self) -> str | bytes | None:
        """Styles to stand in the page itself."""
        return None

    def css_files(self) -> str | Iterable[str] | None:
        """Style sheets to link: URLs, or paths below the static directory."""
        return None

    def html_head(self) -> str | bytes | None:
        """HTML to stand before ``</head>``."""
        return None

    def html_body(self) -> str | bytes | None:
        """HTML to stand before ``</body>``."""
        return None

    def render_string(self, path: str, **kwargs: Any) -> bytes:
        """The template at ``path`` rendered as the handler would."""
        return self.handler.render_string(path, **kwargs)


class TemplateModule(UIModule):
    """A template as a UI module: ``{% module Template("x.html", a=1) %}``.

    The template may call ``set_resources(css_files=..., html_head=...)``, with the
    names of :class:`UIModule`'s methods, once for each template.
    """

    def __init__(self, handler: RequestHandler) -> None:
        super().__init__(handler)
        # By template, in the order of first use.
        self._resources: dict[str, dict[str, Any]] = {}

    def render(self, path: str, **kwargs: Any) -> bytes:
        def set_resources(**resources: Any) -> str:
            known = self._resources.setdefault(path, resources)
            if known != resources:
                raise ValueError(
                    "set_resources called with different resources for the same "
                    f"template ({path})"
                )
            return ""

        return self.render_string(path, set_resources=set_resources, **kwargs)

    def _each(self, kind: str) -> Iterator[Any]:
        return (r[kind] for r in self._resources.values() if kind in r)

    def _text(self, kind: str) -> str:
        return "\n".join(escape.to_unicode(part) for part in self._each(kind))

    def _files(self, kind: str) -> list[str]:
        files: list[str] = []
        for given in self._each(kind):
            if isinstance(given, str | bytes):
                files.append(escape.native_str(given))
            else:
                files.extend(given)
        return files

    def embedded_javascript(self) -> str:
        return self._text("embedded_javascript")

    def javascript_files(self) -> list[str]:
        return self._files("javascript_files")

    def embedded_css(self) -> str:
        return self._text("embedded_css")

    def css_files(self) -> list[str]:
        return self._files("css_files")

    def html_head(self) -> str:
        return self._text("html_head")

    def html_body(self) -> str:
        return self._text("html_body")


class _linkify(UIModule):
    """``{% module linkify(text) %}``: :func:`pyfastloop.escape.linkify`."""

    def render(self, text: str, **kwargs: Any) -> str:
        return escape.linkify(text, **kwargs)


class _xsrf_form_html(UIModule):
    """``{% module xsrf_form_html() %}``: the handler's hidden form field."""

    def render(self) -> str:
        return self.handler.xsrf_form_html()


class _UIModuleNamespace:
    """What a template knows as ``modules``: UI modules by item or attribute."""

    def __init__(
        self, handler: RequestHandler, ui_modules: Mapping[str, type[UIModule]]
    ) -> None:
        self.handler = handler
        self.ui_modules = ui_modules

    def __getitem__(self, name: str) -> Any:
        return self.handler._ui_module(name, self.ui_modules[name])

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(f"no UI module is called {name}") from error
