"""Templates: text with Python in it, compiled to a Python function once.

    t = Template("<html>{{ greeting }}</html>")
    t.generate(greeting="hello")           # bytes: b"<html>hello</html>"

    loader = Loader("pages")
    loader.load("page.html").generate(items=items)

Expressions stand between ``{{`` and ``}}``, directives between ``{%`` and ``%}``,
comments between ``{#`` and ``#}``; ``{{!``, ``{%!`` and ``{#!`` are the marks
themselves. What an expression gives is made text and escaped, with
`escape.xhtml_escape` unless the template or its loader says otherwise. The directives:

    {% apply function %}...{% end %}   the output in between, bytes, through a function
    {% autoescape function %}          for this file; None for no escaping
    {% block name %}...{% end %}       a part that extending templates replace
    {% comment ... %}                  nothing
    {% extends filename %}             that template, with the blocks of this one
    {% for var in expr %}...{% end %}  also with else, break and continue
    {% from x import y %}, {% import module %}
    {% if condition %}...{% elif condition %}...{% else %}...{% end %}
    {% include filename %}             that template here, with the variables from here
    {% module expr %}                  a UI module of an Application
    {% raw expr %}                     an expression that is not escaped
    {% set x = y %}                    a variable
    {% try %}...{% except %}...{% else %}...{% finally %}...{% end %}
    {% while condition %}...{% end %}
    {% whitespace mode %}              "all", "single" or "oneline", from here on

A template is code: never make one of what a user sent.

Differences from Tornado: the traceback of an error in a template has the file and line
of the template, and of those that include it, in the place of the generated code's; a
mistake in Python text is a SyntaxError that is a `ParseError` too, with the template's
line; templates that include or extend themselves, and ``{% extends %}`` anywhere but on
the top level of a template, are ParseErrors.
"""

from __future__ import annotations

from pyfastloop.template.loader import BaseLoader, DictLoader, Loader
from pyfastloop.template.parser import ParseError, filter_whitespace
from pyfastloop.template.template import Template

__all__ = [
    "BaseLoader",
    "DictLoader",
    "Loader",
    "ParseError",
    "Template",
    "filter_whitespace",
]
