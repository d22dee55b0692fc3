"""Requests opened by hand: timed, counted once, and given to the instrumentation around them."""

from __future__ import annotations

import asyncio
import time

import pytest

from counting import total
from modelwatch import Monitor, current_request
from modelwatch.record.request import current


@pytest.fixture
def monitor(tmp_path):
    """A monitor with a live.db of its own."""
    monitor = Monitor("m", "1", live=tmp_path / "live.db")
    yield monitor
    monitor.close()


def requests(monitor, *paths):
    """Return the requests counted at these endpoints."""
    assert monitor.flush(10)
    text = monitor.metrics()
    return [total(text, "ml_requests_total", endpoint=path) for path in paths]


def test_a_block_is_one_request(monitor):
    """The block is timed; what is said in it is counted with it; nothing stays in progress."""
    with monitor.request("/p", segment="books") as request:
        assert len(monitor.recorder.busy) == 1
        assert current_request() is request
        request.predicted("good", confidence=0.5)
        time.sleep(0.02)
    assert current.get() is None
    assert requests(monitor, "/p") == [1]
    text = monitor.metrics()
    assert 0.02 <= total(text, "ml_request_duration_seconds_sum") < 0.5
    assert total(text, "ml_requests_by_segment_total", segment="books") == 1
    assert total(text, "ml_low_confidence_predictions_total") == 1
    assert len(monitor.recorder.busy) == 0


def test_a_failing_block_is_a_failure(monitor):
    """The exception goes on; type and duration are counted, and what was said before."""
    with pytest.raises(KeyError), monitor.request("/p") as request:
        request.predicted("good")
        raise KeyError
    assert requests(monitor, "/p") == [1]
    text = monitor.metrics()
    assert total(text, "ml_errors_total", error_type="KeyError") == 1
    assert total(text, "ml_request_duration_seconds_count") == 1
    assert total(text, "ml_predictions_by_class_total", predicted_class="good") == 1


def test_a_block_in_a_closed_generator_is_no_failure(monitor):
    """The reader of a stream had enough."""

    def stream():
        with monitor.request("/p"):
            yield 1
            yield 2

    reader = stream()
    next(reader)
    reader.close()
    assert requests(monitor, "/p") == [1]
    assert b"GeneratorExit" not in monitor.metrics()


def test_the_first_inner_request_claims_the_outer(monitor):
    """One request that is instrumented twice counts once under the inner name; a second inner one is a request of its own."""
    with monitor.request("/outer") as outer:
        outer_id = outer.id
        with monitor.request("/first", segment="s") as first:
            first.predicted("a")
        with monitor.request("/second") as second:
            second.predicted("b")
        assert outer.id == outer_id
    assert requests(monitor, "/first", "/second") == [1, 1]
    text = monitor.metrics()
    assert total(text, "ml_requests_total") == 2
    assert [total(text, "ml_predictions_by_class_total", predicted_class=name) for name in "ab"] == [1, 1]
    assert total(text, "ml_requests_by_segment_total", segment="s") == 1
    assert len(monitor.recorder.busy) == 0


def test_a_watched_function_claims_the_request_around_it(monitor):
    """The block around a watched function gives its name up, sync and async."""

    @monitor.endpoint("/inner")
    def predict():
        return {"label": "a"}

    @monitor.endpoint("/inner")
    async def predict_async():
        current_request().predicted("a")

    async def main():
        with monitor.request("/outer"):
            await predict_async()

    with monitor.request("/outer"):
        predict()
    asyncio.run(main())
    assert requests(monitor, "/inner") == [2]
    text = monitor.metrics()
    assert total(text, "ml_requests_total") == 2
    assert total(text, "ml_predictions_by_class_total", predicted_class="a") == 2


def test_a_block_inside_a_watched_function_is_a_request_of_its_own(monitor):
    """Inside a watched function `current_request` is the way; a block there opens another request."""

    @monitor.endpoint("/function")
    def predict():
        with monitor.request("/block") as request:
            request.predicted("a")

    @monitor.endpoint("/function")
    async def predict_async():
        with monitor.request("/block") as request:
            request.predicted("a")

    predict()
    asyncio.run(predict_async())
    assert requests(monitor, "/function", "/block") == [2, 2]
    assert total(monitor.metrics(), "ml_predictions_by_class_total", predicted_class="a") == 2


def test_requests_of_other_models_are_not_claimed(monitor, tmp_path):
    """A model that asks another model is not that other model's request."""
    other = Monitor("other", "1", live=tmp_path / "live.db")
    with monitor.request("/p"), other.request("/q"):
        pass
    assert other.flush(10)
    text = monitor.metrics()
    assert total(text, "ml_requests_total", model_name="m", endpoint="/p") == 1
    assert total(text, "ml_requests_total", model_name="other", endpoint="/q") == 1
    other.close()


def test_outside_of_any_request_nothing_is_counted(monitor):
    """`current_request` outside of an endpoint takes what is said, and counts it nowhere."""
    current_request().predicted("lost")
    current_request().segment = "lost"
    monitor.record("/p")
    current.set(None)
    assert requests(monitor, "/p") == [1]
    assert b"lost" not in monitor.metrics()


def test_ids_are_unguessable(monitor):
    """An id has 128 random bits, is made when it is asked for, and stays."""
    made = {monitor.request("/p").id for _ in range(1000)}
    assert len(made) == 1000
    assert all(len(bytes.fromhex(found)) == 16 for found in made)
    request = monitor.request("/p")
    assert request.id == request.id


def test_an_id_of_ones_own_is_used_before_one_is_made(monitor):
    """It is taken once, and only where no id was handed out; what is no id is refused."""
    with monitor.request("/p") as request:
        request.use_id("0f" * 16)
        request.use_id("1e" * 16)
        assert request.id == "0f" * 16
    with monitor.request("/p") as request:
        made = request.id
        request.use_id("0f" * 16)
        assert request.own_id() == made
        for wrong in ("", "0F" * 16, "0f" * 17, "0f" * 16 + "\n"):
            with pytest.raises(ValueError, match="32 hexadecimal digits"):
                request.use_id(wrong)
