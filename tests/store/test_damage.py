"""A live.db that is torn, foreign, read-only, full or newer: the host goes on, own counts are kept, recovery needs no restart."""

from __future__ import annotations

import os
import random
import resource
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest

from counting import KEY, commit, query, record, run_python, scraped, worker_at
from modelwatch import Monitor
from modelwatch.store.live import LAYOUT, MOST_SET_ASIDE, connect, file_id, set_aside
from modelwatch.testing import FakeClock, TornFile

SMALL = 4096  # bytes of a page


@pytest.fixture
def path(tmp_path):
    """Where the live.db of a test is."""
    return tmp_path / "live.db"


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A folder with a live.db of some history, written and closed by a worker that has ended."""
    folder = tmp_path_factory.mktemp("sound")
    clock = FakeClock(wall=1_700_000_040)
    worker = worker_at(folder / "live.db", clock)
    for minute in range(30):
        record(worker, 4, event=(f"/{minute % 9}", 0.01, None, f"segment {minute}", "a", 0.9, None))
        assert commit(worker)
        clock.advance(60)
    worker._leave()
    assert not (folder / "live.db-wal").exists()
    return folder


def aside(path):
    """Return the files that were set aside."""
    return [found for found in path.parent.glob("live.db.damaged-*") if not found.name.endswith(("-wal", "-shm"))]


def count_up(workers, clock, seconds=10, until=1):
    """Count and commit once a second; a fault of ours would be raised. Return after how many seconds all committed."""
    for second in range(seconds):
        clock.advance(1)
        answers = []
        for worker in workers:
            record(worker)
            answers.append(commit(worker))
            assert worker.scrape.render()
        if all(answers) and second >= until:
            return second
    raise AssertionError([worker.why_not for worker in workers])


def own(worker):
    """Return how many requests a worker has counted itself."""
    return worker.recorders[KEY].requests() + worker.recorders[KEY].backlog()


def check(workers, clock, at_least=0):
    """Within ten seconds everything this worker counted is in a sound file, and every worker shows the same."""
    count_up(workers, clock)
    shown = [scraped(worker) for worker in workers]
    assert len(set(shown)) == 1
    assert shown[0] >= sum(own(worker) for worker in workers) + at_least
    assert scraped(workers[0], "modelwatch_live_up") == 1
    fresh = worker_at(workers[0].path, clock)
    assert scraped(fresh) == shown[0]
    db = sqlite3.connect(workers[0].path)
    assert db.execute("PRAGMA integrity_check(1)").fetchone() == ("ok",)
    db.close()


# -- found at the start ------------------------------------------------------------------------------------------------


def lengths(size):
    """Return where a file is cut: in its head, at pages and beside them."""
    return sorted(
        {
            *range(0, 120, 7),
            *range(0, size, SMALL),
            *(n + d for n in range(0, size, SMALL) for d in (-1, 1, 100)),
            size - 1,
        }
    )


def test_every_kind_of_truncation(sound, tmp_path):
    """The file is cut at any place: workers that start go on in it, or set it aside once and make a new one (RELIABILITY 25)."""
    size = (sound / "live.db").stat().st_size
    for length in lengths(size):
        if not 0 <= length < size:
            continue
        folder = tmp_path / str(length)
        shutil.copytree(sound, folder)
        TornFile(folder / "live.db").truncate(length)
        clock = FakeClock(wall=1_700_010_000)
        workers = [worker_at(folder / "live.db", clock) for _ in range(2)]
        check(workers, clock)
        # without its last page it may still be sound
        assert (1 if 100 <= length < size - SMALL else 0) <= len(aside(folder / "live.db")) <= 1, length
        shutil.rmtree(folder)


@pytest.mark.parametrize("seed", range(4))
def test_random_bit_flips(sound, tmp_path, seed):
    """Bits of the file are turned over: a scrape is always answered, and own counts are kept."""
    chance = random.Random(seed)
    for n in range(40):
        folder = tmp_path / f"{n}"
        shutil.copytree(sound, folder)
        TornFile(folder / "live.db", seed=1000 * seed + n).flip(chance.choice([1, 1, 3, 30, 300]))
        clock = FakeClock(wall=1_700_010_000)
        workers = [worker_at(folder / "live.db", clock) for _ in range(2)]
        count_up(workers, clock)
        shown = [scraped(worker) for worker in workers]
        assert shown[0] == shown[1]
        assert shown[0] >= sum(map(own, workers))
        workers[0].writer._compacted = float("-inf")
        workers[0]._compact()
        count_up(workers, clock)
        assert scraped(workers[0]) >= sum(map(own, workers))
        shutil.rmtree(folder)


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"SQLite format 3\0", b"garbage " * 1000, os.urandom(10_000)])
def test_any_other_file_in_its_place(path, content):
    """An empty file is used; anything else is set aside, with its bytes, once for all workers."""
    path.write_bytes(content)
    clock = FakeClock()
    workers = [worker_at(path, clock) for _ in range(3)]
    check(workers, clock)
    kept = aside(path)
    assert len(kept) == (1 if content.strip(b"\0") else len(kept))
    if content.strip(b"\0"):
        assert kept[0].read_bytes() == content
        assert sum(worker.writer.files_set_aside for worker in workers) == 1
    assert scraped(workers[0], "modelwatch_internal_errors_total", where="live") >= (1 if kept else 0) or not kept


def test_a_database_of_something_else_is_left_its_tables(path):
    """A SQLite file of somebody else is not lost: our tables are added to it."""
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE theirs (x)")
    db.execute("INSERT INTO theirs VALUES (5)")
    db.commit()
    db.close()
    clock = FakeClock()
    check([worker_at(path, clock)], clock)
    assert query(path, "SELECT x FROM theirs") == [(5,)]


def test_a_newer_file_is_left_untouched(path):
    """A file of a newer layout is refused and not changed by a byte; counts stay in memory and are shown (RELIABILITY 49)."""
    clock = FakeClock()
    worker = worker_at(path, clock)
    record(worker, 5)
    assert commit(worker)
    worker._leave()
    worker.reader.close()
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version={LAYOUT + 1}")
    db.close()
    before = path.read_bytes()
    late = worker_at(path, clock)
    for _ in range(5):
        clock.advance(1)
        record(late, 2)
        assert not commit(late)
        assert scraped(late) == own(late)
    assert "Upgrade modelwatch" in late.why_not
    assert path.read_bytes() == before
    assert not aside(path)
    assert scraped(late, "modelwatch_live_up") == 0


# -- found in the middle of work ---------------------------------------------------------------------------------------


@pytest.fixture
def working(path):
    """Three workers with a history in one file, and their clock."""
    clock = FakeClock(wall=1_700_000_040)
    workers = [worker_at(path, clock) for _ in range(3)]
    for minute in range(30):
        for worker in workers:
            record(worker, 4, event=(f"/{minute % 9}", 0.01, None, f"segment {minute}", "a", 0.9, None))
            assert commit(worker)
        clock.advance(60)
    assert scraped(workers[0]) == 360
    return workers, clock


def checkpoint(path):
    """Move the log into the file."""
    db = sqlite3.connect(path)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()


HURTS = {
    "emptied": lambda file: file.truncate(0),
    "cut in the middle": lambda file: file.truncate(6 * SMALL + 77),
    "without its end": lambda file: file.truncate(-SMALL),
    "without its head": lambda file: file.zero(0, 100),
    "first page zeroed": lambda file: file.zero(0, SMALL),
    "all zeroed": lambda file: file.zero(0, 10**9),
    "garbage": lambda file: file.garbage(50_000),
    "flipped": lambda file: file.flip(3000),
}


@pytest.mark.parametrize("hurt", HURTS)
def test_the_file_is_damaged_under_living_workers(working, path, hurt):
    """Own counts of all workers are in a sound file within ten seconds, without a restart (RELIABILITY 48)."""
    workers, clock = working
    checkpoint(path)
    HURTS[hurt](TornFile(path))
    check(workers, clock)
    assert len(aside(path)) <= 2
    assert scraped(workers[1]) >= 360


@pytest.mark.parametrize("hurt", [*HURTS, "deleted"])
def test_the_log_is_damaged_under_living_workers(working, path, hurt):
    """The write-ahead log loses its end, or all: what was in it is written again."""
    workers, clock = working
    log = path.with_name("live.db-wal")
    assert log.stat().st_size > 0
    if hurt == "deleted":
        log.unlink()
    else:
        HURTS[hurt](TornFile(log))
    count_up(workers, clock)
    shown = {scraped(worker) for worker in workers}
    assert len(shown) == 1


def test_readers_alone_find_the_damage(working, path):
    """A page that only readers look at is broken: the writer is told, and makes a new file."""
    workers, clock = working
    workers[0]._damaged = file_id(path)
    check(workers, clock, at_least=0)
    assert len(aside(path)) == 1
    assert scraped(workers[2]) >= 360


def test_damage_again_and_again_does_not_fill_the_disk(working, path):
    """Of the files that were set aside only the last few are kept."""
    workers, clock = working
    for n in range(MOST_SET_ASIDE + 4):
        for worker in workers:
            worker.writer._forget_connection()
            worker.reader.close()
        path.write_bytes(b"garbage" * 1000)
        os.utime(path, (n, n))
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        assert set_aside(path, file_id(path)).rename(path.with_name(f"live.db.damaged-{n}"))
        count_up(workers, clock, until=0)
    assert len(aside(path)) <= MOST_SET_ASIDE + 1


def test_setting_aside_is_done_once(path):
    """Who comes second finds another file, and leaves it alone."""
    path.write_bytes(b"garbage")
    path.with_name("live.db-wal").write_bytes(b"log")
    seen = file_id(path)
    kept = set_aside(path, seen)
    assert kept.read_bytes() == b"garbage"
    assert kept.with_name(kept.name + "-wal").read_bytes() == b"log"
    path.write_bytes(b"new")
    assert set_aside(path, seen) is None
    assert set_aside(path, None) is None
    assert path.read_bytes() == b"new"


# -- cannot be written -------------------------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_made(tmp_path):
    """live.db lies below a file: counting goes on in memory, and is shown."""
    (tmp_path / "file").write_text("")
    clock = FakeClock()
    worker = worker_at(tmp_path / "file" / "live.db", clock)
    for n in range(5):
        record(worker)
        assert not commit(worker)
        assert scraped(worker) == n + 1
        clock.advance(1)
    assert scraped(worker, "modelwatch_live_up") == 0
    assert scraped(worker, "modelwatch_internal_errors_total", where="live") >= 3
    (tmp_path / "file").unlink()
    assert commit(worker)
    assert scraped(worker) == 5
    assert scraped(worker, "modelwatch_live_up") == 1


def test_a_service_on_a_read_only_folder(tmp_path):
    """A monitor of a service that may not write: no exception, pages, and an end in time."""
    (tmp_path / "file").write_text("")
    monitor = Monitor("m", "1", live=tmp_path / "file" / "live.db")
    assert monitor.endpoint("/p")(lambda: {"label": "a"})() == {"label": "a"}
    assert monitor.flush(5) is False
    assert b'endpoint="/p"} 1' in monitor.metrics()
    assert monitor.close(5) is False


def test_a_full_disk(path):
    """The disk is full for a while: nothing is lost, nobody is disturbed, and afterwards everything is there."""
    clock = FakeClock(wall=1_700_000_040)
    worker = worker_at(path, clock)
    record(worker)
    assert commit(worker)
    db = worker.writer.connection()
    db.execute(f"PRAGMA max_page_count={db.execute('PRAGMA page_count').fetchone()[0]}")
    failed = 0
    for n in range(300):
        clock.advance(30)
        record(worker, event=(f"/{n}", 0.1, None, f"segment {n}", f"class {n}", 0.5, None))
        if not commit(worker):
            failed += 1
            assert "full" in worker.why_not
        assert scraped(worker) <= own(worker)
        if failed == 3:
            break
        db = worker.writer.connection()
        db.execute(f"PRAGMA max_page_count={db.execute('PRAGMA page_count').fetchone()[0]}")
    assert failed
    clock.advance(1)
    worker.writer._forget_connection()
    assert commit(worker)
    assert scraped(worker) == own(worker)


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="only root can mount a small disk")
@pytest.mark.parametrize("kind", ["full", "read-only"])
def test_a_real_disk_that_is_full_or_read_only(tmp_path, kind):
    """A small disk fills up, or becomes read-only, under two workers, and is right again later (RELIABILITY 48)."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", disk], capture_output=True, check=False
    ).returncode:
        pytest.skip("mounting is not allowed here")
    workers = []
    try:
        clock = FakeClock(wall=1_700_000_040)
        workers = [worker_at(disk / "live.db", clock) for _ in range(2)]
        for worker in workers:
            record(worker, 5)
            assert commit(worker)
        if kind == "full":
            with pytest.raises(OSError), (disk / "filler").open("wb", buffering=0) as filler:
                for _ in range(1000):
                    filler.write(bytes(1000))
        else:
            for worker in workers:
                worker.writer._forget_connection()
                worker.reader.close()
            subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        answers = []
        for n in range(60):
            clock.advance(61)
            for worker in workers:
                record(worker, event=(f"/{n}", 0.1, None, f"segment {n}", f"class {n}", 0.5, None))
                answers.append(commit(worker))
                assert worker.scrape.render()
        assert not all(answers)
        if kind == "full":
            (disk / "filler").unlink()
            subprocess.run(["mount", "-o", "remount,size=4M", disk], check=True)
        else:
            subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        check(workers, clock)
    finally:
        for worker in workers:
            worker.writer._forget_connection()
            worker.reader.close()
        subprocess.run(["umount", "-l", disk], check=False)


def test_a_limit_on_file_size(tmp_path):
    """A process that may write no bigger files goes on serving: SIGXFSZ and EFBIG reach nobody."""
    code = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
from modelwatch import Monitor
monitor = Monitor("m", "1", live=sys.argv[1])
for n in range(3):
    for i in range(200):
        monitor.record(f"/{n}-{i}", duration=0.1, prediction=f"c{i}")
    monitor.flush(1)
assert monitor.metrics()
print(monitor.recorder.requests(), monitor.worker.kept)
"""
    done = run_python(code, tmp_path / "live.db")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["600", "False"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_a_real_service_survives_damage(path):
    """A monitor with its own thread: garbage is written over its file under load; all own counts are there again without a restart."""
    monitor = Monitor("m", "1", live=path)
    for _ in range(1000):
        monitor.record("/p")
    assert monitor.flush(30)
    checkpoint(path)
    HURTS["garbage"](TornFile(path))
    for _ in range(1000):
        monitor.record("/p")
    for _ in range(60):
        if monitor.flush(1):
            break
    assert monitor.flush(30)
    assert b'endpoint="/p"} 2000' in monitor.metrics()
    assert monitor.close(30)
    db = connect(path)
    db.close()
    assert len(aside(Path(path))) == 1
