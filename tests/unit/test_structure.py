"""The code itself: who may import whom, no cycles, sizes, nothing happens on import, suppressions say why."""

import ast
import importlib.metadata
import io
import itertools
import re
import statistics
import sys
import tokenize
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES: tuple[str, ...] = tuple(PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])

FUNCTION_LINES_MAX = 60
FUNCTION_LINES_MEDIAN_MAX = 10
MODULE_LINES_MAX = 400

CLIENTS = {"paho", "confluent_kafka", "pymongo", "gridfs"}
"""Libraries that talk to a server; `bson`, which comes with pymongo, only encodes values."""

CONNECTORS = {
    "confluent_kafka", "confluent_kafka.Consumer", "confluent_kafka.Producer", "confluent_kafka.admin.AdminClient",
    "pymongo", "pymongo.MongoClient", "paho", "paho.mqtt", "paho.mqtt.client",
}  # fmt: skip
"""What opens a connection: whoever imports one of these is an adapter."""

ADAPTERS: dict[str, set[str]] = {
    "edge": {
        "edge.doctor.kafka",
        "edge.doctor.mqtt",
        "edge.kafka",
        "edge.mqtt_client",
        "edge.rules_kafka",
        "edge.rules_mqtt",
        "edge.spool.disk",
    },
    "cloud": {
        "cloud.deadletters",
        "cloud.kafka",
        "cloud.outlet",
        "cloud.queries.reading",
        "cloud.replay",
        "cloud.status.brokers",
        "cloud.mongo",
        "cloud.topics_admin",
    },
    "simulator": {"simulator.connection", "simulator.kafka", "simulator.mongo"},
    "local": {"local.apart", "local.findings", "local.queries", "local.servers.kafka", "local.servers.mongo"},
}

PURE: set[str] = {
    "cloud.detect",
    "cloud.detectors",
    "cloud.dlq.letters",
    "cloud.dlq.returning",
    "cloud.dlq.show",
    "cloud.encoding",
    "cloud.facts",
    "cloud.findings",
    "cloud.fold",
    "cloud.forms",
    "cloud.frontier",
    "cloud.hearing",
    "cloud.offsets",
    "cloud.picking",
    "cloud.skeleton",
    "cloud.group",
    "cloud.history.collect",
    "cloud.history.columns",
    "cloud.history.documents",
    "cloud.history.resample",
    "cloud.history.series",
    "cloud.inbox",
    "cloud.leaves",
    "cloud.link",
    "cloud.queries.conditions",
    "cloud.queries.parsing",
    "cloud.rebuild_compare",
    "cloud.sharing",
    "cloud.twin",
    "cloud.upgrades",
    "cloud.validators",
    "cloud.window",
    "edge.doctor.findings",
    "edge.inbox",
    "edge.letters",
    "edge.packets",
    "edge.receive",
    "edge.rules",
    "edge.spool.records",
    "simulator.engine",
    "simulator.fleet",
    "simulator.packets",
    "simulator.packing",
    "simulator.roads",
    "simulator.people",
    "simulator.replay",
    "simulator.stations",
    "simulator.window",
    "simulator.world",
}
"""Values in, values out: these import no adapter and no client library, directly or through others."""

CALLS_ON_IMPORT = {
    # values
    "auto", "bytes", "datetime", "dict", "enumerate", "float", "frozenset", "len", "list", "max", "min", "range", "set",
    "sorted", "str", "sum", "timedelta", "tuple", "zip",
    "get_args", "math.radians", "np.arange", "np.array", "np.dtype", "np.full", "np.zeros",
    "functools.lru_cache", "re.compile", "struct.Struct", "types.MappingProxyType", "MappingProxyType", "Path",
    "msgspec.json.Decoder", "msgspec.json.Encoder", "msgspec.msgpack.Decoder", "msgspec.msgpack.Encoder",
    # types and their constraints
    "TypeVar", "NewType", "NamedTuple", "Meta", "Field", "SecretStr", "ConfigDict", "SettingsConfigDict",
    "AfterValidator",
    "dataclass", "dataclasses.dataclass", "field", "dataclasses.field", "msgspec.field",
    # a logger that reads its configuration when it is first used
    "structlog.get_logger",
    # command lines
    "typer.Typer", "typer.Option", "typer.Argument", "app.add_typer",
    # ours, in modules that also use a client library
    "cloud.indexes._by", "cloud.indexes._value_index",
}  # fmt: skip
"""What may be called while a module is imported, besides pure functions and value classes of ours: it makes a value
and touches nothing outside."""

METHODS_ON_IMPORT = {"capitalize", "fromtimestamp", "get", "index", "items", "join", "keys", "split", "upper", "values"}
"""Of constants and of loop variables over them."""


def _module(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {_module(file): file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))}
TREES = {module: ast.parse(file.read_text(encoding="utf-8"), str(file)) for module, file in FILES.items()}


def _imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every dotted name that is imported anywhere in a module; `from a import b` is `a.b`, and `a` if that is all."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def _own(name: str) -> str | None:
    """The module of ours that an imported name is or lies in."""
    while name:
        if name in FILES:
            return name
        name = name.rpartition(".")[0]
    return None


OURS = {module: {own for name, _ in _imports(tree) if (own := _own(name))} for module, tree in TREES.items()}
THEIRS = {
    module: {name.partition(".")[0] for name, _ in _imports(tree)} - set(PACKAGES) - sys.stdlib_module_names
    for module, tree in TREES.items()
}


def _package(module: str) -> str:
    return module.partition(".")[0]


def _reaches(module: str) -> set[str]:
    """Every module of ours that importing `module` imports."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        for imported in OURS[waiting.pop()] - seen:
            seen.add(imported)
            waiting.append(imported)
    return seen


def _allowed() -> dict[str, set[str]]:
    """The table of packages in ARCHITECTURE.md: package to packages of ours that it may import."""
    rows = re.findall(
        r"^\| `(\w+)` \|.*\| (none|`.*`) \|$", (ROOT / "ARCHITECTURE.md").read_text("utf-8"), re.MULTILINE
    )
    return {package: set(re.findall(r"`(\w+)`", imports)) for package, imports in rows}


def _extra(name: str) -> set[str]:
    """Distributions that an extra installs, with the base ones and those of the extras it includes."""
    extras: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
    found: set[str] = set()
    for text in [*PROJECT["project"]["dependencies"], *extras.get(name, [])]:
        requirement = Requirement(text)
        if requirement.name == PROJECT["project"]["name"]:
            found |= set().union(*map(_extra, requirement.extras))
        else:
            found.add(canonicalize_name(requirement.name))
    return found


def _functions() -> Iterator[tuple[str, int]]:
    for module, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                yield f"{module}.{node.name}", node.end_lineno - node.lineno + 1


def test_every_package_of_the_architecture_is_there_and_no_other():
    assert _allowed().keys() == set(PACKAGES)
    for package in PACKAGES:
        assert (ROOT / package / "__init__.py").is_file()
        assert (ROOT / package / "py.typed").is_file(), f"{package} does not tell type checkers that it has types"


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_the_packages_that_the_architecture_allows(package):
    for module in FILES:
        if _package(module) == package:
            others = {_package(imported) for imported in OURS[module]} - {package}
            assert others <= _allowed()[package], module


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_libraries_that_its_extra_installs(package):
    """`runtime` is part of every extra but has none of its own."""
    installed = _extra({"wire": "", "runtime": "service"}.get(package, package))
    distributions = importlib.metadata.packages_distributions()
    for module, names in THEIRS.items():
        if _package(module) == package:
            for name in names:
                providing = {canonicalize_name(distribution) for distribution in distributions.get(name, [name])}
                assert providing & (installed | _carried(installed)), f"{module} imports {name}"


def _carried(installed: set[str]) -> set[str]:
    """Libraries that another one of ours brings and re-exports on purpose."""
    return {"pydantic-core"} if "pydantic" in installed else set()


def test_there_are_no_import_cycles():
    for module in FILES:
        assert module not in _reaches(module), f"{module} imports itself through others"


def test_there_are_no_relative_imports():
    for module, tree in TREES.items():
        for node in ast.walk(tree):
            assert not (isinstance(node, ast.ImportFrom) and node.level), f"{module}:{node.lineno}"


def test_a_package_root_has_no_code_and_nobody_imports_one():
    """`from edge import spool` names a module; what lies in `edge` itself would be loaded by everything."""
    for package in PACKAGES:
        code = [node for node in TREES[package].body if not _is_docstring(node)]
        assert code == [], package
    for module, imported in OURS.items():
        assert not imported & set(PACKAGES), f"{module} imports the root of a package"


def test_what_opens_a_connection_is_an_adapter():
    for module, tree in TREES.items():
        opened = {name for name, _ in _imports(tree)} & CONNECTORS
        assert not opened or module in ADAPTERS[_package(module)], (
            f"{module} imports {opened}: list it in ADAPTERS, or use the one there is"
        )


@pytest.mark.parametrize("package", ADAPTERS)
def test_adapters_never_import_each_other(package):
    assert ADAPTERS[package] <= FILES.keys()
    for adapter in ADAPTERS[package]:
        assert not OURS[adapter] & (ADAPTERS[package] - {adapter}), adapter


def test_pure_modules_reach_no_adapter_and_no_client_library():
    adapters = set.union(*ADAPTERS.values())
    pure = set(filter(_is_pure, FILES))
    assert pure >= PURE
    for module in pure:
        reached = {module, *_reaches(module)}
        assert not reached & adapters, module
        assert not set().union(*(THEIRS[name] for name in reached)) & CLIENTS, module


@pytest.mark.parametrize("package", ["wire", "runtime"])
def test_what_everybody_imports_knows_no_client_library(package):
    for module, names in THEIRS.items():
        assert not (_package(module) == package and names & CLIENTS), module


def test_no_function_is_longer_than_a_screen():
    too_long = {name: lines for name, lines in _functions() if lines > FUNCTION_LINES_MAX}
    assert too_long == {}


def test_functions_are_short():
    assert statistics.median(lines for _, lines in _functions()) < FUNCTION_LINES_MEDIAN_MAX


def test_no_module_is_too_long():
    lengths = {module: len(file.read_text(encoding="utf-8").splitlines()) for module, file in FILES.items()}
    assert {module: lines for module, lines in lengths.items() if lines > MODULE_LINES_MAX} == {}


def test_every_module_says_what_it_is():
    for module, tree in TREES.items():
        assert ast.get_docstring(tree), module


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_main_guard(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("__name__ == '__main__'", "TYPE_CHECKING")


def _on_import(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """The nodes that run when a module is imported: not the bodies of functions and lambdas."""
    for statement in body:
        if _is_main_guard(statement):
            continue
        waiting: list[ast.AST] = [statement]
        while waiting:
            node = waiting.pop()
            yield node
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                continue  # decorators and defaults too: they register or mark, and ruff looks at defaults
            waiting.extend(ast.iter_child_nodes(node))


def _called(node: ast.Call) -> str:
    if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Constant):
        return f"{type(node.func.value.value).__name__}.{node.func.attr}"
    return ast.unparse(node.func)


def _is_pure(module: str) -> bool:
    return _package(module) == "wire" or any(module == name or module.startswith(f"{name}.") for name in PURE)


def _defined(kind: type[ast.FunctionDef] | type[ast.ClassDef], modules: Iterable[str]) -> set[str]:
    return {node.name for module in modules for node in TREES[module].body if isinstance(node, kind)}


PURE_FUNCTIONS = _defined(ast.FunctionDef, filter(_is_pure, FILES))
VALUE_CLASSES = _defined(ast.ClassDef, FILES.keys() - set.union(*ADAPTERS.values()))


def _makes_a_value(module: str, call: ast.Call) -> bool:
    name = _called(call)
    is_method = isinstance(call.func, ast.Attribute) and call.func.attr in METHODS_ON_IMPORT
    is_ours = name.rpartition(".")[2] in PURE_FUNCTIONS | VALUE_CLASSES
    return is_ours or is_method or bool({name, f"{module}.{name}"} & CALLS_ON_IMPORT)


@pytest.mark.parametrize("module", FILES)
def test_importing_a_module_does_nothing_but_define(module):
    for node in _on_import(TREES[module].body):
        where = f"{module}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Call):
            assert _makes_a_value(module, node), f"{where} calls {_called(node)}"
        assert not isinstance(node, ast.For | ast.While | ast.With | ast.Try | ast.Delete | ast.Global), where


def _comments() -> Iterator[tuple[str, str]]:
    folders = [*PACKAGES, "tests", "benchmarks"]
    for file in sorted(file for folder in folders for file in (ROOT / folder).rglob("*.py")):
        source = io.StringIO(file.read_text(encoding="utf-8"))
        for token in tokenize.generate_tokens(source.readline):
            if token.type == tokenize.COMMENT:
                yield f"{file.relative_to(ROOT)}:{token.start[0]}", token.string


def test_every_suppression_names_what_and_says_why():
    for where, comment in _comments():
        if re.match(r"#\s*(noqa|type:\s*ignore|pyright|mypy:)", comment):
            what_and_why = re.match(
                r"# (noqa: [A-Z]+[0-9]+(, ?[A-Z]+[0-9]+)*|type: ignore\[[\w, -]+\]) +[-#] \S.{7,}", comment
            )
            assert what_and_why, f"{where} {comment}"


def test_nothing_is_left_to_do_in_the_code():
    for where, comment in _comments():
        assert not re.search(r"\b(TODO|FIXME|XXX|HACK)\b", comment), where


def _pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.partition("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, _, version in pins}


def test_constraints_are_names_with_versions_and_name_no_host():
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        assert "://" not in line
        assert line.startswith("#") or re.fullmatch(r"[\w.-]+==[\w.]+", line), line


def test_every_dependency_is_constrained_to_a_version_that_it_allows():
    pins = _pins()
    project = PROJECT["project"]
    for text in [*project["dependencies"], *itertools.chain(*project["optional-dependencies"].values())]:
        requirement = Requirement(text)
        if requirement.name != project["name"]:
            pin = pins[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(Version(pin)), text


def test_every_command_is_there():
    for name, target in PROJECT["project"]["scripts"].items():
        module, _, attribute = target.partition(":")
        assert module in FILES, name
        assigned = [node for node in TREES[module].body if isinstance(node, ast.Assign | ast.AnnAssign)]
        targets = [
            target for node in assigned for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        ]
        defined = {target.id for target in targets if isinstance(target, ast.Name)}
        functions = {node.name for node in TREES[module].body if isinstance(node, ast.FunctionDef)}
        assert attribute in defined | functions, name
