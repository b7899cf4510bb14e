"""``Application``: the routes and settings of a program, and what serves a request.

An Application is a router of :mod:`pyfastloop.routing` and a callback that an
``HTTPServer`` takes; its handler delegates collect a request and run its handler.
"""

from __future__ import annotations

import socket
import types
from collections.abc import Awaitable, Iterable
from typing import Any

from pyfastloop import gen, httputil
from pyfastloop.concurrent import Future, future_set_result_unless_cancelled
from pyfastloop.http1connection import _collects_body
from pyfastloop.log import access_log, app_log
from pyfastloop.routing import (
    AnyMatches,
    DefaultHostMatches,
    HostMatches,
    ReversibleRouter,
    ReversibleRuleRouter,
    Rule,
)
from pyfastloop.web.handler import RequestHandler
from pyfastloop.web.simple_handlers import ErrorHandler
from pyfastloop.web.static_files import StaticFileHandler
from pyfastloop.web.transforms import GZipContentEncoding, OutputTransform
from pyfastloop.web.ui_modules import (
    TemplateModule,
    UIModule,
    _linkify,
    _xsrf_form_html,
)

__all__ = ["Application"]

_RuleList = list[Any]


class _ApplicationRouter(ReversibleRuleRouter):
    """The routes of an application: handler classes are targets, and lists of rules
    become routers of the same kind."""

    def __init__(
        self, application: Application, rules: _RuleList | None = None
    ) -> None:
        self.application = application
        super().__init__(rules)

    def process_rule(self, rule: Rule) -> Rule:
        rule = super().process_rule(rule)
        if isinstance(rule.target, list | tuple):
            rule.target = _ApplicationRouter(self.application, list(rule.target))
        return rule

    def get_target_delegate(
        self,
        target: Any,
        request: httputil.HTTPServerRequest,
        **target_params: Any,
    ) -> httputil.HTTPMessageDelegate | None:
        if isinstance(target, type) and issubclass(target, RequestHandler):
            return self.application.get_handler_delegate(
                request, target, **target_params
            )
        return super().get_target_delegate(target, request, **target_params)


class Application(ReversibleRouter):
    """The routes and settings of a web application.

    ``handlers`` are :class:`~pyfastloop.routing.Rule` objects or tuples
    ``(pattern, handler[, kwargs[, name]])``, asked in order; a handler may be a class,
    its dotted name, a list of further rules, another router or Application.
    ``default_host`` stands in for a Host that no rule knows. All other keywords are
    settings.
    """

    #: Set by a WSGI adapter: requests there cannot outlive the call.
    _wsgi = False

    def __init__(
        self,
        handlers: _RuleList | None = None,
        default_host: str | None = None,
        transforms: list[type[OutputTransform]] | None = None,
        **settings: Any,
    ) -> None:
        if transforms is None:
            self.transforms: list[type[OutputTransform]] = []
            if settings.get("compress_response") or settings.get("gzip"):
                self.transforms.append(GZipContentEncoding)
        else:
            self.transforms = transforms
        self.default_host = default_host
        self.settings: dict[str, Any] = settings
        self.ui_modules: dict[str, type[UIModule]] = {
            "linkify": _linkify,
            "xsrf_form_html": _xsrf_form_html,
            "Template": TemplateModule,
        }
        self.ui_methods: dict[str, Any] = {}
        self._load_ui_modules(settings.get("ui_modules", {}))
        self._load_ui_methods(settings.get("ui_methods", {}))
        rules = list(handlers or [])
        if settings.get("static_path"):
            rules[:0] = self._static_rules()
        if settings.get("debug"):
            settings.setdefault("autoreload", True)
            settings.setdefault("compiled_template_cache", False)
            settings.setdefault("static_hash_cache", False)
            settings.setdefault("serve_traceback", True)
        self.wildcard_router = _ApplicationRouter(self, rules)
        self.default_router = _ApplicationRouter(
            self, [Rule(AnyMatches(), self.wildcard_router)]
        )
        if settings.get("autoreload"):
            from pyfastloop import autoreload

            autoreload.start()

    def _static_rules(self) -> _RuleList:
        settings = self.settings
        arguments = dict(settings.get("static_handler_args", {}))
        arguments["path"] = settings["static_path"]
        handler = settings.get("static_handler_class", StaticFileHandler)
        prefix = settings.get("static_url_prefix", "/static/")
        patterns = (f"{prefix}(.*)", r"/(favicon\.ico)", r"/(robots\.txt)")
        return [(pattern, handler, arguments) for pattern in patterns]

    # -- set-up -------------------------------------------------------------------

    def listen(
        self,
        port: int,
        address: str | None = None,
        *,
        family: socket.AddressFamily = socket.AF_UNSPEC,
        backlog: int = 128,
        flags: int | None = None,
        reuse_port: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Starts an ``HTTPServer`` for this application and returns it.

        ``kwargs`` are the server's own. The loop must be started by the program.
        """
        from pyfastloop.httpserver import HTTPServer

        server = HTTPServer(self, **kwargs)
        server.listen(
            port,
            address=address,
            family=family,
            backlog=backlog,
            flags=flags,
            reuse_port=reuse_port,
        )
        return server

    @property
    def asgi(self) -> Any:
        """This application as an ASGI application, for servers of that kind:
        ``uvicorn module:app.asgi``."""
        from pyfastloop.asgi import ASGIApplication

        return ASGIApplication(self)

    def add_handlers(self, host_pattern: str, host_handlers: _RuleList) -> None:
        """Adds routes for the hosts that match ``host_pattern``; of several patterns
        the first added wins, and all win against the routes without one."""
        matcher = HostMatches(host_pattern)
        rule = Rule(matcher, _ApplicationRouter(self, host_handlers))
        self.default_router.rules.insert(-1, rule)
        if self.default_host is not None:
            self.wildcard_router.add_rules(
                [
                    (
                        DefaultHostMatches(self, matcher.host_pattern),
                        host_handlers,
                    )
                ]
            )

    def add_transform(self, transform_class: type[OutputTransform]) -> None:
        """Adds a transform of all responses, after those before it."""
        self.transforms.append(transform_class)

    def _load_ui_methods(self, methods: Any) -> None:
        if isinstance(methods, types.ModuleType):
            methods = vars(methods)
        elif isinstance(methods, list | tuple):
            for some in methods:
                self._load_ui_methods(some)
            return
        for name, function in methods.items():
            # Of a module, what looks like one of its functions.
            if (
                not name.startswith("_")
                and callable(function)
                and name[0].lower() == name[0]
            ):
                self.ui_methods[name] = function

    def _load_ui_modules(self, modules: Any) -> None:
        if isinstance(modules, types.ModuleType):
            modules = vars(modules)
        elif isinstance(modules, list | tuple):
            for some in modules:
                self._load_ui_modules(some)
            return
        if not isinstance(modules, dict):
            raise TypeError(
                "ui_modules must be a dict, a module or a list of them, not "
                f"{type(modules).__name__}"
            )
        for name, cls in modules.items():
            if isinstance(cls, type) and issubclass(cls, UIModule):
                self.ui_modules[name] = cls

    # -- requests --------------------------------------------------------------------

    def __call__(self, request: httputil.HTTPServerRequest) -> Awaitable[None] | None:
        """Answers a request that is whole already."""
        delegate = self.find_handler(request)
        return delegate.execute()  # type: ignore[no-any-return, attr-defined]

    def find_handler(
        self, request: httputil.HTTPServerRequest, **kwargs: Any
    ) -> httputil.HTTPMessageDelegate:
        """The delegate of the first route that matches; without one that of the
        setting ``default_handler_class``, or a 404."""
        delegate = self.default_router.find_handler(request)
        if delegate is not None:
            return delegate
        default = self.settings.get("default_handler_class")
        if default:
            arguments = self.settings.get("default_handler_args", {})
            return self.get_handler_delegate(request, default, arguments)
        return self.get_handler_delegate(request, ErrorHandler, {"status_code": 404})

    def get_handler_delegate(
        self,
        request: httputil.HTTPServerRequest,
        target_class: type[RequestHandler],
        target_kwargs: dict[str, Any] | None = None,
        path_args: list[bytes] | None = None,
        path_kwargs: dict[str, bytes] | None = None,
    ) -> _HandlerDelegate:
        """What runs ``target_class`` for ``request``: ``target_kwargs`` go to its
        ``initialize``, the ``path_`` ones (raw bytes) to its method."""
        return _HandlerDelegate(
            self, request, target_class, target_kwargs, path_args, path_kwargs
        )

    def reverse_url(self, name: str, *args: Any) -> str:
        """The path of the route called ``name``, ``args`` put into its groups.

        Raises KeyError where no route has that name.
        """
        url = self.default_router.reverse_url(name, *args)
        if url is None:
            raise KeyError(f"{name} not found in named urls")
        return url

    def log_request(self, handler: RequestHandler) -> None:
        """Logs a finished request: by the setting ``log_function`` where given, else
        on ``tornado.access``, as a warning from status 400, an error from 500."""
        if "log_function" in self.settings:
            self.settings["log_function"](handler)
            return
        status = handler.get_status()
        if status < 400:
            log = access_log.info
        elif status < 500:
            log = access_log.warning
        else:
            log = access_log.error
        milliseconds = 1000.0 * handler.request.request_time()
        log("%d %s %.2fms", status, handler._request_summary(), milliseconds)


class _HandlerDelegate(httputil.HTTPMessageDelegate):
    """Collects one request and runs its handler: when the request is whole, or, where
    the handler streams the body, when its head is."""

    def __init__(
        self,
        application: Application,
        request: httputil.HTTPServerRequest,
        handler_class: type[RequestHandler],
        handler_kwargs: dict[str, Any] | None,
        path_args: Iterable[bytes] | None,
        path_kwargs: dict[str, bytes] | None,
    ) -> None:
        self.application = application
        self.connection = request.connection
        self.request = request
        self.handler_class = handler_class
        self.handler_kwargs = handler_kwargs or {}
        self.path_args = path_args or []
        self.path_kwargs = path_kwargs or {}
        self.chunks: list[bytes] = []
        self.handler: RequestHandler | None = None
        #: The future of ``_execute``, once it was started.
        self.running: Any = None
        self.stream_request_body = handler_class._stream_request_body

    def headers_received(
        self,
        start_line: httputil.RequestStartLine | httputil.ResponseStartLine,
        headers: httputil.HTTPHeaders,
    ) -> Awaitable[None] | None:
        if not self.stream_request_body:
            _collects_body(self.connection)
            return None
        request: Any = self.request
        request._body_future = Future()
        return self.execute()

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        if self.handler is not None:
            return self.handler.data_received(chunk)
        self.chunks.append(chunk)
        return None

    def finish(self) -> None:
        request: Any = self.request
        if self.stream_request_body:
            future_set_result_unless_cancelled(request._body_future, None)
            return
        request.body = b"".join(self.chunks)
        self.chunks = []
        self.execute()

    def on_connection_close(self) -> None:
        self.chunks = []
        if self.handler is not None and self.stream_request_body:
            self.handler._connection_closed()

    def execute(self) -> Awaitable[None] | None:
        """Makes the handler and starts it. Where the body is streamed, returns the
        future that is done when ``prepare`` is."""
        settings = self.application.settings
        if not settings.get("compiled_template_cache", True):
            with RequestHandler._template_loader_lock:
                for loader in RequestHandler._template_loaders.values():
                    loader.reset()
        if not settings.get("static_hash_cache", True):
            StaticFileHandler.reset()
        handler = self.handler_class(
            self.application, self.request, **self.handler_kwargs
        )
        if self.stream_request_body:
            self.handler = handler
            handler._prepared_future = Future()
        self.running = _start(handler, self.path_args, self.path_kwargs)
        return handler._prepared_future


def _start(
    handler: RequestHandler, args: Iterable[bytes], kwargs: dict[str, bytes]
) -> Any:
    """The future of the handler's ``_execute``."""
    application, request = handler.application, handler.request
    transforms = [make(request) for make in application.transforms]
    running = gen.convert_yielded(handler._execute(transforms, *args, **kwargs))
    running.add_done_callback(_report)
    return running


def _run(
    application: Application,
    request: httputil.HTTPServerRequest,
    handler: RequestHandler | type[RequestHandler],
    handler_kwargs: dict[str, Any] | None,
    groups: Any,
) -> None:
    """Goes on with a whole request that C had begun, when something was replaced since:
    by a handler that exists already, or by its class."""
    named = isinstance(groups, dict)
    args: Any = () if named else groups or ()
    kwargs = groups if named else {}
    if isinstance(handler, type):
        delegate = application.get_handler_delegate(
            request, handler, handler_kwargs, args, kwargs
        )
        delegate.execute()
    else:
        _start(handler, args, kwargs)


def _report(running: Any) -> None:
    """Logs what ``_execute`` let out: a replaced one may."""
    if running.cancelled():
        return
    error = running.exception()
    if error is not None:
        app_log.error("Uncaught exception in _execute", exc_info=error)
