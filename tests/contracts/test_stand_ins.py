"""Whatever stands for a door in tests is named here: with the suite that it and the real door pass, or why it has none.

A class that adds something to a part of the product or to a stand-in of `PROVEN` is none: what it rests on is proven.
"""

import ast
from pathlib import Path

TESTS = Path(__file__).parents[1]
PRODUCT = {path.parent.name for path in TESTS.parent.glob("*/__init__.py")}

DOORS = {
    "publisher": {"publish", "flush"},
    "source": {"poll", "commit"},
    "store": {"append"},
    "engine": {"execute"},
    "journal": {"claim", "append"},
    "inputs": {"seek", "rest"},
    "membership": {"term"},
    "compacted topic": {"changes", "version"},
    "consumer of Kafka": {"poll", "assign"},
    "key source": {"candidates"},
}
"""Who defines all of one of these stands for that door."""

PROVEN = {
    "failing_publisher.py FailingPublisher": ("app/test_doors_in_memory.py", "integration/test_doors_on_kafka.py"),
    "memory_journal.py MemoryJournal": ("app/test_journal_in_memory.py", "integration/test_journal_on_kafka.py"),
    "memory_topic.py MemoryTopic": ("app/test_compacted_in_memory.py", "integration/test_compacted_on_kafka.py"),
    "memory_inputs.py MemoryInputs": ("app/test_inputs_in_memory.py", "integration/test_inputs_on_kafka.py"),
}
"""The tests that pass it, and the real door, through one suite."""

SCRIPTED = {
    "app/test_blown_fuse.py Tables": "refuses every row of some tables",
    "app/test_lane.py Store": "the real store, of which the order of inserts is noted",
    "app/test_refused.py Picky": "refuses rejects of any sender",
    "app/test_refused.py OneMeter": "refuses finals of one meter",
    "app/test_reject_counts.py Away": "is away once",
    "integration/test_vee_changes_hands.py Held": "the real store, whose insert of finals waits",
    "app/test_replay_verb.py Refusing": "the real store, which refuses one meter",
    "app/test_slow_adoption.py SlowConsumer": "a client whose brokers say nothing",
    "app/test_steady_vee.py Nothing": "a member that is told nothing but its partition",
    "app/test_two_judges.py OnePartition": "loses its partition while a message is in flight",
    "app/test_workers.py _Slow": "takes a while, then fails",
    "app/test_workers.py Picky": "refuses the rows of one meter",
    "app/test_workers.py Refusing": "refuses any two rows together",
    "ingest/test_compacted_topic.py Client": "a client whose brokers fall silent",
    "ingest/test_kafka_source.py Client": "a client whose polls are written down, with rebalances and errors",
    "storage/test_migrations.py Cluster": "a server of a cluster: statements are written down",
    "storage/test_migrations.py Old": "a server too old, which knows no such type",
    "storage/test_migrations.py Refusing": "a server that refuses the table of running migrations",
    "storage/test_window_trim.py _Behind": "the real engine, beside which a worker adds a row",
    "storage/test_window_trim.py _Broken": "the real engine, which is killed at a statement",
    "storage/test_window_trim.py _Merging": "the real engine, which merges at a statement",
}
"""What goes wrong at it, at will; nothing else is learned from it."""

NOTEBOOKS = {
    "integration/crash/accounts.py _Judged": "the real store before any judgement; judgements are written down",
    "fuzz/fuzz_codec.py AnyKey": "one pair of keys for everybody",
    "ingest/conftest.py OneKey": "one pair of keys for one title",
    "ingest/test_inspect.py OneKey": "one pair of keys for one title",
    "ingest/test_inspect.py Rotation": "two pairs of keys for one title",
}
"""Tells back what it was given and nothing that a door works out; no suite proves it."""


def stand_ins(path: Path) -> list[str]:
    """Classes of a file that stand for a door: those of `PROVEN`, and whatever rests on nothing that is proven."""
    tree = ast.parse(path.read_text())
    named = {name.split()[1] for name in PROVEN}
    proven = set(named)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PRODUCT:
            proven |= {name.asname or name.name for name in node.names}
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.ClassDef):
            continue
        bases = {base.id for base in node.bases if isinstance(base, ast.Name)}
        if bases & proven and node.name not in named:
            proven.add(node.name)
            continue
        defined = {part.name for part in node.body if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)}
        if node.name in named or any(methods <= defined for methods in DOORS.values()):
            found.append(node.name)
    return found


def test_every_stand_in_for_a_door_is_named_and_no_other() -> None:
    files = sorted(TESTS.rglob("*.py"))
    found = {f"{path.relative_to(TESTS).as_posix()} {name}" for path in files for name in stand_ins(path)}
    assert found == {*PROVEN, *SCRIPTED, *NOTEBOOKS}


def test_every_suite_that_is_named_runs_for_the_stand_in_and_for_the_real_door() -> None:
    for name, (ours, real) in PROVEN.items():
        suites = [
            {
                node.module
                for node in ast.walk(ast.parse((TESTS / file).read_text()))
                if isinstance(node, ast.ImportFrom) and (node.module or "").endswith("_promises")
            }
            for file in (ours, real)
        ]
        assert suites[0] == suites[1] != set(), name
        assert name.split()[1] in (TESTS / ours).read_text()


def test_a_new_one_is_seen(tmp_path: Path) -> None:
    made = tmp_path / "test_made.py"
    made.write_text(
        "from app.embedded import MemoryPublisher\n"
        "class Fake:\n    def publish(self): ...\n    def flush(self): ...\n"
        "class Slower(MemoryPublisher):\n    def publish(self): ...\n    def flush(self): ...\n"
    )
    assert stand_ins(made) == ["Fake"]
