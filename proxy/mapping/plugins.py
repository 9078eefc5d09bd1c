"""Finding, checking and loading plugins. Anything wrong refuses to start: a forwarder that runs
without one of its mappings loses data quietly.

Loading order: the built-ins of `plugins/`, entry points of the group "kochava_proxy" sorted by
name, then the files of the drop-in folder sorted by name. The last loaded is asked first.
"""

from __future__ import annotations

import difflib
import importlib.metadata
import importlib.util
import inspect
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pluggy

import plugins as builtins_package
from proxy.errors import ConfigError, PluginError, Problem
from proxy.mapping.hookspecs import NAMESPACE, OBSERVERS, Hooks

if TYPE_CHECKING:
    from proxy.config import Config

HOOKS: Final = tuple(name for name in vars(Hooks) if not name.startswith("_"))

#: Called with hook, plugin and answer, or the exception, each time a plugin was asked.
Listener = Callable[[str, str, object], None]


class Plugin(msgspec.Struct, frozen=True):
    """A loaded plugin: its name in the config, where it comes from, the file it stands in."""

    name: str
    origin: str
    file: str
    module: Any


class Plugins:
    """The plugins in loading order, and `hook`, through which they are asked."""

    def __init__(self, loaded: Sequence[Plugin]) -> None:
        self._manager = pluggy.PluginManager(NAMESPACE)
        self._manager.add_hookspecs(Hooks)
        self.hook: Any = self._manager.hook  # Any: the hooks' types stand in hookspecs.Hooks
        self.loaded = tuple(loaded)
        for plugin in loaded:
            _check_hooks(plugin, self._manager)
            try:
                self._manager.register(plugin.module, plugin.name)
            except (ValueError, pluggy.PluginValidationError) as error:
                raise PluginError(Problem(plugin.file, "", str(error).splitlines()[0])) from None
        self._manager.check_pending()

    def configure(self, config: Config) -> None:
        """Hands each plugin its settings; the first that is not content stops the start."""
        for plugin in self.loaded:
            settings = config.plugins.settings.get(plugin.name, {})
            for implementation in self.hook.configure.get_hookimpls():
                if implementation.plugin_name != plugin.name:
                    continue
                given = {"config": config, "settings": settings}
                try:
                    implementation.function(*(given[name] for name in implementation.argnames))
                except ConfigError as error:
                    problem = Problem(plugin.file, f'plugins.settings."{plugin.name}"', str(error))
                    raise PluginError(problem) from None
                except Exception as error:
                    raise _broken(plugin.file, "configure", error) from error

    def answering(self, hook: str) -> list[str]:
        """The names of the plugins that implement a hook, in the order in which they are asked."""
        implementations = getattr(self.hook, hook).get_hookimpls()
        return [each.plugin_name for each in reversed(implementations)]

    @contextmanager
    def listening(self, listener: Listener) -> Iterator[None]:
        """Within this context `listener` hears every answer of every plugin.

        It stands between pluggy and the plugins' own functions, so that what is heard is what
        delivery gets; outside this context nothing stands there and it costs nothing.
        """
        heard = [
            (each, each.function)
            for hook in HOOKS
            for each in getattr(self.hook, hook).get_hookimpls()
        ]
        for each, function in heard:
            hook = function.__name__ if each.opts["specname"] is None else each.opts["specname"]
            each.function = _overheard(function, hook, each.plugin_name, listener)
        try:
            yield
        finally:
            for each, function in heard:
                each.function = function


def _overheard(
    function: Callable[..., Any], hook: str, plugin: str, listener: Listener
) -> Callable[..., Any]:
    def call(*args: object) -> object:
        try:
            answer = function(*args)
        except Exception as error:
            listener(hook, plugin, error)
            raise
        listener(hook, plugin, answer)
        return answer

    def wrap(*args: object) -> Any:
        try:
            answer = yield from function(*args)
        except Exception as error:
            listener(hook, plugin, error)
            raise
        listener(hook, plugin, answer)
        return answer

    return wrap if inspect.isgeneratorfunction(function) else call


def load_plugins(config: Config, base: Path, *more: Plugin) -> Plugins:
    """All plugins that the config asks for, then `more`, configured. `base` is the folder of the
    config file.

    Raises:
        PluginError: naming the file, and where there is one the hook and its line.

    """
    settings = config.plugins
    found = list(_builtins())
    if settings.entry_points:
        found += _entry_points()
    found += _dropped(base / settings.directory)
    blocked = _blocked(settings.disable, found)
    plugins = Plugins([*(plugin for plugin in found if plugin.name not in blocked), *more])
    known = [plugin.name for plugin in plugins.loaded]
    for name in settings.settings:
        if name not in known:
            key = f'plugins.settings."{name}"'
            raise PluginError(Problem("", key, "there is no such plugin", _nearest(name, known)))
    plugins.configure(config)
    return plugins


def _builtins() -> Iterator[Plugin]:
    folder = Path(builtins_package.__path__[0])
    for file in _files(folder):
        yield Plugin(f"plugins/{file.name}", "built-in", str(file), _load(file))


def _entry_points() -> list[Plugin]:
    found = []
    points = importlib.metadata.entry_points(group=NAMESPACE)
    for point in sorted(points, key=lambda point: point.name):
        origin = f"{point.dist.name} {point.dist.version}" if point.dist else "entry point"
        try:
            module = point.load()
        except Exception as error:
            raise _broken(f"{origin} ({point.value})", "", error) from error
        file = getattr(module, "__file__", None) or inspect.getfile(type(module))
        found.append(Plugin(point.name, origin, str(file), module))
    return found


def _dropped(folder: Path) -> list[Plugin]:
    # That a folder which the config names exists was checked with the config.
    if not folder.is_dir():
        return []
    return [Plugin(file.name, "drop-in", str(file), _load(file)) for file in _files(folder)]


def _files(folder: Path) -> list[Path]:
    """Plugin files; a name that begins with "_" or "." is a helper's or an editor's."""
    return [file for file in sorted(folder.glob("*.py")) if not file.name.startswith(("_", "."))]


def _load(file: Path) -> ModuleType:
    """A fresh module, in no way shared: two proxies in one process do not see each other's."""
    spec = importlib.util.spec_from_file_location(f"_{NAMESPACE}_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise PluginError(Problem(str(file), "", "cannot be loaded as a Python module"))
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise _broken(str(file), "", error) from error
    return module


def _broken(file: str, key: str, error: Exception) -> PluginError:
    """A plugin raised while it was loaded: the last line of that file in the traceback."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == file
    ]
    line = error.lineno if isinstance(error, SyntaxError) else (lines[-1] if lines else None)
    place = ", ".join(part for part in (key, f"line {line}" if line else "") if part)
    return PluginError(Problem(file, place, f"{type(error).__name__}: {error}"))


def _blocked(disable: Iterable[str], found: Sequence[Plugin]) -> set[str]:
    """The names to leave out. A built-in may be called by its file name or stem as well."""
    names = {plugin.name for plugin in found}
    blocked = set()
    for wanted in disable:
        short = f"plugins/{wanted.removesuffix('.py')}.py"
        if wanted not in names and short not in names:
            mend = _nearest(wanted, sorted(names))
            raise PluginError(Problem("", "plugins.disable", f"no plugin {wanted!r}", mend))
        blocked.add(wanted if wanted in names else short)
    return blocked


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}"


def _check_hooks(plugin: Plugin, manager: pluggy.PluginManager) -> None:
    """What pluggy does not refuse, or refuses without naming the place."""
    marked = 0
    for name, function in inspect.getmembers(plugin.module, callable):
        options = manager.parse_hookimpl_opts(plugin.module, name)
        if options is None:
            if name in HOOKS and getattr(function, "__module__", None) == plugin.module.__name__:
                raise _wrong(plugin, name, function, "is not marked", "write @hookimpl above it")
            continue
        marked += 1
        _check_hook(plugin, options.get("specname") or name, function, options)
    if not marked:
        mend = "mark its hooks with @hookimpl, or begin the file's name with _ if it is a helper"
        raise PluginError(Problem(plugin.file, "", "has no hooks", mend))


def _check_hook(plugin: Plugin, hook: str, function: Any, options: Any) -> None:
    if hook not in HOOKS:
        raise _wrong(plugin, hook, function, "there is no such hook", _nearest(hook, HOOKS))
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        mend = "hooks do no I/O: write a plain def"
        raise _wrong(plugin, hook, function, "is async", mend)
    if options.get("hookwrapper"):
        raise _wrong(plugin, hook, function, "is an old-style wrapper", "write wrapper=True")
    if options.get("wrapper") and hook in OBSERVERS:
        mend = "observers are guarded one by one: write a plain @hookimpl"
        raise _wrong(plugin, hook, function, "wraps an observer", mend)
    if inspect.isgeneratorfunction(function) != bool(options.get("wrapper")):
        what = "yields without wrapper=True, or is a wrapper that never yields"
        raise _wrong(plugin, hook, function, what, "a wrapper yields exactly once")
    allowed = list(inspect.signature(getattr(Hooks, hook)).parameters)[1:]
    for name in inspect.signature(function).parameters:
        if name not in allowed:
            mend = f"it may take: {', '.join(allowed)}"
            raise _wrong(plugin, hook, function, f"has an unknown parameter {name!r}", mend)


def _wrong(plugin: Plugin, hook: str, function: Any, what: str, mend: str) -> PluginError:
    code = getattr(inspect.unwrap(function), "__code__", None)
    line = f", line {code.co_firstlineno}" if code else ""
    return PluginError(Problem(plugin.file, f"{hook}{line}", what, mend))
