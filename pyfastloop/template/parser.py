"""From the text of a template to its parts.

One pass over the text: `_Reader` finds the next mark and keeps the line; `parse` makes
parts until the block it is in ends, and calls itself for blocks within.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, NoReturn

from pyfastloop.template.nodes import (
    ApplyBlock,
    ChunkList,
    ControlBlock,
    Expression,
    ExtendsBlock,
    IncludeBlock,
    IntermediateBlock,
    NamedBlock,
    Node,
    Statement,
    Text,
)

if TYPE_CHECKING:
    from pyfastloop.template.template import Template

__all__ = ["ParseError", "TemplateSyntaxError", "filter_whitespace", "parse"]


class ParseError(Exception):
    """A mistake in a template.

    ``message``, ``filename`` and ``lineno`` say what and where.
    """

    def __init__(
        self, message: str, filename: str | None = None, lineno: int = 0
    ) -> None:
        super().__init__(message, filename, lineno)
        self.message = message
        self.filename = filename
        # None is what a SyntaxError, which some of these are, might have.
        self.lineno: int | None = lineno

    def __str__(self) -> str:
        return f"{self.message} at {self.filename}:{self.lineno}"


class TemplateSyntaxError(ParseError, SyntaxError):
    """A mistake in the Python text of a template.

    Shown as Python shows its own: with the line of the template.
    """

    def __init__(
        self, message: str, filename: str | None, lineno: int, text: str
    ) -> None:
        ParseError.__init__(self, message, filename, lineno)
        self.msg = message
        self.text = text


def filter_whitespace(mode: str, text: str) -> str:
    """`text` with its white space as `mode` has it.

    "all" leaves it as it is, "single" makes one of several spaces or newlines,
    "oneline" one space of any white space. Another mode is a ValueError.
    """
    if mode == "all":
        return text
    if mode == "single":
        text = re.sub(r"[\t ]+", " ", text)
        return _LINE_ENDS.sub("\n", text)
    if mode == "oneline":
        return re.sub(r"\s+", " ", text)
    raise ValueError(
        f'invalid whitespace mode {mode}: it is "all", "single" or "oneline"'
    )


# White space with a line end in it.
_LINE_ENDS = re.compile(r"\s*\n\s*")

_MARK = re.compile(r"\{[{%#]")
_OPERATOR = re.compile(r"(\S+)\s*(.*)", re.DOTALL)

# What may stand in which block.
_ATTACHED = {
    "else": ("if", "for", "while", "try"),
    "elif": ("if",),
    "except": ("try",),
    "finally": ("try",),
}


class _Reader:
    """The text, a position in it and its line."""

    def __init__(self, template: Template, text: str, whitespace: str) -> None:
        self.template = template
        self.whitespace = whitespace
        self.text = text
        self.position = 0
        self.line = 1

    def take(self, end: int) -> str:
        """The text up to `end`, which becomes the position."""
        taken = self.text[self.position : end]
        self.position = end
        self.line += taken.count("\n")
        return taken

    def fail(self, message: str, line: int | None = None) -> NoReturn:
        self.template._fail(message, self.line if line is None else line)

    def next_mark(self) -> int:
        """Where the next mark begins; -1 where there is none."""
        position = self.position
        while found := _MARK.search(self.text, position):
            position = found.start()
            # Of more than two braces the innermost are meant.
            if not self.text.startswith("{{{", position):
                return position
            position += 1
        return -1

    def inside(self, end: str, what: str) -> str:
        """The text inside of a mark that ends with `end`, which is passed."""
        close = self.text.find(end, self.position)
        if close < 0:
            self.fail(f"Missing end {what} {end}")
        contents = self.take(close).strip()
        self.position += len(end)
        if "\0" in contents:
            self.fail(f"null byte in {what}")
        return contents

    def text_node(self, value: str, line: int) -> Text:
        # Whoever writes <pre> means it.
        if "<pre>" not in value:
            value = filter_whitespace(self.whitespace, value)
        return Text(value, line)


def parse(template: Template, text: str, whitespace: str) -> ChunkList:
    """The parts of `text`. Raises ParseError."""
    filter_whitespace(whitespace, "")  # is there such a mode?
    return _parse(_Reader(template, text, whitespace), None, None, 0)


def _parse(
    reader: _Reader, in_block: str | None, in_loop: str | None, begun: int
) -> ChunkList:
    """The parts up to the end of the block that began in line `begun`."""
    body = ChunkList([], reader.line)
    chunks = body.chunks
    while True:
        mark = reader.next_mark()
        line = reader.line
        if mark < 0:
            if in_block:
                reader.fail(f"Missing {{% end %}} block for {in_block}", begun)
            chunks.append(reader.text_node(reader.take(len(reader.text)), line))
            return body
        if mark > reader.position:
            chunks.append(reader.text_node(reader.take(mark), line))
        line = reader.line
        brace = reader.take(mark + 2)
        if reader.text.startswith("!", reader.position):
            reader.take(reader.position + 1)
            chunks.append(Text(brace, line))
        elif brace == "{#":
            reader.inside("#}", "comment")
        elif brace == "{{":
            contents = reader.inside("}}", "expression")
            if not contents:
                reader.fail("Empty expression", line)
            chunks.append(_expression(reader, contents, line))
        else:
            contents = reader.inside("%}", "block")
            found = _OPERATOR.match(contents)
            if found is None:
                reader.fail("Empty block tag ({% %})", line)
            operator, rest = found.groups()
            if operator == "end":
                if not in_block:
                    reader.fail("Extra {% end %} block", line)
                return body
            node = _directive(reader, operator, rest, contents, line, in_block, in_loop)
            if node is not None:
                chunks.append(node)


def _directive(
    reader: _Reader,
    operator: str,
    rest: str,
    contents: str,
    line: int,
    in_block: str | None,
    in_loop: str | None,
) -> Node | None:
    """The part that the directive `contents` makes, None where it makes none."""
    attached_to = _ATTACHED.get(operator)
    if attached_to is not None:
        if not in_block:
            reader.fail(f"{operator} outside {_either(attached_to)} block", line)
        if in_block not in attached_to:
            reader.fail(
                f"{operator} block cannot be attached to {in_block} block", line
            )
        return IntermediateBlock(contents, line)
    match operator:
        case "if" | "for" | "while" | "try":
            loop = operator if operator in ("for", "while") else in_loop
            return ControlBlock(contents, line, _parse(reader, operator, loop, line))
        case "apply":
            if not rest:
                reader.fail("apply missing method name", line)
            # The body is a function of its own: no loop reaches into it.
            return ApplyBlock(rest, line, _parse(reader, operator, None, line))
        case "block":
            if not rest:
                reader.fail("block missing name", line)
            body = _parse(reader, operator, in_loop, line)
            return NamedBlock(rest, reader.template, line, body)
        case "break" | "continue":
            if not in_loop:
                reader.fail(f"{operator} outside for or while block", line)
            return Statement(contents, line)
        case "extends":
            name = rest.strip("\"'")
            if not name:
                reader.fail("extends missing file path", line)
            if in_block:
                reader.fail(f"extends inside of a block: {in_block}", line)
            return ExtendsBlock(name, line)
        case "include":
            name = rest.strip("\"'")
            if not name:
                reader.fail("include missing file path", line)
            return IncludeBlock(name, line)
        case "import" | "from":
            if not rest:
                reader.fail(f"{operator} missing statement", line)
            return Statement(contents, line)
        case "set":
            if not rest:
                reader.fail("set missing statement", line)
            return Statement(rest, line)
        case "raw":
            if not rest:
                reader.fail("raw missing expression", line)
            return _expression(reader, rest, line, raw=True)
        case "module":
            if not rest:
                reader.fail("module missing expression", line)
            return _expression(reader, f"_tt_modules.{rest}", line, raw=True)
        case "autoescape":
            reader.template.autoescape = None if rest in ("None", "") else rest
            return None
        case "whitespace":
            try:
                filter_whitespace(rest, "")
            except ValueError as error:
                reader.fail(str(error), line)
            reader.whitespace = rest
            return None
        case "comment":
            return None
        case _:
            reader.fail(f"unknown operator: {operator!r}", line)


def _expression(reader: _Reader, text: str, line: int, raw: bool = False) -> Expression:
    """An expression, which is going to stand in parentheses and must not close them."""
    try:
        call = ast.parse(f"_(\n{text}\n)", mode="eval").body
    except SyntaxError as error:
        message, at = error.msg, (error.lineno or 2) - 1
        try:
            # Our own parentheses may have led the parser astray.
            ast.parse(text, mode="eval")
        except SyntaxError as own_error:
            message, at = own_error.msg, own_error.lineno or 1
        message = re.sub(r" \(detected at line \d+\)", "", message)
        last = line + text.count("\n")
        reader.template._fail_in_python(message, min(line + at - 1, last))
    alone = isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
    if not alone or not (call.args or call.keywords):  # type: ignore[attr-defined]
        reader.fail(f"not an expression: {text}", line)
    return Expression(text, line, raw)


def _either(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}" if names[1:] else names[0]
