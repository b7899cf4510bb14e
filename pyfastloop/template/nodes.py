"""The parts of a parsed template, and how each of them becomes Python.

A template and all that it extends and includes become one function, because they share
their variables. It looks like this:

    def _tt_execute():
        _tt_html = _tt_escape_html
        _tt_text = _tt_text_of
        _tt_buffer = []
        _tt_append = _tt_buffer.append
        _tt_extend = _tt_buffer.extend
        for item in items:  # page.html:3
            _tt_extend((
        '<li>',
        _tt_html((  # page.html:4
        item.name
        )),
        '</li>\\n',
            ))
            pass
        return _tt_join(_tt_buffer)

Output is gathered until something else happens and handed to the list in one call. What
a template's author wrote stands on lines of its own, inside of parentheses where it is
an expression: it may hold line ends and comments. The writer remembers for each line of
Python the template and the line it comes from.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyfastloop.template.loader import BaseLoader
    from pyfastloop.template.template import Template

#: The escaping function that compiled templates need not look up.
HTML_ESCAPE = "xhtml_escape"

#: A template and a line in it. Of several, each includes the next.
Origin = tuple[tuple["Template", int], ...]


class Writer:
    """Collects the lines of Python that templates become."""

    def __init__(
        self,
        template: Template,
        loader: BaseLoader | None,
        named_blocks: dict[str, NamedBlock],
        html_escape_is_global: bool = True,
    ) -> None:
        self.template = template
        self.loader = loader
        self.named_blocks = named_blocks
        #: Unless the template sets a variable of the name of the escaping function,
        #: which shows only when all of it was written.
        self.html_escape_is_global = html_escape_is_global
        self.sets_html_escape = False
        self.lines: list[str] = []
        self.origins: list[Origin] = []
        self._via: Origin = ()
        self._indent = 0
        self._applied = 0
        #: How many ``try`` blocks of the function we are in.
        self._tries = 0
        self._output: list[tuple[str | Expression, Origin]] = []

    @property
    def source(self) -> str:
        return "\n".join(self.lines) + "\n"

    # -- output: held back, so that pieces get together --------------------------------

    def text(self, text: str, line: int) -> None:
        if self._output and isinstance(self._output[-1][0], str):
            text = self._output.pop()[0] + text  # type: ignore[operator]
        self._output.append((text, self._origin(line)))

    def expression(self, expression: Expression) -> None:
        if HTML_ESCAPE in expression.text and ":=" in expression.text:
            self.sets_html_escape = True
        # Which function escapes is the template's: it may be another one when the
        # output is written.
        escape = None if expression.raw else self.template.autoescape
        written = Expression(expression.text, expression.line, expression.raw)
        written.escape = escape
        self._output.append((written, self._origin(expression.line)))

    def flush(self) -> None:
        """Write the output that was held back."""
        output, self._output = self._output, []
        if not output:
            return
        if self._tries:
            # What stands before an expression that fails has been put out.
            for piece in output:
                self._put_out([piece])
        else:
            self._put_out(output)

    def _put_out(self, output: list[tuple[str | Expression, Origin]]) -> None:
        if len(output) == 1 and isinstance(output[0][0], str):
            self._put(f"_tt_append({output[0][0]!r})", output[0][1])
            return
        self._put("_tt_extend((", output[0][1])
        for piece, origin in output:
            if isinstance(piece, str):
                self._raw(f"{piece!r},", origin)
                continue
            self._raw(f"{self._call_for(piece)}(  # {self._name(origin)}", origin)
            self._raw(piece.text, origin)
            self._raw(")),", origin)
        self._put("))", output[-1][1])

    def _call_for(self, expression: Expression) -> str:
        if expression.escape is None:
            return "_tt_text("
        if expression.escape == HTML_ESCAPE and self.html_escape_is_global:
            return "_tt_html("
        return f"_tt_escape_by({expression.escape}, "

    # -- statements --------------------------------------------------------------------

    def statement(self, text: str, line: int) -> None:
        """Write a line that a template's author wrote."""
        if HTML_ESCAPE in text:
            self.sets_html_escape = True
        self.own(text, line)

    def own(self, text: str, line: int = 0) -> None:
        """Write a line of our own making."""
        self.flush()
        self._put(text, self._origin(line))

    @contextmanager
    def indented(self) -> Iterator[None]:
        self._indent += 1
        yield
        self.flush()
        self._indent -= 1

    @contextmanager
    def trying(self) -> Iterator[None]:
        self.flush()
        self._tries += 1
        yield
        self.flush()
        self._tries -= 1

    @contextmanager
    def dedented(self) -> Iterator[None]:
        self.flush()
        self._indent -= 1
        yield
        self._indent += 1

    @contextmanager
    def inside(self, template: Template, line: int) -> Iterator[None]:
        """What is written belongs to `template`, which is used in this `line`."""
        before = self.template, self._via
        self._via = self._origin(line)
        self.template = template
        yield
        self.template, self._via = before

    def applied_name(self) -> str:
        name = f"_tt_applied{self._applied}"
        self._applied += 1
        return name

    def function(
        self, name: str, body: Node, line: int, prelude: tuple[str, ...] = ()
    ) -> None:
        """Write a function that gives what `body` puts out, as bytes."""
        self.own(f"def {name}():", line)
        tries, self._tries = self._tries, 0
        with self.indented():
            for text in prelude:
                self.own(text, line)
            self.own("_tt_buffer = []", line)
            self.own("_tt_append = _tt_buffer.append", line)
            self.own("_tt_extend = _tt_buffer.extend", line)
            body.generate(self)
            self.own("return _tt_join(_tt_buffer)", line)
        self._tries = tries

    # -- lines -------------------------------------------------------------------------

    def _origin(self, line: int) -> Origin:
        return (*self._via, (self.template, line))

    def _name(self, origin: Origin) -> str:
        # A name may be anything, a comment must be one line.
        template, line = origin[-1]
        return ascii(f"{template.name}:{line}")[1:-1]

    def _put(self, text: str, origin: Origin) -> None:
        """Write `text` indented; further lines of it as they are."""
        self._raw("    " * self._indent + text, origin)

    def _raw(self, text: str, origin: Origin) -> None:
        for number, part in enumerate(text.split("\n")):
            self.lines.append(part)
            template, line = origin[-1]
            self.origins.append((*origin[:-1], (template, line + number)))


class Node:
    """A part of a template."""

    line: int

    def children(self) -> list[Node]:
        return []

    def generate(self, writer: Writer) -> None:
        raise NotImplementedError

    def find_named_blocks(
        self,
        template: Template,
        loader: BaseLoader | None,
        found: dict[str, NamedBlock],
    ) -> None:
        """Add the blocks of this part to `found`."""
        for child in self.children():
            child.find_named_blocks(template, loader, found)


class ChunkList(Node):
    """Parts that follow each other."""

    def __init__(self, chunks: list[Node], line: int = 1) -> None:
        self.chunks = chunks
        self.line = line

    def children(self) -> list[Node]:
        return self.chunks

    def generate(self, writer: Writer) -> None:
        for chunk in self.chunks:
            chunk.generate(writer)


class File(Node):
    """All of a template."""

    def __init__(self, template: Template, body: ChunkList) -> None:
        self.template = template
        self.body = body
        self.line = 0

    def children(self) -> list[Node]:
        return [self.body]

    def generate(self, writer: Writer) -> None:
        # Local names are found faster than those of a namespace that is new each time.
        prelude = ("_tt_html = _tt_escape_html", "_tt_text = _tt_text_of")
        writer.function("_tt_execute", self.body, self.line, prelude)


class Text(Node):
    """Text that is put out as it stands."""

    def __init__(self, value: str, line: int) -> None:
        self.value = value
        self.line = line

    def generate(self, writer: Writer) -> None:
        if self.value:
            writer.text(self.value, self.line)


class Expression(Node):
    """An expression whose value is put out, escaped unless it is `raw`."""

    def __init__(self, text: str, line: int, raw: bool = False) -> None:
        self.text = text
        self.line = line
        self.raw = raw
        self.escape: str | None = None

    def generate(self, writer: Writer) -> None:
        writer.expression(self)


class Statement(Node):
    """A line of Python."""

    def __init__(self, text: str, line: int) -> None:
        self.text = text
        self.line = line

    def generate(self, writer: Writer) -> None:
        writer.statement(self.text, self.line)


class ControlBlock(Node):
    """``if``, ``for``, ``while`` or ``try`` and what belongs to it."""

    def __init__(self, text: str, line: int, body: ChunkList) -> None:
        self.text = text
        self.line = line
        self.body = body

    def children(self) -> list[Node]:
        return [self.body]

    def generate(self, writer: Writer) -> None:
        writer.statement(f"{self.text}:", self.line)
        trying = writer.trying() if self.text.startswith("try") else nullcontext()
        with writer.indented(), trying:
            self.body.generate(writer)
            # There may be nothing else in it.
            writer.own("pass", self.line)


class IntermediateBlock(Node):
    """``else``, ``elif``, ``except`` or ``finally`` within a control block."""

    def __init__(self, text: str, line: int) -> None:
        self.text = text
        self.line = line

    def generate(self, writer: Writer) -> None:
        writer.own("pass", self.line)
        with writer.dedented():
            writer.statement(f"{self.text}:", self.line)


class ApplyBlock(Node):
    """Output that goes through a function."""

    def __init__(self, function: str, line: int, body: ChunkList) -> None:
        self.function = function
        self.line = line
        self.body = body

    def children(self) -> list[Node]:
        return [self.body]

    def generate(self, writer: Writer) -> None:
        name = writer.applied_name()
        writer.function(name, self.body, self.line)
        writer.own("_tt_append(_tt_applied((", self.line)
        writer.statement(self.function, self.line)
        writer.own(f")({name}())))", self.line)


class NamedBlock(Node):
    """A part that an extending template may replace."""

    def __init__(
        self, name: str, template: Template, line: int, body: ChunkList
    ) -> None:
        self.name = name
        self.template = template
        self.line = line
        self.body = body

    def children(self) -> list[Node]:
        return [self.body]

    def generate(self, writer: Writer) -> None:
        block = writer.named_blocks[self.name]
        if block.template is writer.template:
            block.body.generate(writer)
            return
        with writer.inside(block.template, self.line):
            block.body.generate(writer)

    def find_named_blocks(
        self,
        template: Template,
        loader: BaseLoader | None,
        found: dict[str, NamedBlock],
    ) -> None:
        found[self.name] = self
        super().find_named_blocks(template, loader, found)


class ExtendsBlock(Node):
    """The template that this one extends; on the top level only."""

    def __init__(self, name: str, line: int) -> None:
        self.name = name
        self.line = line

    def generate(self, writer: Writer) -> None:
        # Here only where a template that extends is included.
        writer.template._fail("a template that extends cannot be included", self.line)


class IncludeBlock(Node):
    """Another template in this place."""

    def __init__(self, name: str, line: int) -> None:
        self.name = name
        self.line = line

    def _load(self, template: Template, loader: BaseLoader | None) -> Template:
        if loader is None:
            template._fail("{% include %} needs a template loader", self.line)
        return loader.load(self.name, template.name)

    def find_named_blocks(
        self,
        template: Template,
        loader: BaseLoader | None,
        found: dict[str, NamedBlock],
    ) -> None:
        included = self._load(template, loader)
        included.file.find_named_blocks(included, loader, found)

    def generate(self, writer: Writer) -> None:
        included = self._load(writer.template, writer.loader)
        with writer.inside(included, self.line):
            included.file.body.generate(writer)
