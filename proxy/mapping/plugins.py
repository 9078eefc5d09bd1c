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
import itertools
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pluggy

import plugins as builtins_package
from proxy.errors import ConfigError, PluginError, Problem
from proxy.mapping.asking import Ask, first_answer
from proxy.mapping.hookspecs import NAMESPACE, OBSERVERS, Hooks, parameters

if TYPE_CHECKING:
    from proxy.config import Config

_numbers = itertools.count(1)
HOOKS: Final = tuple(name for name in vars(Hooks) if not name.startswith("_"))

#: Called with hook, plugin and answer, or the exception, each time a plugin was asked.
Listener = Callable[[str, str, object], None]


class Plugin(msgspec.Struct, frozen=True):
    """A loaded plugin: its name in the config, where it comes from, the file it stands in."""

    name: str
    origin: str
    file: str
    module: Any


#: A plugin's name, and how to load it. What is disabled is never loaded: it may be broken.
Found = tuple[str, Callable[[], Plugin]]


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

    def asking(self, hook: str) -> Ask:
        """What asks for the one answer of a hook."""
        return first_answer(getattr(self.hook, hook))

    @contextmanager
    def listening(self, listener: Listener) -> Iterator[None]:
        """Within this context `listener` hears every answer of every plugin.

        It stands between whoever asks and the plugins' own functions, so that what is heard is what
        delivery gets; outside this context nothing stands there and it costs nothing.
        """
        heard = [
            (hook, each, each.function)
            for hook in HOOKS
            for each in getattr(self.hook, hook).get_hookimpls()
        ]
        for hook, each, function in heard:
            each.function = _overheard(function, hook, each.plugin_name, listener)
        try:
            yield
        finally:
            for _, each, function in heard:
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
    found = _builtins()
    if settings.entry_points:
        found += _entry_points()
    # Absolute, as in the tracebacks that are searched for it.
    found += _dropped((base / settings.directory).absolute())
    blocked = _blocked(settings.disable, [name for name, _ in found])
    plugins = Plugins([*(load() for name, load in found if name not in blocked), *more])
    known = [plugin.name for plugin in plugins.loaded]
    for name in settings.settings:
        if name not in known:
            key = f'plugins.settings."{name}"'
            raise PluginError(Problem("", key, "there is no such plugin", _nearest(name, known)))
    plugins.configure(config)
    return plugins


def _builtins() -> list[Found]:
    files = _files(Path(builtins_package.__path__[0]))
    return [_in_file(f"plugins/{file.name}", "built-in", file) for file in files]


def _entry_points() -> list[Found]:
    points = importlib.metadata.entry_points(group=NAMESPACE)
    in_order = sorted(points, key=lambda point: point.name)
    return [(point.name, partial(_entry_point, point)) for point in in_order]


def _entry_point(point: importlib.metadata.EntryPoint) -> Plugin:
    origin = f"{point.dist.name} {point.dist.version}" if point.dist else "entry point"
    try:
        module = point.load()
        file = getattr(module, "__file__", None) or inspect.getfile(type(module))
    except (Exception, SystemExit) as error:
        raise _broken(f"{origin} ({point.value})", "", error) from error
    return Plugin(point.name, origin, str(file), module)


def _dropped(folder: Path) -> list[Found]:
    # That a folder which the config names exists was checked with the config.
    if not folder.is_dir():
        return []
    return [_in_file(file.name, "drop-in", file) for file in _files(folder)]


def _in_file(name: str, origin: str, file: Path) -> Found:
    return name, lambda: Plugin(name, origin, str(file), _load(file))


def _files(folder: Path) -> list[Path]:
    """Plugin files; one whose name begins with "_" or "." is left out."""
    return [file for file in sorted(folder.glob("*.py")) if not file.name.startswith(("_", "."))]


def _load(file: Path) -> ModuleType:
    """A fresh module, in no way shared: two proxies in one process do not see each other's."""
    name = f"_{NAMESPACE}_{next(_numbers)}_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise PluginError(Problem(str(file), "", "cannot be loaded as a Python module"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses and typing look for a module's names
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise _broken(str(file), "", error) from error
    return module


def _broken(file: str, key: str, error: BaseException) -> PluginError:
    """A plugin raised while it was loaded: the last line of that file in the traceback."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == file
    ]
    if isinstance(error, SyntaxError) and error.filename == file:
        lines.append(error.lineno)
    line = lines[-1] if lines else None
    place = ", ".join(part for part in (key, f"line {line}" if line else "") if part)
    return PluginError(Problem(file, place, f"{type(error).__name__}: {error}"))


def _blocked(disable: Iterable[str], names: Sequence[str]) -> set[str]:
    """The names to leave out. A built-in may be called by its file name or stem as well."""
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
            ours = getattr(plugin.module, "__name__", None)
            if name in HOOKS and getattr(function, "__module__", None) == ours:
                raise _wrong(plugin, name, function, "is not marked", "write @hookimpl above it")
            continue
        marked += 1
        _check_hook(plugin, options.get("specname") or name, function, options)
    if not marked:
        mend = "mark its hooks with @hookimpl, or begin the file's name with _ to leave it out"
        raise PluginError(Problem(plugin.file, "", "has no hooks", mend))


def _check_hook(plugin: Plugin, hook: str, function: Any, options: Any) -> None:
    if hook not in HOOKS:
        raise _wrong(plugin, hook, function, "there is no such hook", _nearest(hook, HOOKS))
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        mend = "hooks do no I/O: write a plain def"
        raise _wrong(plugin, hook, function, "is async", mend)
    if options.get("hookwrapper"):
        raise _wrong(plugin, hook, function, "is an old-style wrapper", "write wrapper=True")
    if options.get("wrapper") and (hook in OBSERVERS or hook == "configure"):
        mend = "each plugin is called by itself here: write a plain @hookimpl"
        raise _wrong(plugin, hook, function, "cannot be wrapped", mend)
    if inspect.isgeneratorfunction(function) != bool(options.get("wrapper")):
        what = "yields without wrapper=True, or is a wrapper that never yields"
        raise _wrong(plugin, hook, function, what, "a wrapper yields exactly once")
    allowed = parameters(hook)
    for name, parameter in inspect.signature(function).parameters.items():
        if name not in allowed:
            mend = f"it may take: {', '.join(allowed)}"
            raise _wrong(plugin, hook, function, f"has an unknown parameter {name!r}", mend)
        by_position = parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        if not by_position or parameter.default is not parameter.empty:
            mend = "name it plainly: no default, no star before it"
            raise _wrong(plugin, hook, function, f"would never be given {name!r}", mend)


def _wrong(plugin: Plugin, hook: str, function: Any, what: str, mend: str) -> PluginError:
    code = getattr(inspect.unwrap(function), "__code__", None)
    line = f", line {code.co_firstlineno}" if code else ""
    return PluginError(Problem(plugin.file, f"{hook}{line}", what, mend))
