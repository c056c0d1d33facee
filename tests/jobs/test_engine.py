import threading
import time

import pytest

from restore.jobs import engine


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_order_is_kept_and_only_jobs_and_one_are_held(jobs: int) -> None:
    lock = threading.Lock()
    held, most = 0, 0

    def read(item: int) -> int:
        nonlocal held, most
        with lock:
            held += 1
            most = max(most, held)
        return item

    def work(item: int) -> int:
        nonlocal held
        time.sleep(0.002 * (item % 3))
        with lock:
            held -= 1
        return item * item

    assert list(engine.threads(range(40), read, work, jobs=jobs)) == [n * n for n in range(40)]
    assert most == jobs + 1


def test_the_next_item_is_read_while_one_is_worked_on() -> None:
    both = threading.Barrier(2, timeout=20)

    def read(item: int) -> int:
        if item == 1:
            both.wait()
        return item

    def work(item: int) -> int:
        if item == 0:
            both.wait()
        return item

    assert list(engine.threads([0, 1], read, work)) == [0, 1]


def test_jobs_work_at_the_same_time() -> None:
    together = threading.Barrier(3, timeout=20)

    def work(item: int) -> int:
        together.wait()
        return item

    assert list(engine.threads(range(6), lambda n: n, work, jobs=3)) == list(range(6))


def test_an_error_comes_out_and_nothing_hangs() -> None:
    def work(item: int) -> int:
        if item == 2:
            raise ValueError("two")
        return item

    results = engine.threads(range(20), lambda n: n, work, jobs=2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(results)


def test_nothing_more_is_begun_when_the_caller_leaves() -> None:
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        time.sleep(0.002)
        return number

    def fail() -> None:
        for number in engine.threads(range(500), lambda n: n, work, jobs=2):
            if number == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert len(begun) < 20
