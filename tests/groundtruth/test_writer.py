"""Who writes: many callers share a commit, samples wait for nobody, forks and ends of processes."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
import time as clock
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from modelwatch.errors import ModelwatchError, StoreUnavailable
from modelwatch.groundtruth.store import Labelled, Sample, Store, TrueLabel
from modelwatch.groundtruth.writer import MOST_LABELS, Writer
from modelwatch.testing import StuckStore
from truth import NOW, Time, number, put_and_end, sample

Maker = Callable[..., Writer]


@pytest.fixture
def maker(time: Time) -> Iterator[Maker]:
    """Make writers to any store; they are closed after the test."""
    made: list[Writer] = []

    def one(url: str, busy_s: float = 0.5, **options: int) -> Writer:
        made.append(Writer(Store(url, clock=time, busy_s=busy_s), **options))
        return made[-1]

    yield one
    for writer in made:
        writer.close()


@pytest.fixture
def make(maker: Maker, store_url: str) -> Maker:
    """Make writers to the store of the test, on both engines."""
    return partial(maker, store_url)


def path_of(url: str) -> Path:
    """Return the file of a SQLite store."""
    return Path(url.removeprefix("sqlite:///"))


def eventually(true: Callable[[], bool], within_s: float = 10.0) -> bool:
    """Wait until something holds; return whether it did in time."""
    deadline = clock.monotonic() + within_s
    while not true() and clock.monotonic() < deadline:
        clock.sleep(0.02)
    return true()


def test_samples_and_labels_of_many_threads(make: Maker) -> None:
    """Everything that eight threads put and label is there, each label with its own answer; few commits carry them."""
    writer = make()
    commits: list[int] = []
    write = writer.store.database.write

    def counted(work: Callable[[Connection], Any]) -> Any:
        commits.append(1)
        return write(work)

    setattr(writer.store.database, "write", counted)  # noqa: B010 - mypy knows it for a method
    for i in range(400):
        assert writer.put(sample(i))
    assert writer.flush(10)

    def worker(turn: int) -> list[Labelled]:
        return [writer.label(TrueLabel(number(i), "positive", "ann")) for i in range(turn, 400, 8)]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(worker, range(8)))
    for turn, answers in enumerate(found):
        assert [(one.request_id, one.state) for one in answers] == [(number(i), "matched") for i in range(turn, 400, 8)]
    assert writer.store.counts().labelled == 400
    assert (writer.stored, writer.dropped(), writer.kept) == (400, {}, True)
    assert len(commits) < 300


def test_a_prediction_here_and_its_label_there(make: Maker) -> None:
    """Four workers with a writer each: the label of one finds the sample of another, early or not; each counts once."""
    writers = [make() for _ in range(4)]
    counted: list[Labelled] = []
    for writer in writers:
        writer.on_matched.append(counted.append)
    for i in range(80):
        writers[i % 4].put(sample(i, "positive" if i % 5 else "negative"))
        answer = writers[(i + 1) % 4].label(TrueLabel(number(i), "positive", issued_at=NOW, sampled=True), 20)
        assert answer.state == "matched"
        if answer.first:
            counted.append(answer)
    assert all(writer.flush(20) for writer in writers)
    assert sorted(one.request_id for one in counted) == [number(i) for i in range(80)]
    assert Counter(one.right for one in counted) == {True: 64, False: 16}


def test_a_label_is_written_by_its_caller_where_nobody_can_keep_him_waiting(make: Maker) -> None:
    """A file's are, once it took something; not a server's, nor while the store is at work, nor with little time."""
    writer = make()
    wrote: list[str] = []
    label_many = writer.store.label_many

    def told(labels: Sequence[TrueLabel]) -> list[Labelled]:
        if labels:
            wrote.append(threading.current_thread().name)
        return label_many(labels)

    setattr(writer.store, "label_many", told)  # noqa: B010 - mypy knows it for a method
    here, thread = threading.current_thread().name, "modelwatch-store"
    labels = [TrueLabel(number(i), "positive", sampled=True) for i in range(5)]
    writer.label(labels[0])
    writer.label(labels[1])
    writer.label(labels[2], writer.store.database.busy_s)
    with ThreadPoolExecutor(1, "other") as pool:
        with writer.io:
            waits = pool.submit(writer.label, labels[3])
            assert eventually(lambda: len(writer._asked) == 1)
        assert waits.result(10).state == "matched"
        assert pool.submit(writer.label, labels[4]).result(10).state == "matched"
    in_turn = [thread, here, thread, thread, "other_0"]
    assert wrote == (in_turn if writer.store.database.path else [thread] * 5)


def test_when_too_many_wait_the_newest_are_dropped_and_counted(tmp_path: Path, maker: Maker) -> None:
    """In = stored + dropped, by reason; what was taken before is stored once the store is there again."""
    url = f"sqlite:///{tmp_path / 'truth.db'}"
    writer = maker(url, most_samples=100)
    assert writer.put(sample(0))
    assert writer.flush(10)
    with StuckStore(path_of(url)):
        kept = [writer.put(sample(i)) for i in range(1, 200)]
        assert eventually(lambda: writer.kept is False)
        more = [writer.put(sample(i)) for i in range(200, 300)]
    assert kept[:100] == [True] * 100
    assert writer.flush(10)
    dropped = writer.dropped()
    assert sum(dropped.values()) + writer.stored == 300
    assert dropped["store"] == more.count(False)
    assert dropped["full"] == kept.count(False)
    assert writer.store.counts().waiting == writer.stored


def test_put_waits_for_nothing_while_the_store_is_stuck(tmp_path: Path, maker: Maker) -> None:
    """A thousand samples are put while another process holds the lock, in less time than one wait for it."""
    url = f"sqlite:///{tmp_path / 'truth.db'}"
    writer = maker(url, busy_s=2.0)
    writer.put(sample(0))
    writer.flush(10)
    with StuckStore(path_of(url)):
        writer.put(sample(1))
        clock.sleep(0.5)  # the thread is inside SQLite now
        begin = clock.monotonic()
        for i in range(2, 1002):
            writer.put(sample(i))
        assert clock.monotonic() - begin < 1.0
    assert writer.flush(10)
    assert writer.stored == 1002


def test_a_locked_store_makes_labels_wait_and_then_fail(tmp_path: Path, maker: Maker) -> None:
    """A label waits for the lock; when its caller gives up it is not written later, and sent again it is."""
    url = f"sqlite:///{tmp_path / 'truth.db'}"
    writer = maker(url, busy_s=0.2)
    writer.put(sample(0))
    assert writer.flush(10)
    with StuckStore(path_of(url)) as stuck:
        with pytest.raises(StoreUnavailable, match="within 0.5 s"):
            writer.label(TrueLabel(number(0), "negative"), 0.5)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(writer.label, TrueLabel(number(0), "positive"), 20)
            clock.sleep(0.4)
            assert not waiting.done()
            stuck.release()
            assert waiting.result(10).first
    assert writer.store.rows("sentiment").labels.tolist() == ["positive"]


def test_a_broken_store_fails_labels_at_once(tmp_path: Path, maker: Maker) -> None:
    """Where waiting would not help nobody waits; the same writer goes on once the store is there."""
    folder = tmp_path / "gone"
    folder.write_text("a file where the folder should be", encoding="utf-8")
    writer = maker(f"sqlite:///{folder / 'truth.db'}")
    faults: list[str] = []
    writer.on_fault.append(lambda where, error: faults.append(f"{where} {type(error).__name__}"))
    begin = clock.monotonic()
    with pytest.raises(StoreUnavailable):
        writer.label(TrueLabel(number(0), "positive"), 20)
    assert clock.monotonic() - begin < 10
    assert writer.put(sample(0))
    assert not writer.flush(0.5)
    assert writer.kept is False
    assert str(folder) in writer.why_not
    assert set(faults) == {"store StoreUnavailable"}
    folder.unlink()
    assert eventually(lambda: bool(writer.kept))
    assert writer.label(TrueLabel(number(0), "positive")).state == "matched"


def test_an_import_shares_the_thread(make: Maker) -> None:
    """Ten thousand labels in one call, with single ones between, all answered; a queue that is too long says so."""
    writer = make()
    for i in range(1000):
        writer.put(sample(i))
    writer.flush(10)
    with ThreadPoolExecutor(2) as pool:
        labels = [TrueLabel(number(i % 1000), "positive", "ann") for i in range(10_000)]
        whole = pool.submit(writer.label_many, labels, 60)
        single = pool.submit(writer.label, TrueLabel(number(1), "positive", "bob"), 60)
        states = Counter(one.state for one in [*whole.result(), single.result()])
    assert states == {"matched": 1000, "duplicate": 9001}
    assert writer.label_many([]) == []


def test_too_many_labels_are_refused_at_once(tmp_path: Path, maker: Maker) -> None:
    """Memory is bounded: beyond so many that wait, the next caller is told to come again."""
    url = f"sqlite:///{tmp_path / 'truth.db'}"
    writer = maker(url, busy_s=0.2)
    writer.put(sample(0))
    writer.flush(10)
    with ThreadPoolExecutor(1) as pool, StuckStore(path_of(url)):
        first = pool.submit(writer.label_many, [TrueLabel(number(0), "positive", "ann")] * MOST_LABELS, 2)
        assert eventually(lambda: bool(writer.why_not))
        with pytest.raises(StoreUnavailable, match="more labels wait"):
            writer.label(TrueLabel(number(0), "positive"), 2)
        with pytest.raises(StoreUnavailable, match="within 2 s"):
            first.result(10)


def test_a_listener_that_fails_stops_nothing(make: Maker) -> None:
    """What others do with an early label cannot keep samples from being written."""
    writer = make()
    seen: list[BaseException] = []
    writer.on_matched.append(lambda _: 1 / 0)
    writer.on_fault += [lambda where, error: seen.append(error), lambda where, error: 1 / 0]
    writer.label(TrueLabel(number(0), "positive", sampled=True))
    writer.put(sample(0))
    assert writer.flush(10)
    assert (writer.stored, [type(error) for error in seen]) == (1, [ZeroDivisionError])


def test_the_thread_keeps_the_retention(make: Maker, time: Time) -> None:
    """Once a minute what is too old is removed, by the thread itself."""
    writer = make()
    for i in range(1200):
        writer.put(sample(i))
    assert writer.flush(10)
    time.now += 91 * 86400
    writer._purge_at = 0.0
    assert eventually(lambda: writer.store.counts().waiting == 0)
    assert eventually(lambda: writer._purge_at > clock.monotonic())


def test_the_thread_keeps_the_size(make: Maker) -> None:
    """What is too much is removed as well, the oldest first."""
    writer = make(max_bytes=500_000)
    for i in range(3000):
        writer.put(sample(i, age_s=i))
    assert writer.flush(20)
    writer._purge_at = 0.0
    assert eventually(lambda: writer._purge_at > clock.monotonic())
    kept = writer.store.rows("sentiment", unlabelled=True)
    assert 0 < len(kept) < 3000
    assert {int(name, 16) for name in kept.request_ids} == set(range(len(kept)))


def test_nothing_is_left_behind_by_close(make: Maker) -> None:
    """Close writes what waits; after it the writer can be used again."""
    before = set(threading.enumerate())
    writer = make()
    for i in range(50):
        writer.put(sample(i))
    assert writer.close()
    assert (writer.stored, writer.waiting()) == (50, 0)
    assert not [one for one in threading.enumerate() if one not in before and one.name == "modelwatch-store"]
    writer.put(sample(50))
    assert writer.close()
    assert writer.stored == 51


def test_one_writer_for_one_store(tmp_path: Path) -> None:
    """All who name a store share its thread in a process."""
    url = f"sqlite:///{tmp_path / 'truth.db'}"
    assert Writer.of(url) is Writer.of(url)
    assert Writer.of(url) is not Writer.of(f"{url}2")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_has_a_thread_and_connections_of_its_own(make: Maker) -> None:
    """Forked while samples wait and labels are written: the parent's are written once, the child's too."""
    writer = make()
    writer.label(TrueLabel(number(900), "positive", sampled=True))
    for turn in range(8):
        for i in range(20):
            writer.put(sample(turn * 100 + i))
        child = os.fork()
        if child == 0:
            status = 1
            try:
                for i in range(20, 30):
                    writer.put(sample(turn * 100 + i))
                answer = writer.label(TrueLabel(number(turn * 100 + 20), "positive", sampled=True), 20)
                status = 0 if answer.state == "matched" and writer.flush(20) and writer.stored == 10 else 2
            finally:
                os._exit(status)
        assert writer.label(TrueLabel(number(turn * 100), "positive", sampled=True), 20).state == "matched"
        assert os.waitpid(child, 0)[1] == 0
    assert writer.flush(20)
    counts = writer.store.counts()
    assert (counts.waiting + counts.labelled, counts.labelled, writer.stored) == (8 * 30, 16, 160)


PROGRAM = """
import sys
from modelwatch.groundtruth.store import Sample
from modelwatch.groundtruth.writer import Writer
import time
writer = Writer.of(sys.argv[1])
for i in range(500):
    writer.put(Sample(f"{i:032x}", "sentiment", "1.0", "/predict", time.time(), "positive"))
"""


def test_a_process_that_ends_writes_what_waits(store_url: str, opened: Callable[[str], Store]) -> None:
    """Without a call of close or flush nothing is lost at the end of a program, and nothing is printed."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, store_url], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert opened(store_url).counts().waiting == 500


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_child_of_multiprocessing_writes_what_waits(
    tmp_path: Path, opened: Callable[[str], Store], method: str
) -> None:
    """Although it ends without `atexit`; a forked one does so beside its parent."""
    url = f"sqlite:///{tmp_path / 'truth.db'}"
    put_and_end(url, 0)
    context: Any = multiprocessing.get_context(method)
    child = context.Process(target=put_and_end, args=(url, 100))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert Writer.of(url).close()
    assert opened(url).counts().waiting == 200


def test_a_sample_that_is_never_taken_does_not_hold_up_others(store_url: str, make: Maker) -> None:
    """What the engine refuses is dropped and counted, alone."""
    writer = make()
    writer.put(sample(0))
    assert writer.flush(10)
    rule = "CREATE UNIQUE INDEX only_one_5 ON samples (endpoint) WHERE endpoint = 'twice'"
    writer.store.database.write(lambda connection: connection.exec_driver_sql(rule).close())
    for i in range(1, 5):
        endpoint = "twice" if i in (2, 3) else "/predict"
        writer.put(Sample(number(i), "sentiment", "1.0", endpoint, NOW, "positive"))
    assert writer.flush(10)
    assert (writer.dropped(), writer.stored, writer.store.counts().waiting) == ({"refused": 1}, 4, 4)


def test_a_newer_store_fails_labels_and_is_not_touched(make: Maker) -> None:
    """The writer says so to every caller, and leaves it as it is."""
    writer = make()
    writer.put(sample(0))
    assert writer.flush(10)
    newer = "UPDATE modelwatch_store SET value = '999' WHERE name = 'layout'"
    writer.store.database.write(lambda connection: connection.exec_driver_sql(newer).close())
    other = make()
    with pytest.raises(ModelwatchError, match="999"):
        other.label(TrueLabel(number(0), "positive"))
    assert writer.store.counts().labelled == 0
