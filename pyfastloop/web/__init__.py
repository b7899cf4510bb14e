"""The web framework: handlers, applications and what belongs to them.

What a request runs through stands in :mod:`~pyfastloop.web.handler` and its parts;
here are the names a program imports, those of ``tornado.web`` 6.6 and
``asynchronous`` of Tornado 3 and 4.
"""

from pyfastloop import _core
from pyfastloop.httputil import HTTPServerRequest
from pyfastloop.log import access_log
from pyfastloop.routing import (
    AnyMatches,
    DefaultHostMatches,
    HostMatches,
    PathMatches,
    URLSpec,
    _RoutingDelegate,
)
from pyfastloop.web.application import (
    Application,
    _ApplicationRouter,
    _HandlerDelegate,
)
from pyfastloop.web.base import SERVER_NAME
from pyfastloop.web.decorators import (
    _has_stream_request_body,  # noqa: F401
    addslash,
    asynchronous,
    authenticated,
    removeslash,
    stream_request_body,
)
from pyfastloop.web.errors import Finish, HTTPError, MissingArgumentError
from pyfastloop.web.handler import RequestHandler
from pyfastloop.web.rendering import is_absolute
from pyfastloop.web.signed_values import (
    DEFAULT_SIGNED_VALUE_MIN_VERSION,
    DEFAULT_SIGNED_VALUE_VERSION,
    MAX_SUPPORTED_SIGNED_VALUE_VERSION,
    MIN_SUPPORTED_SIGNED_VALUE_VERSION,
    create_signed_value,
    decode_signed_value,
    get_signature_key_version,
)
from pyfastloop.web.simple_handlers import (
    ErrorHandler,
    FallbackHandler,
    RedirectHandler,
)
from pyfastloop.web.static_files import StaticFileHandler
from pyfastloop.web.transforms import GZipContentEncoding, OutputTransform
from pyfastloop.web.ui_modules import TemplateModule, UIModule

url = URLSpec

_DELEGATE = (
    "__init__",
    "headers_received",
    "data_received",
    "finish",
    "on_connection_close",
)

_core.set_web(
    handler=RequestHandler,
    application=Application,
    router=_ApplicationRouter,
    path_matches=PathMatches,
    host_matches=HostMatches,
    default_host_matches=DefaultHostMatches,
    any_matches=AnyMatches,
    access_log=access_log,
    server_header=SERVER_NAME,
    others={
        PathMatches: ("match",),
        HostMatches: ("match",),
        DefaultHostMatches: ("match",),
        AnyMatches: ("match",),
        _HandlerDelegate: (*_DELEGATE, "execute"),
        _RoutingDelegate: _DELEGATE,
        HTTPServerRequest: (
            *("__init__", "__new__", "__setattr__", "_parse_body"),
            *("host", "host_name"),
        ),
    },
)

__all__ = [
    "DEFAULT_SIGNED_VALUE_MIN_VERSION",
    "DEFAULT_SIGNED_VALUE_VERSION",
    "MAX_SUPPORTED_SIGNED_VALUE_VERSION",
    "MIN_SUPPORTED_SIGNED_VALUE_VERSION",
    "Application",
    "ErrorHandler",
    "FallbackHandler",
    "Finish",
    "GZipContentEncoding",
    "HTTPError",
    "MissingArgumentError",
    "OutputTransform",
    "RedirectHandler",
    "RequestHandler",
    "StaticFileHandler",
    "TemplateModule",
    "UIModule",
    "URLSpec",
    "addslash",
    "asynchronous",
    "authenticated",
    "create_signed_value",
    "decode_signed_value",
    "get_signature_key_version",
    "is_absolute",
    "removeslash",
    "stream_request_body",
    "url",
]
