"""From a request to what answers it, beyond what an Application's handler list says.

A *router* looks for the delegate of a request; a `Rule` joins a *matcher*, which says
whether a request is meant, and a *target*, which answers it:

    router = RuleRouter([
        Rule(HostMatches("api.example.com"), api_application),
        Rule(PathMatches("/health"), answer_health),   # a function of the request
        ("/pages/.*", RuleRouter([("/pages/(.*)", pages_application)])),
    ])
    HTTPServer(router).listen(8888)

Targets are routers (an Application is one), other `HTTPServerConnectionDelegate`s,
functions that take the request, and what a subclass makes of them by
`RuleRouter.get_target_delegate`.

Requests that come to an unchanged Application are matched in C, by the same rules in
the same order; this module is what the C path is an abbreviation of.

Differences from Tornado: `reverse_url` leaves out optional parts of a pattern, so that
its result always matches the pattern, and refuses patterns for which it cannot know
one; wrong numbers of arguments are ValueErrors, which -O does not remove.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any
from urllib.parse import unquote_to_bytes

from pyfastloop import httputil
from pyfastloop.escape import url_escape, utf8
from pyfastloop.log import app_log, gen_log
from pyfastloop.util import import_object

__all__ = [
    "AnyMatches",
    "DefaultHostMatches",
    "HostMatches",
    "Matcher",
    "PathMatches",
    "ReversibleRouter",
    "ReversibleRuleRouter",
    "Router",
    "Rule",
    "RuleRouter",
    "URLSpec",
]

_RuleList = Sequence[Any]


class Router(httputil.HTTPServerConnectionDelegate):
    """Looks for what answers a request; subclass and define `find_handler`."""

    def find_handler(
        self, request: httputil.HTTPServerRequest, **kwargs: Any
    ) -> httputil.HTTPMessageDelegate | None:
        """The delegate that takes `request`, of which the head is known, or None.

        `kwargs` are what the matcher of an outer router found.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no find_handler")

    def start_request(
        self, server_conn: object, request_conn: httputil.HTTPConnection
    ) -> httputil.HTTPMessageDelegate:
        return _RoutingDelegate(self, server_conn, request_conn)


class ReversibleRouter(Router):
    """A router that can turn the name of a rule back into a path."""

    def reverse_url(self, name: str, *args: Any) -> str | None:
        """The path of the rule called `name`, None where there is none.

        `args` take the place of the pattern's groups.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no reverse_url")


class _RoutingDelegate(httputil.HTTPMessageDelegate):
    """Waits for the head of a request, then hands everything to what was found."""

    def __init__(
        self,
        router: Router,
        server_conn: object,
        request_conn: httputil.HTTPConnection,
    ) -> None:
        self.server_conn = server_conn
        self.request_conn = request_conn
        self.delegate: httputil.HTTPMessageDelegate | None = None
        self.router = router

    def headers_received(
        self,
        start_line: httputil.RequestStartLine | httputil.ResponseStartLine,
        headers: httputil.HTTPHeaders,
    ) -> Awaitable[None] | None:
        request = httputil.HTTPServerRequest(
            connection=self.request_conn,
            server_connection=self.server_conn,
            start_line=start_line,
            headers=headers,
        )
        self.delegate = self.router.find_handler(request)
        if self.delegate is None:
            gen_log.debug(
                "Delegate for %s %s request not found", request.method, request.path
            )
            self.delegate = _NotFoundDelegate(self.request_conn)
        return self.delegate.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        if self.delegate is None:
            raise RuntimeError("data_received before headers_received")
        return self.delegate.data_received(chunk)

    def finish(self) -> None:
        if self.delegate is None:
            raise RuntimeError("finish before headers_received")
        self.delegate.finish()

    def on_connection_close(self) -> None:
        # Of a request without a head nobody was told.
        if self.delegate is not None:
            self.delegate.on_connection_close()


class _NotFoundDelegate(httputil.HTTPMessageDelegate):
    """Answers a request that no rule wanted."""

    def __init__(self, connection: httputil.HTTPConnection) -> None:
        self.connection = connection

    def finish(self) -> None:
        self.connection.write_headers(
            httputil.ResponseStartLine("HTTP/1.1", 404, "Not Found"),
            httputil.HTTPHeaders({"Content-Length": "0"}),
        )
        self.connection.finish()


class RuleRouter(Router):
    """A router of rules, which are asked in their order.

    `rules` are `Rule` objects or what their constructor takes, as tuples or lists of
    two to four items; a pattern in the first place means `PathMatches`.
    """

    def __init__(self, rules: _RuleList | None = None) -> None:
        self.rules: list[Rule] = []
        if rules:
            self.add_rules(rules)

    def add_rules(self, rules: _RuleList) -> None:
        """Append `rules` to those there are; see the class for what they may be."""
        for rule in rules:
            if isinstance(rule, tuple | list):
                if not 2 <= len(rule) <= 4:
                    raise ValueError(
                        "a rule is (matcher, target[, target_kwargs[, name]]), "
                        f"got {len(rule)} items: {rule!r}"
                    )
                matcher, *rest = rule
                if isinstance(matcher, str | re.Pattern):
                    matcher = PathMatches(matcher)
                rule = Rule(matcher, *rest)
            elif not isinstance(rule, Rule):
                raise TypeError(f"a rule is a Rule, a tuple or a list, got {rule!r}")
            self.rules.append(self.process_rule(rule))

    def process_rule(self, rule: Rule) -> Rule:
        """Override to look at, change or replace each rule that is added."""
        return rule

    def find_handler(
        self, request: httputil.HTTPServerRequest, **kwargs: Any
    ) -> httputil.HTTPMessageDelegate | None:
        for rule in self.rules:
            params = rule.matcher.match(request)
            if params is None:
                continue
            if rule.target_kwargs:
                params["target_kwargs"] = rule.target_kwargs
            delegate = self.get_target_delegate(rule.target, request, **params)
            if delegate is not None:
                return delegate
        return None

    def get_target_delegate(
        self,
        target: Any,
        request: httputil.HTTPServerRequest,
        **target_params: Any,
    ) -> httputil.HTTPMessageDelegate | None:
        """The delegate for `request` at `target`, None where that takes none.

        Override to have further kinds of targets. `target_params` are what the matcher
        found and, as ``target_kwargs``, those of the rule.
        """
        if isinstance(target, Router):
            return target.find_handler(request, **target_params)
        if isinstance(target, httputil.HTTPServerConnectionDelegate):
            return target.start_request(request.server_connection, request.connection)
        if callable(target):
            return _CallableAdapter(partial(target, **target_params), request)
        return None


class _CallableAdapter(httputil.HTTPMessageDelegate):
    """Calls a function with the request once that is whole."""

    def __init__(
        self,
        request_callback: Callable[[httputil.HTTPServerRequest], object],
        request: httputil.HTTPServerRequest,
    ) -> None:
        self.request_callback = request_callback
        self.request = request
        self._chunks: list[bytes] = []

    def data_received(self, chunk: bytes) -> None:
        self._chunks.append(chunk)

    def finish(self) -> None:
        self.request.body = b"".join(self._chunks)
        self._chunks = []
        self.request._parse_body()
        self.request_callback(self.request)

    def on_connection_close(self) -> None:
        self._chunks = []


class ReversibleRuleRouter(ReversibleRouter, RuleRouter):
    """A router of rules that can be asked for the path of a rule by its name."""

    def __init__(self, rules: _RuleList | None = None) -> None:
        self.named_rules: dict[str, Rule] = {}
        super().__init__(rules)

    def process_rule(self, rule: Rule) -> Rule:
        rule = super().process_rule(rule)
        if rule.name:
            if rule.name in self.named_rules:
                app_log.warning(
                    "Multiple handlers named %s; replacing previous value", rule.name
                )
            self.named_rules[rule.name] = rule
        return rule

    def reverse_url(self, name: str, *args: Any) -> str | None:
        rule = self.named_rules.get(name)
        if rule is not None:
            return rule.matcher.reverse(*args)
        for rule in self.rules:
            if isinstance(rule.target, ReversibleRouter):
                url = rule.target.reverse_url(name, *args)
                if url is not None:
                    return url
        return None


class Rule:
    """A matcher and its target.

    `target` may be the dotted name of one. `target_kwargs` are handed to it, to a
    handler's ``initialize`` for example; `name` is what `reverse_url` takes.
    """

    def __init__(
        self,
        matcher: Matcher,
        target: Any,
        target_kwargs: dict[str, Any] | None = None,
        name: str | None = None,
    ) -> None:
        if isinstance(target, str):
            target = import_object(target)
        self.matcher = matcher
        self.target = target
        self.target_kwargs = target_kwargs if target_kwargs else {}
        self.name = name

    def reverse(self, *args: Any) -> str | None:
        """The path of this rule with `args` for its groups; see `Matcher.reverse`."""
        return self.matcher.reverse(*args)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.matcher!r}, {self.target}, "
            f"kwargs={self.target_kwargs!r}, name={self.name!r})"
        )


class Matcher:
    """Says whether a request is meant; subclass and define `match`."""

    def match(self, request: httputil.HTTPServerRequest) -> dict[str, Any] | None:
        """None where `request` is not meant, else keywords for the target.

        An Application takes ``path_args`` (a list) and ``path_kwargs`` (a dict) for its
        handler's method.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no match")

    def reverse(self, *args: Any) -> str | None:
        """A path that is meant, with `args` put into it; None where there is none."""
        return None


class AnyMatches(Matcher):
    """Every request."""

    def match(self, request: httputil.HTTPServerRequest) -> dict[str, Any] | None:
        return {}


class HostMatches(Matcher):
    """Requests to the hosts that a regular expression matches from end to end."""

    def __init__(self, host_pattern: str | re.Pattern[str]) -> None:
        if isinstance(host_pattern, str):
            host_pattern = _compile_to_end(host_pattern)
        self.host_pattern = host_pattern

    def match(self, request: httputil.HTTPServerRequest) -> dict[str, Any] | None:
        return {} if self.host_pattern.match(request.host_name) else None


class DefaultHostMatches(Matcher):
    """Every request, where the application's default host matches.

    Except those that came through a proxy, which knows the host it was asked for
    (they have an X-Real-Ip header).
    """

    def __init__(self, application: Any, host_pattern: re.Pattern[str]) -> None:
        self.application = application
        self.host_pattern = host_pattern

    def match(self, request: httputil.HTTPServerRequest) -> dict[str, Any] | None:
        if "X-Real-Ip" in request.headers:
            return None
        if self.host_pattern.match(self.application.default_host):
            return {}
        return None


class PathMatches(Matcher):
    """Requests to the paths that a regular expression matches from end to end.

    Its groups are the arguments of the handler: all of them by position, or all by
    name. They arrive as bytes, percent-decoded, None for a group that took no part.
    """

    def __init__(self, path_pattern: str | re.Pattern[str]) -> None:
        if isinstance(path_pattern, str):
            path_pattern = _compile_to_end(path_pattern)
        self.regex = path_pattern
        if len(self.regex.groupindex) not in (0, self.regex.groups):
            raise ValueError(
                "groups in url regexes must either be all named or all positional: "
                f"{self.regex.pattern!r}"
            )
        # What stands around the groups; None where a path cannot be made.
        self._around_groups = _reversible_parts(self.regex)
        # Not Tornado's public API, but what its tracing tools read.
        self._path, self._group_count = self._find_groups()

    def match(self, request: httputil.HTTPServerRequest) -> dict[str, Any] | None:
        found = self.regex.match(request.path)
        if found is None:
            return None
        if not self.regex.groups:
            return {}
        if self.regex.groupindex:
            return {
                "path_args": [],
                "path_kwargs": {
                    name: _decode_group(value)
                    for name, value in found.groupdict().items()
                },
            }
        return {
            "path_args": [_decode_group(value) for value in found.groups()],
            "path_kwargs": {},
        }

    def reverse(self, *args: Any) -> str | None:
        """The path with `args`, percent-encoded, in the place of the groups.

        Raises ValueError where there are more or fewer groups, and for patterns whose
        text outside of the groups may be several things, such as ``/a+`` or ``/a|/b``;
        optional parts are left out.
        """
        around = self._around_groups
        if around is None:
            raise ValueError(f"Cannot reverse url regex {self.regex.pattern}")
        if len(args) != len(around) - 1:
            raise ValueError(
                f"required number of arguments not found: {self.regex.pattern} has "
                f"{len(around) - 1} groups, got {len(args)} arguments"
            )
        pieces = [around[0]]
        for arg, after in zip(args, around[1:], strict=True):
            text = arg if isinstance(arg, str | bytes) else str(arg)
            pieces += (url_escape(utf8(text), plus=False), after)
        return "".join(pieces)

    def _find_groups(self) -> tuple[str | None, int | None]:
        """The path with ``%s`` in the place of the groups, and their number.

        Both are None where :meth:`reverse` refuses. A ``%`` of the path is doubled
        where there are groups, so that the text can be formatted.
        """
        around = self._around_groups
        if around is None:
            return None, None
        if len(around) == 1:
            return around[0], 0
        return "%s".join(part.replace("%", "%%") for part in around), len(around) - 1


class URLSpec(Rule):
    """A rule for a path: a regular expression and a handler.

    `kwargs` go to the handler's ``initialize``, `name` is for `reverse_url`.
    """

    def __init__(
        self,
        pattern: str | re.Pattern[str],
        handler: Any,
        kwargs: dict[str, Any] | None = None,
        name: str | None = None,
    ) -> None:
        matcher = PathMatches(pattern)
        super().__init__(matcher, handler, kwargs, name)
        self.regex = matcher.regex
        self.handler_class = self.target
        self.kwargs = kwargs

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.regex.pattern!r}, {self.handler_class}, "
            f"kwargs={self.kwargs!r}, name={self.name!r})"
        )


# -- patterns --------------------------------------------------------------------------


def _compile_to_end(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern if pattern.endswith("$") else pattern + "$")


def _decode_group(value: str | None) -> bytes | None:
    if value is None:
        return None
    if "%" not in value:
        return value.encode()
    return unquote_to_bytes(value)


# What a pattern is made of: an escape, a class of characters, or one character.
_TOKEN = re.compile(r"\\.|\[\^?\]?(?:[^\]\\]|\\.)*\]|.", re.DOTALL)
_ESCAPED = re.compile(r"\\([^a-zA-Z0-9])", re.DOTALL)
_CLASS_OF_ONE = re.compile(r"\[([^\\^])\]", re.DOTALL)


def _reversible_parts(regex: re.Pattern[str]) -> list[str] | None:
    """The text before, between and after the groups of `regex`, None if not known."""
    if regex.flags & re.VERBOSE:
        return None
    tokens = _TOKEN.findall(regex.pattern)
    if tokens and tokens[0] == "^":
        del tokens[0]
    if tokens and tokens[-1] == "$":
        del tokens[-1]
    parts = [""]
    index = 0
    while index < len(tokens):
        token = tokens[index]
        text: str | None = None
        if token == "(":
            end = _end_of_group(tokens, index)
            named = tokens[index + 1 : index + 4] == ["?", "P", "<"]
            if tokens[index + 1] == "?" and not named:
                return None
            parts.append("")
            index = end
        elif found := _ESCAPED.fullmatch(token) or _CLASS_OF_ONE.fullmatch(token):
            text = found[1]
        elif len(token) == 1 and token not in "|)*+?{}^$":
            text = token
        else:
            return None
        index += 1
        times = tokens[index] if index < len(tokens) else ""
        if times == "{":
            return None
        if times and times in "?*+":
            index += 1
            if tokens[index : index + 1] == ["?"]:
                index += 1
            if text is not None and times == "+":
                return None
        elif text is not None:
            parts[-1] += text
    return parts if len(parts) - 1 == regex.groups else None


def _end_of_group(tokens: list[str], begin: int) -> int:
    """The index of the ")" for the "(" at `begin`: the pattern has been compiled."""
    depth = 0
    for index in range(begin, len(tokens)):
        depth += (tokens[index] == "(") - (tokens[index] == ")")
        if not depth:
            return index
    raise ValueError("a group without an end")
