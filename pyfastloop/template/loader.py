"""Where templates come from: files, a dict, or what a subclass makes of a name."""

from __future__ import annotations

import os.path
import posixpath
import threading
from typing import Any

from pyfastloop.template.parser import ParseError
from pyfastloop.template.template import Template

__all__ = ["BaseLoader", "DictLoader", "Loader"]


class BaseLoader:
    """Loads templates by name and keeps them compiled.

    Subclasses define `resolve_path` and ``_create_template(name)``. `autoescape` (the
    name of a function, None for no escaping) and `whitespace` (see
    `filter_whitespace`) are for templates that do not say; `namespace` are names that
    all of them see. May be used by several threads.
    """

    def __init__(
        self,
        autoescape: str | None = "xhtml_escape",
        namespace: dict[str, Any] | None = None,
        whitespace: str | None = None,
    ) -> None:
        self.autoescape = autoescape
        self.namespace = namespace or {}
        self.whitespace = whitespace
        self.templates: dict[str, Template] = {}
        # Taken again by the templates that one includes.
        self.lock = threading.RLock()
        self._loading: list[str] = []

    def reset(self) -> None:
        """Forget the compiled templates."""
        with self.lock:
            self.templates = {}

    def resolve_path(self, name: str, parent_path: str | None = None) -> str:
        """The template that `name` means in the template `parent_path`."""
        raise NotImplementedError(f"{type(self).__name__} defines no resolve_path")

    def load(self, name: str, parent_path: str | None = None) -> Template:
        """The template called `name`, from the template `parent_path` if any."""
        name = self.resolve_path(name, parent_path=parent_path)
        with self.lock:
            template = self.templates.get(name)
            if template is None:
                if name in self._loading:
                    chain = " -> ".join([*self._loading, name])
                    raise ParseError(f"a template needs itself: {chain}", parent_path)
                self._loading.append(name)
                try:
                    template = self._create_template(name)
                finally:
                    self._loading.pop()
                self.templates[name] = template
            return template

    def _create_template(self, name: str) -> Template:
        raise NotImplementedError(f"{type(self).__name__} defines no _create_template")

    def _path_of(self, name: str) -> str | None:
        """The file that the template `name` is in, if any; tracebacks show it."""
        return None


class Loader(BaseLoader):
    """Loads templates from the files below a folder."""

    def __init__(self, root_directory: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.root = os.path.abspath(root_directory)

    def resolve_path(self, name: str, parent_path: str | None = None) -> str:
        """`name` relative to the folder of the template `parent_path`.

        As it is where that leads out of the loader's folder, or where either is
        absolute.
        """
        if parent_path and not parent_path.startswith(("<", "/")):
            folder = os.path.dirname(os.path.join(self.root, parent_path))
            path = os.path.abspath(os.path.join(folder, name))
            if not name.startswith("/") and path.startswith(self.root + os.sep):
                return os.path.relpath(path, self.root)
        return name

    def _path_of(self, name: str) -> str | None:
        return os.path.join(self.root, name)

    def _create_template(self, name: str) -> Template:
        with open(os.path.join(self.root, name), "rb") as file:
            return Template(file.read(), name=name, loader=self)


class DictLoader(BaseLoader):
    """Loads templates from a dict of their texts."""

    def __init__(self, dict: dict[str, str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dict = dict

    def resolve_path(self, name: str, parent_path: str | None = None) -> str:
        """`name` relative to the name `parent_path`, unless either is absolute."""
        if (
            parent_path
            and not parent_path.startswith(("<", "/"))
            and not name.startswith("/")
        ):
            folder = posixpath.dirname(parent_path)
            return posixpath.normpath(posixpath.join(folder, name))
        return name

    def _create_template(self, name: str) -> Template:
        return Template(self.dict[name], name=name, loader=self)
