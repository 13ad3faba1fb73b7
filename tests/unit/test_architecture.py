"""The rules that hold the parts together: who may import whom, and which door a write goes through."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Each may import itself and what stands before it.
LAYERS = ["events", "outbox", "accounts", "rooms", "messaging", "chatproject"]
# These import nothing of the project but what is named here, and nothing but their public names is imported.
APART = {"kafka_layer": set(), "devstack": set(), "chatclient": set(), "loadtest": {"chatclient"}}
# Model → the files that may write it, the first being the door to name.
DOORS = {
    "User": ["accounts/services.py"],
    "AccessChange": ["accounts/services.py"],
    "Room": ["rooms/services.py", "rooms/moderation.py", "messaging/storage.py"],
    "Membership": ["rooms/services.py", "rooms/moderation.py"],
    "Ban": ["rooms/moderation.py"],
    "ModerationEntry": ["rooms/moderation_log.py"],
    "Block": ["rooms/blocks.py"],
    "OutboxEvent": ["outbox/services.py", "outbox/rows.py"],
    "Message": ["messaging/storage.py", "messaging/changes.py", "messaging/retention.py", "messaging/erasure.py"],
    "Report": ["messaging/reports.py"],
    "Erasure": ["accounts/services.py"],
    "PurgedPlace": ["messaging/retention.py"],
    "DeadLetterDecision": ["events/letter_box.py"],
}
RELATED = {
    "memberships": "Membership",
    "owned_rooms": "Room",
    "bans": "Ban",
    "blocks": "Block",
    "reports": "Report",
    "messages": "Message",
}
VERBS = {"create", "get_or_create", "update_or_create", "save", "delete", "update", "bulk_create", "bulk_update"}
WRITES = VERBS | {f"a{verb}" for verb in VERBS}


def sources(*packages: str) -> Iterator[tuple[str, ast.Module]]:
    for package in packages:
        for path in sorted((ROOT / package).rglob("*.py")):
            if "migrations" not in path.parts:
                yield str(path.relative_to(ROOT)), ast.parse(path.read_text())


def imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The line and the dotted name of everything imported; `from a import b` is `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def chain(node: ast.expr) -> list[str]:
    """The names of an expression from its root on: `User.objects.filter(…)` gives User, objects, filter."""
    match node:
        case ast.Name(id=name):
            return [name]
        case ast.Attribute(value=value, attr=name):
            return [*chain(value), name]
        case ast.Call(func=inner) | ast.Subscript(value=inner) | ast.Await(value=inner):
            return chain(inner)
    return []


def variables(tree: ast.Module) -> dict[str, str]:
    """Names of this module that hold an instance of a model: annotated so, made so, or called so."""
    held = {model.lower(): model for model in DOORS}
    for node in ast.walk(tree):
        if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation is not None:
            name = node.arg if isinstance(node, ast.arg) else ".".join(chain(node.target))
            words = [word.id for word in ast.walk(node.annotation) if isinstance(word, ast.Name)]
            held[name] = next((word for word in words if word in DOORS), "")
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and chain(node.value):
            held[node.targets[0].id] = chain(node.value)[0]
    return {name: model for name, model in held.items() if model in DOORS}


def writes(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The line and the model of each write."""
    held = variables(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in WRITES:
            names = chain(node.func.value)
            related = [RELATED[name] for name in names[1:] if name in RELATED]
            direct = [held.get(name, name) for name in [*names[-1:], *names[:1]]]
            for model in [*related, *direct]:
                if model in DOORS:
                    yield node.lineno, model
                    break


@pytest.mark.parametrize("package", LAYERS)
def test_a_package_imports_only_what_stands_before_it(package: str) -> None:
    """events ← outbox ← accounts ← rooms ← messaging ← chatproject."""
    above = LAYERS[LAYERS.index(package) + 1 :]
    for path, tree in sources(package):
        for line, name in imports(tree):
            assert name.split(".")[0] not in above, (
                f"{path}:{line} imports {name}, which stands above {package}: move what both need into {package} or"
                " below, or hand it in as an argument."
            )


@pytest.mark.parametrize("package", APART)
def test_what_stands_apart_imports_nothing_of_the_project(package: str) -> None:
    """The layer, the embedded services, the client and the load test could each be a project of their own."""
    foreign = {*LAYERS, *APART} - {package, *APART[package]}
    for path, tree in sources(package):
        for line, name in imports(tree):
            assert name.split(".")[0] not in foreign, (
                f"{path}:{line} imports {name}: {package} stands apart; hand in what it needs."
            )


def test_the_layer_is_reached_through_channels_only() -> None:
    """Settings name the layer; nobody makes one, or looks into it."""
    for path, tree in sources(*LAYERS):
        for line, name in imports(tree):
            package, _, rest = name.partition(".")
            # Public, and in a module of its own, since it needs one package more.
            public = "." not in rest or rest == "metrics.LayerCollector"
            assert package != "kafka_layer" or (rest and public and rest != "KafkaChannelLayer"), (
                f"{path}:{line} imports {name}: use channels.layers.get_channel_layer(), and the public names of"
                " kafka_layer for types."
            )


@pytest.mark.parametrize("package", LAYERS)
def test_rows_are_written_by_their_services(package: str) -> None:
    """Row and outbox row stand in one transaction because there is one door for each write."""
    for path, tree in sources(package):
        for line, model in writes(tree):
            assert path in DOORS[model], (
                f"{path}:{line} writes {model}: call a service of {DOORS[model][0]} (in the admin: one of its steps),"
                " which records the event in the same transaction."
            )


@pytest.mark.parametrize(
    ("code", "model"),
    [
        ("User.objects.filter(pk=1).update(is_active=False)", "User"),
        ("def f(person: User) -> None:\n    person.save()", "User"),
        ("new = Room(name='x')\nnew.save()", "Room"),
        ("room.memberships.filter(user=1).delete()", "Membership"),
        ("async def f() -> None:\n    await OutboxEvent.objects.acreate()", "OutboxEvent"),
        ("membership.room.delete()", "Room"),
        ("self.room.delete()", "Room"),
    ],
)
def test_the_rule_sees_a_write(code: str, model: str) -> None:
    """A rule that sees nothing proves nothing."""
    assert [found for _, found in writes(ast.parse(code))] == [model]


@pytest.mark.parametrize(
    "code", ["seen = {}\nseen.update(a=1)", "User.objects.filter(pk=1).first()", "cache.delete('user')"]
)
def test_the_rule_leaves_other_calls_alone(code: str) -> None:
    """Reading is free, and not everything that is deleted is a row."""
    assert not list(writes(ast.parse(code)))


@pytest.mark.parametrize("package", [*LAYERS, *APART])
def test_nothing_that_is_read_runs_as_code(package: str) -> None:
    """What comes from people, Kafka and Redis is data."""
    for path, tree in sources(package):
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [node.func.id] if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else []
            bad = {"pickle", "marshal", "shelve", "dill", "yaml", "eval", "exec"}.intersection(names)
            assert not bad, f"{path}:{getattr(node, 'lineno', 0)} uses {bad}: read JSON instead."
