"""Services to be loaded: one small endpoint behind a real server, bare, with modelwatch, or with a peer around it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from itertools import cycle
from typing import Any

from bench import brief
from bench.harness import feature_rows, monitored, reference_values
from modelwatch import Monitor, current_request

FEATURES = 10
ANSWER = {"label": "positive", "confidence": 0.93}
ROWS = cycle(feature_rows(FEATURES))
WHOLE = "brief, whole"


def nothing(_row: dict[str, float]) -> None:
    """What a service without a monitor says of an answer."""


def brief_answers() -> Callable[[dict[str, float]], Any]:
    """Return the brief's whole set, called with the features of one request."""
    return brief.WholeSet(lambda x: x, reference_values(FEATURES)).request


def modelwatch_answers(row: dict[str, float]) -> None:
    """Say to modelwatch what the model answered, with its features."""
    current_request().predicted("positive", 0.93, row)


# -- FastAPI -----------------------------------------------------------------------------------------------------------


def fastapi_service(said: Callable[[dict[str, float]], Any] = nothing) -> Any:
    """Return the service: one async endpoint."""
    from fastapi import FastAPI

    app = FastAPI()

    @app.get("/predict")
    async def predict() -> dict[str, Any]:
        said(next(ROWS))
        return ANSWER

    return app


def with_brief_middleware(app: Any) -> None:
    """Put the brief's request metrics into a middleware of the usual form."""
    model = "sentiment_classifier"

    @app.middleware("http")
    async def monitor(request: Any, call_next: Callable[[Any], Any]) -> Any:
        endpoint, version = request.url.path, brief.get_model_version()
        brief.REQUEST_COUNT.labels(model_name=model, endpoint=endpoint, model_version=version).inc()
        brief.IN_PROGRESS.labels(model_name=model).inc()
        start_time = time.time()
        try:
            response = await call_next(request)
            brief.REQUEST_LATENCY.labels(model_name=model, endpoint=endpoint).observe(time.time() - start_time)
            return response
        except Exception as error:
            brief.ERROR_COUNT.labels(model_name=model, endpoint=endpoint, error_type=type(error).__name__).inc()
            raise
        finally:
            brief.IN_PROGRESS.labels(model_name=model).dec()


def with_peer(app: Any, name: str) -> None:
    """Put an exporter around a FastAPI app, as its page says."""
    if name == "starlette-exporter":
        from starlette_exporter import PrometheusMiddleware

        app.add_middleware(PrometheusMiddleware)
    elif name == "prometheus-fastapi-instrumentator":
        from prometheus_client import CollectorRegistry
        from prometheus_fastapi_instrumentator import Instrumentator

        Instrumentator(registry=CollectorRegistry()).instrument(app)
    else:
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        from opentelemetry.trace import NoOpTracerProvider

        FastAPIInstrumentor.instrument_app(
            app, meter_provider=MeterProvider([InMemoryMetricReader()]), tracer_provider=NoOpTracerProvider()
        )


def fastapi_variant(name: str, monitor: Monitor) -> Any:
    """Return the FastAPI service with one of the monitors."""
    from modelwatch.integrations.fastapi import instrument

    if name == WHOLE:
        return fastapi_service(brief_answers())
    app = fastapi_service(modelwatch_answers if name == "ours, whole" else nothing)
    if name.startswith("ours"):
        instrument(app, monitor)
    elif name == "brief":
        with_brief_middleware(app)
    elif name != "bare":
        with_peer(app, name)
    return app


# -- Flask -------------------------------------------------------------------------------------------------------------


def flask_variant(name: str, monitor: Monitor) -> Any:
    """Return the Flask service with one of the monitors."""
    from flask import Flask

    from modelwatch.integrations.flask import instrument

    app = Flask("bench")
    said = {"ours, whole": modelwatch_answers, WHOLE: brief_answers() if name == WHOLE else nothing}.get(name, nothing)

    def predict() -> Any:
        said(next(ROWS))
        return ANSWER

    if name == "prometheus-flask-exporter":
        from prometheus_flask_exporter import PrometheusMetrics

        PrometheusMetrics(app)  # before the routes, as its page says
    decorated = brief.monitor_ml_endpoint("sentiment_classifier", "/predict")(predict) if name == "brief" else predict
    app.add_url_rule("/predict", "predict", decorated)
    if name.startswith("ours"):
        instrument(app, monitor)
    return app


# -- servers -----------------------------------------------------------------------------------------------------------


def serve_fastapi(name: str, port: int) -> None:
    """Answer on a port with uvicorn, in this process."""
    import uvicorn

    with monitored(FEATURES) as monitor:
        uvicorn.run(fastapi_variant(name, monitor), port=port, log_level="warning", access_log=False)


def serve_flask(name: str, port: int) -> None:
    """Answer on a port with one worker of gunicorn, which has the one thread that keeps connections open."""
    from gunicorn.app.base import BaseApplication

    class Service(BaseApplication):
        def load_config(self) -> None:
            for key, value in {
                "bind": f"127.0.0.1:{port}", "worker_class": "gthread", "threads": 1, "keepalive": 60,
                "loglevel": "error", "control_socket_disable": True,
            }.items():  # fmt: skip
                if key in self.cfg.settings:
                    self.cfg.set(key, value)

        def load(self) -> Any:
            self.watching = monitored(FEATURES)  # in the worker; ends with it
            return flask_variant(name, self.watching.__enter__())

    Service().run()


if __name__ == "__main__":
    framework, variant, where = sys.argv[1:]
    {"fastapi": serve_fastapi, "flask": serve_flask}[framework](variant, int(where))
