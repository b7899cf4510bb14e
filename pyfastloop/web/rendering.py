"""Pages: templates, what they see, and the scripts and styles of UI modules.

Also what a page is made for: the user's language, and the static files' URLs.
"""

from __future__ import annotations

import functools
import os.path
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from pyfastloop import escape, template
from pyfastloop import locale as locales
from pyfastloop.concurrent import Future
from pyfastloop.util import ObjectDict
from pyfastloop.web.base import HandlerState
from pyfastloop.web.ui_modules import UIModule, _UIModuleNamespace

__all__ = ["RenderingMixin", "is_absolute"]

_HERE = os.path.dirname(os.path.abspath(__file__))


def is_absolute(path: str) -> bool:
    """Whether ``path`` is a URL or starts at the root: it needs no ``static_url``."""
    return path.startswith(("/", "http:", "https:"))


class RenderingMixin(HandlerState):
    """The part of ``RequestHandler`` that makes pages."""

    #: Loaders by template path, shared by all handlers.
    _template_loaders: ClassVar[dict[str, template.BaseLoader]] = {}
    _template_loader_lock: ClassVar[threading.Lock] = threading.Lock()

    # -- rendering -----------------------------------------------------------

    def render(self, template_name: str, **kwargs: Any) -> Future[None]:
        """Finishes the response with the template ``template_name``, to which
        ``kwargs`` are given; see :meth:`render_string`.

        Scripts and styles of the UI modules that were used are put before
        ``</body>`` and ``</head>``.
        """
        if self._finished:
            raise RuntimeError("Cannot render() after finish()")
        html = self.render_string(template_name, **kwargs)
        modules = self.__dict__.get("_active_modules")
        if modules:
            html = self._with_resources(html, list(modules.values()))
        future: Future[None] = self.finish(html)
        return future

    def render_string(self, template_name: str, **kwargs: Any) -> bytes:
        """The template ``template_name`` as bytes, with ``kwargs`` and the names of
        :meth:`get_template_namespace`; nothing is sent."""
        path = self.get_template_path() or _folder_of_caller()
        cls = type(self)
        with cls._template_loader_lock:
            loader = cls._template_loaders.get(path)
            if loader is None:
                loader = self.create_template_loader(path)
                cls._template_loaders[path] = loader
        namespace = self.get_template_namespace()
        namespace.update(kwargs)
        return loader.load(template_name).generate(**namespace)

    def get_template_namespace(self) -> dict[str, Any]:
        """The names every template sees; override to add some."""
        user_locale = self.locale
        namespace: dict[str, Any] = {
            "handler": self,
            "request": self.request,
            "current_user": self.current_user,
            "locale": user_locale,
            "_": user_locale.translate,
            "translate": user_locale.translate,
            "pgettext": user_locale.pgettext,
            "static_url": self.static_url,
            "xsrf_form_html": self.xsrf_form_html,  # type: ignore[attr-defined]
            "reverse_url": self.reverse_url,
        }
        namespace.update(self.ui)
        return namespace

    def create_template_loader(self, template_path: str) -> template.BaseLoader:
        """The loader for a folder of templates: the setting ``template_loader`` where
        given, else a :class:`pyfastloop.template.Loader` with the settings
        ``autoescape`` and ``template_whitespace``."""
        settings = self.settings
        if "template_loader" in settings:
            loader: template.BaseLoader = settings["template_loader"]
            return loader
        options: dict[str, Any] = {}
        if "autoescape" in settings:
            # None means no escaping, so absent and None differ.
            options["autoescape"] = settings["autoescape"]
        if "template_whitespace" in settings:
            options["whitespace"] = settings["template_whitespace"]
        return template.Loader(template_path, **options)

    def get_template_path(self) -> str | None:
        """The folder of templates: the setting ``template_path``. None means the
        folder of the file that calls ``render``."""
        path: str | None = self.settings.get("template_path")
        return path

    # -- what UI modules add to a page -----------------------------------------

    def _with_resources(self, html: bytes, modules: list[UIModule]) -> bytes:
        js_files = _collect_files(m.javascript_files() for m in modules)
        js_embed = _collect_text(m.embedded_javascript() for m in modules)
        css_files = _collect_files(m.css_files() for m in modules)
        css_embed = _collect_text(m.embedded_css() for m in modules)
        heads = _collect_text(m.html_head() for m in modules)
        bodies = _collect_text(m.html_body() for m in modules)
        body_end = []
        if js_files:
            body_end.append(escape.utf8(self.render_linked_js(js_files)))
        if js_embed:
            body_end.append(escape.utf8(self.render_embed_js(js_embed)))
        head_end = []
        if css_files:
            head_end.append(escape.utf8(self.render_linked_css(css_files)))
        if css_embed:
            head_end.append(escape.utf8(self.render_embed_css(css_embed)))
        for part in body_end:
            html = _insert_before(html, html.rindex(b"</body>"), part)
        for part in head_end:
            html = _insert_before(html, html.index(b"</head>"), part)
        if heads:
            html = _insert_before(html, html.index(b"</head>"), b"".join(heads))
        if bodies:
            html = _insert_before(html, html.index(b"</body>"), b"".join(bodies))
        return html

    def render_linked_js(self, js_files: Iterable[str]) -> str:
        """The ``<script>`` tags of linked files, each file once; override to change
        them."""
        return "".join(
            f'<script src="{escape.xhtml_escape(url)}" type="text/javascript"></script>'
            for url in self._linked_urls(js_files)
        )

    def render_embed_js(self, js_embed: Iterable[bytes]) -> bytes:
        """The ``<script>`` of all embedded scripts; override to change it."""
        script = b"\n".join(js_embed)
        return (
            b'<script type="text/javascript">\n//<![CDATA[\n'
            + script
            + b"\n//]]>\n</script>"
        )

    def render_linked_css(self, css_files: Iterable[str]) -> str:
        """The ``<link>`` tags of style sheets, each once; override to change them."""
        return "".join(
            f'<link href="{escape.xhtml_escape(url)}" type="text/css" '
            'rel="stylesheet"/>'
            for url in self._linked_urls(css_files)
        )

    def render_embed_css(self, css_embed: Iterable[bytes]) -> bytes:
        """The ``<style>`` of all embedded styles; override to change it."""
        return b'<style type="text/css">\n' + b"\n".join(css_embed) + b"\n</style>"

    def _linked_urls(self, paths: Iterable[str]) -> list[str]:
        urls = (p if is_absolute(p) else self.static_url(p) for p in paths)
        return list(dict.fromkeys(urls))

    # -- ui: methods and modules of the application -------------------------------

    @property
    def ui(self) -> Any:
        """The application's UI methods and modules, as templates see them.

        Made when it is asked for; what was made is None once the request is finished.
        """
        state = self.__dict__
        if "_ui" in state:
            return state["_ui"]
        application = self.application
        names = {
            name: self._ui_method(method)
            for name, method in application.ui_methods.items()
        }
        modules = _UIModuleNamespace(self, application.ui_modules)  # type: ignore[arg-type]
        # "_tt_modules" is what compiled templates say, so that a template's own
        # "modules" does not stand in the way.
        ui = state["_ui"] = ObjectDict(names, _tt_modules=modules, modules=modules)
        return ui

    @ui.setter
    def ui(self, value: Any) -> None:
        self.__dict__["_ui"] = value

    def _ui_method(self, method: Callable[..., str]) -> Callable[..., str]:
        return functools.partial(method, self)

    def _ui_module(self, name: str, module: type[UIModule]) -> Callable[..., Any]:
        def render(*args: Any, **kwargs: Any) -> Any:
            active = self.__dict__.setdefault("_active_modules", {})
            if name not in active:
                active[name] = module(self)  # type: ignore[arg-type]
            return active[name].render(*args, **kwargs)

        return render

    # -- language ------------------------------------------------------------

    @property
    def locale(self) -> locales.Locale:
        """The user's language: :meth:`get_user_locale`, else the browser's."""
        found: locales.Locale | None = self.__dict__.get("_locale")
        if found is None:
            found = self.get_user_locale() or self.get_browser_locale()
            self.__dict__["_locale"] = found
        return found

    @locale.setter
    def locale(self, value: locales.Locale) -> None:
        self.__dict__["_locale"] = value

    def get_user_locale(self) -> locales.Locale | None:
        """Override to choose by user; None leaves it to the browser."""
        return None

    def get_browser_locale(self, default: str = "en_US") -> locales.Locale:
        """The best of the loaded locales by the ``Accept-Language`` header
        (RFC 9110 section 12.5.4), ``default`` where it names none."""
        wanted: list[tuple[float, str]] = []
        for item in self.request.headers.get("Accept-Language", "").split(","):
            code, *parameters = (part.strip() for part in item.split(";"))
            score = _weight(parameters)
            if code and score > 0:
                wanted.append((score, code))
        # sorted is stable: of equal weights the first named wins.
        codes = [code for _, code in sorted(wanted, key=lambda pair: -pair[0])]
        return locales.get(*codes) if codes else locales.get(default)

    # -- static files ---------------------------------------------------------

    def static_url(
        self, path: str, include_host: bool | None = None, **kwargs: Any
    ) -> str:
        """The URL of the static file ``path``, with its version so that browsers may
        keep it for ever.

        Needs the setting ``static_path``. ``include_host`` (default: the handler's
        attribute of that name, else False) makes it absolute; ``kwargs`` go to
        ``make_static_url`` of the setting ``static_handler_class``. Raises
        :exc:`HTTPError` (403) for a path that leads out of ``static_path``.
        """
        from pyfastloop.web.static_files import StaticFileHandler

        self.require_setting("static_path", "static_url")
        handler = self.settings.get("static_handler_class", StaticFileHandler)
        if include_host is None:
            include_host = getattr(self, "include_host", False)
        url: str = handler.make_static_url(self.settings, path, **kwargs)
        if include_host:
            return f"{self.request.protocol}://{self.request.host}{url}"
        return url


def _weight(parameters: list[str]) -> float:
    """The value of ``q=0.8``; 1 where there is none, 0 where it is no weight."""
    for parameter in parameters:
        if parameter.lower().startswith("q="):
            try:
                return float(parameter[2:])
            except ValueError:
                return 0.0
    return 1.0


def _folder_of_caller() -> str:
    """The folder of the file that called ``render``, outside of this package."""
    frame = sys._getframe(2)
    while frame.f_back is not None:
        if os.path.dirname(os.path.abspath(frame.f_code.co_filename)) != _HERE:
            break
        frame = frame.f_back
    return os.path.dirname(frame.f_code.co_filename)


def _collect_text(parts: Iterable[str | bytes | None]) -> list[bytes]:
    return [escape.utf8(part) for part in parts if part]


def _collect_files(parts: Iterable[str | bytes | Iterable[str] | None]) -> list[str]:
    files: list[str] = []
    for part in parts:
        if not part:
            continue
        if isinstance(part, str | bytes):
            files.append(escape.native_str(part))
        else:
            files.extend(part)
    return files


def _insert_before(html: bytes, position: int, part: bytes) -> bytes:
    return html[:position] + part + b"\n" + html[position:]
