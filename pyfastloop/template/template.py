"""`Template`: from its text to the function that renders it."""

from __future__ import annotations

import builtins
import datetime
import inspect
import os.path
import re
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any, NoReturn

from pyfastloop import escape
from pyfastloop.template import runtime
from pyfastloop.template.nodes import (
    HTML_ESCAPE,
    ExtendsBlock,
    File,
    NamedBlock,
    Writer,
)
from pyfastloop.template.parser import ParseError, TemplateSyntaxError, parse

if TYPE_CHECKING:
    from pyfastloop.template.loader import BaseLoader

__all__ = ["Template"]

_UNSET: Any = object()

_NO_FUNCTION = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR

#: What every template sees.
_NAMES: dict[str, Any] = {
    # As exec() would: C functions that import look for it in their caller's globals.
    "__builtins__": builtins.__dict__,
    "escape": escape.xhtml_escape,
    "xhtml_escape": escape.xhtml_escape,
    "url_escape": escape.url_escape,
    "json_encode": escape.json_encode,
    "squeeze": escape.squeeze,
    "linkify": escape.linkify,
    "datetime": datetime,
    "_tt_applied": runtime.applied,
    "_tt_escape_by": runtime.escape_by,
    "_tt_escape_html": runtime.escape_html,
    "_tt_join": runtime.join,
    "_tt_text_of": runtime.text_of,
}


class Template:
    """A compiled template.

    `template_string` is its text; `name` stands in error messages, and by its end
    decides on white space: "single" for .html and .js, else "all". `loader` is needed
    for templates that include or extend, and its settings are the template's where it
    is not given any.

    `compress_whitespace` is an older form of `whitespace`: True is "single", False
    "all".
    """

    def __init__(
        self,
        template_string: str | bytes,
        name: str = "<string>",
        loader: BaseLoader | None = None,
        compress_whitespace: bool = _UNSET,
        autoescape: str | None = _UNSET,
        whitespace: str | None = None,
    ) -> None:
        self.name = escape.native_str(name)
        if compress_whitespace is not _UNSET:
            if whitespace is not None:
                raise ValueError("cannot set both whitespace and compress_whitespace")
            whitespace = "single" if compress_whitespace else "all"
        if whitespace is None:
            if loader and loader.whitespace:
                whitespace = loader.whitespace
            else:
                html = name.endswith((".html", ".js"))
                whitespace = "single" if html else "all"
        if autoescape is not _UNSET:
            self.autoescape = autoescape
        elif loader:
            self.autoescape = loader.autoescape
        else:
            self.autoescape = HTML_ESCAPE
        #: The loader's names, which the template sees.
        self.namespace: dict[str, Any] = loader.namespace if loader else {}
        self.loader = loader
        self._source = escape.to_unicode(template_string)
        self.file = File(self, parse(self, self._source, whitespace))
        writer = self._write(loader)
        #: The Python that this template and those it needs became.
        self.code = writer.source
        self._origins = writer.origins
        self._generated_name = f"{self.name.replace(chr(0), '?')}.generated.py"
        #: The same compiled: code that defines ``_tt_execute``.
        self.compiled = self._compile()
        self._execute: CodeType = next(
            const for const in self.compiled.co_consts if isinstance(const, CodeType)
        )
        if self._execute.co_flags & _NO_FUNCTION:
            self._fail("yield and await cannot stand in a template", 1)

    def generate(self, **kwargs: Any) -> bytes:
        """Render this template with the given names."""
        namespace = _NAMES.copy()
        namespace["__name__"] = self.name.replace(".", "_")
        namespace.update(self.namespace)
        namespace.update(kwargs)
        html_escape = namespace[HTML_ESCAPE]
        if html_escape is not escape.xhtml_escape:
            namespace["_tt_escape_html"] = lambda value: runtime.escape_by(
                html_escape, value
            )
        execute = FunctionType(self._execute, namespace)
        try:
            return execute()  # type: ignore[no-any-return]
        except Exception as error:
            self._show_template_lines(error)
            raise

    # -- compiling ---------------------------------------------------------------------

    def _write(self, loader: BaseLoader | None) -> Writer:
        ancestors = self._ancestors(loader)
        ancestors.reverse()
        named_blocks: dict[str, NamedBlock] = {}
        for ancestor in ancestors:
            ancestor.file.find_named_blocks(ancestor, loader, named_blocks)
        root = ancestors[0]
        writer = Writer(root, loader, named_blocks)
        root.file.generate(writer)
        if writer.sets_html_escape:
            writer = Writer(root, loader, named_blocks, html_escape_is_global=False)
            root.file.generate(writer)
        return writer

    def _ancestors(self, loader: BaseLoader | None) -> list[Template]:
        """This template, the one it extends, the one that extends, and so on."""
        ancestors = [self]
        for chunk in self.file.body.chunks:
            if not isinstance(chunk, ExtendsBlock):
                continue
            if len(ancestors) > 1:
                self._fail(
                    "a template extends one other, this is the second", chunk.line
                )
            if loader is None:
                self._fail(
                    "{% extends %} block found, but no template loader", chunk.line
                )
            ancestors += loader.load(chunk.name, self.name)._ancestors(loader)
        return ancestors

    def _compile(self) -> CodeType:
        try:
            return compile(self.code, self._generated_name, "exec", dont_inherit=True)
        except SyntaxError as error:
            template, line = self._author_of(error.lineno or 1)
            # Lines in the message are those of the generated code.
            message = re.sub(r" \(detected at line \d+\)", "", error.msg)
            message = re.sub(
                r"(?<=line )\d+",
                lambda found: str(self._author_of(int(found[0]))[1]),
                message,
            )
            template._fail_in_python(message, line)

    def _author_of(self, line: int) -> tuple[Template, int]:
        """The template and the line in it that `line` of the generated code is due to.

        A line of our own making is due to what stands before it.
        """
        for origin in reversed(self._origins[:line]):
            if origin[-1][1]:
                return origin[-1]
        return self, 1

    # -- errors ------------------------------------------------------------------------

    def _fail(self, message: str, line: int) -> NoReturn:
        raise ParseError(message, self.name, line)

    def _fail_in_python(self, message: str, line: int) -> NoReturn:
        lines = self._source.split("\n")
        filename = self._place(line).filename
        raise TemplateSyntaxError(message, filename, line, lines[line - 1]) from None

    def _place(self, line: int) -> runtime.Place:
        path = self.loader._path_of(self.name) if self.loader else None
        if path is not None and os.path.exists(path):
            return runtime.Place(path, line, None)
        # A name in angle brackets would never be looked up by linecache.
        return runtime.Place(f"template {self.name}", line, self._source)

    def _places_of(self, line: int) -> list[runtime.Place]:
        """The templates' lines that became `line` of the generated code."""
        if not 1 <= line <= len(self._origins):
            return []
        return [template._place(at) for template, at in self._origins[line - 1]]

    def _show_template_lines(self, error: BaseException) -> None:
        """Replace our generated code in the tracebacks of `error` and its contexts."""
        seen: set[int] = set()
        pending: list[BaseException | None] = [error]
        while pending:
            told = pending.pop()
            if told is None or id(told) in seen:
                continue
            seen.add(id(told))
            told.__traceback__ = runtime.with_template_lines(
                told.__traceback__, self._generated_name, self._places_of
            )
            pending += (told.__context__, told.__cause__)
        # The frames that show templates refer to this one.
        del error, told
