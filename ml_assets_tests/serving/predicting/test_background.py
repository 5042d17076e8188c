"""Work beside the answering of requests begins at once, is done once at a time, and never outlives its process."""

from __future__ import annotations

import subprocess
import sys
import threading

from ml_assets.serving.predicting.background import Background

LEAVING = """
import duckdb
from ml_assets.serving.predicting.background import Background

instance = duckdb.connect()
Background("busy", 0, lambda: instance.execute("SELECT sum(range) FROM range(3_000_000)").fetchall()).start()
"""


def test_it_begins_at_once_and_again_after_each_pause_until_it_is_stopped() -> None:
    done, thrice = [], threading.Event()

    def do() -> None:
        done.append(threading.current_thread().name)
        if len(done) >= 3:
            thrice.set()

    work = Background("counting", 0.001, do)
    work.start()
    work.start()
    assert work.is_running
    assert thrice.wait(10)
    work.stop()
    stopped_at = len(done)

    assert not work.is_running
    assert set(done) == {"counting"}
    assert not any(thread.name == "counting" for thread in threading.enumerate())
    work.start()
    work.stop()
    assert len(done) > stopped_at, "it can be started again"


def test_a_process_that_ends_while_it_works_ends_well() -> None:
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", LEAVING], capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
