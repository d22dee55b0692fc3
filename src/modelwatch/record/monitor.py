"""The monitor of one model: the few calls that a service makes, and the page that Prometheus reads."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from modelwatch.errors import ConfigError, MissingExtra, StoreUnavailable
from modelwatch.kernel import Kernel
from modelwatch.labels import name_of
from modelwatch.record.batch import columns_of
from modelwatch.record.recorder import Recorder
from modelwatch.record.request import Place, Request, detached
from modelwatch.record.watch import Watch, watch
from modelwatch.record.worker import EXIT_WAIT_S, Worker
from modelwatch.reference import NumericProfile, Reference
from modelwatch.referenceseries import comparable
from modelwatch.schema import ModelSchema, latency_edges, numeric_edges
from modelwatch.store.live import Key

if TYPE_CHECKING:
    from modelwatch.config import Config, ModelConfig
    from modelwatch.record.review import Review
    from modelwatch.sources.status import StatusSource

Function = TypeVar("Function", bound=Callable[..., Any])

BATCH_CHUNK = 4096  # rows of a batch counted at a time


class Monitor:
    """Counts what one model does. No call raises into the service, waits for a disk, or computes a statistic.

    Made by `Monitor.from_config`, or from a schema where there is no configuration file.

    Examples
    --------
    >>> import modelwatch, tempfile, pathlib
    >>> folder = tempfile.mkdtemp()
    >>> monitor = modelwatch.Monitor("sentiment", "1.0", live=pathlib.Path(folder, "live.db"))
    >>> monitor.record("/predict", duration=0.012, prediction="positive", confidence=0.93)
    >>> monitor.flush(5)
    True
    >>> b'ml_requests_total{model_name="sentiment",model_version="1.0",endpoint="/predict"} 1' in monitor.metrics()
    True
    >>> monitor.close()
    True
    """

    def __init__(
        self,
        name: str,
        version: str = "unversioned",
        schema: ModelSchema | None = None,
        *,
        live: str | os.PathLike[str] = "live.db",
        reference: Reference | None = None,
    ) -> None:
        self.key = Key(name, version)
        self.worker = Worker.of(Path(live))
        self.recorder = self._recorder(schema or ModelSchema())
        if reference is not None:
            self.worker.references[self.key] = comparable(reference, self.recorder.kernel.schema)
        self._closed = False
        self._status: StatusSource | None = None
        self.review: Review | None = None
        self._config: Config | None = None
        self.worker.users += 1

    @classmethod
    def from_config(cls, path: str | os.PathLike[str] = "modelwatch.yaml", model: str | None = None) -> Monitor:
        """Make the monitor of one model of a configuration file.

        Parameters
        ----------
        path : the configuration.
        model : name of the model; may be left out when there is only one.

        Raises
        ------
        ConfigError    the file or the reference profile cannot be used; the message says what to do.
        MissingExtra   the configuration has a store, and SQLAlchemy is not installed.
        """
        from modelwatch.config import load_config  # pydantic is loaded by those who read a file only

        config = load_config(path, secrets=False)  # the service pages nobody
        chosen = config.model(model)
        reference = Reference.load(chosen.reference) if chosen.reference else None
        schema = schema_of(chosen, reviewed=bool(config.store), reference=reference)
        Worker.of(Path(config.live)).scale(config.time_scale)
        monitor = cls(chosen.name, chosen.version, schema, live=config.live, reference=reference)
        monitor._config = config
        if config.store:
            try:
                from modelwatch.record.review import open_review  # SQLAlchemy is loaded by those who have a store
            except ModuleNotFoundError as error:
                if error.name != "sqlalchemy":
                    raise
                raise MissingExtra("store: SQLAlchemy is not installed. Run: pip install 'modelwatch[store]'") from None
            monitor.review = open_review(monitor, config.store, chosen)
        return monitor

    def _recorder(self, schema: ModelSchema) -> Recorder:
        have = self.worker.recorders.get(self.key)
        if have is None:
            recorder = Recorder(Kernel(schema), self.worker.faults)
            self.worker.add(self.key, recorder)
            return recorder
        if have.kernel.schema != schema:
            raise ConfigError(
                f"models.{self.key.model}: version is {self.key.version!r}; expected another one, since this process"
                " already counts it with other settings. Give the other settings a version of their own."
            )
        self.worker.start()
        return have

    # -- the request path ----------------------------------------------------------------------------------------------

    def endpoint(
        self,
        path: str,
        *,
        extract: Callable[[Any], Any] | None = None,
        features: Callable[..., Mapping[str, Any]] | None = None,
        segment: Callable[..., Any] | str | None = None,
    ) -> Callable[[Function], Function]:
        """Watch a function that answers requests: sync, async, generator, async generator or method.

        Parameters
        ----------
        path : name of the endpoint.
        extract : from the returned value to (label, confidence) or a mapping with "label", "confidence", "features";
            by default a returned dict is read in that form.
        features : from the function's own arguments to {feature name: value}.
        segment : from the function's own arguments to the segment, or a constant.
        """
        made = Watch(self, path, extract, features, segment)
        return lambda function: watch(made, function)

    def request(self, endpoint: str, segment: Any = None) -> Request:
        """Return a context manager that times and counts one request."""
        return Request(self, endpoint, segment)

    def record(
        self,
        endpoint: Any,
        duration: Any = None,
        prediction: Any = None,
        confidence: Any = None,
        features: Any = None,
        segment: Any = None,
        error: Any = None,
        request_id: str | None = None,
        input: Any = None,  # noqa: A002 - the contract
    ) -> None:
        """Count one finished request.

        Parameters
        ----------
        endpoint : route, never a path with ids in it.
        duration : seconds.
        prediction : predicted class, or value of a regression.
        confidence : 0 to 1.
        features : {feature name: value}; copied.
        segment : the segment that the request belongs to.
        error : None, an exception, the name of its class, or http_<status>.
        request_id : of ours or of your own; without one the request is never kept for review.
        input : what a reviewer is shown, text or JSON; kept only when the request is.
        """
        if request_id is not None and self.review is not None and error is None:
            self._consider(request_id, endpoint, prediction, confidence, segment, features, input)
        if type(features) is dict:  # the service may reuse its dict
            features = features.copy()
        elif features is not None:
            features = detached(features)
        if error is not None and type(error) is not str:
            error = _error_name(error)
        recorder = self.recorder
        pending = recorder.pending
        pending.append((endpoint, duration, error, segment, prediction, confidence, features))
        if len(pending) > recorder.limit:
            recorder.relieve()

    def record_batch(self, frame: Any, endpoint: str = "batch") -> int:
        """Count a batch of predictions: the same counts as `record` row by row.

        Parameters
        ----------
        frame : pandas DataFrame, Arrow table or record batch, or {column: array}. Columns are named as the arguments of
            `record`; features are found by their names.
        endpoint : used where there is no column of this name.

        Returns
        -------
        int, the number of rows counted; 0 when the batch has no form that can be read, which is logged and counted as
        an internal error.
        """
        counted = 0
        try:
            kernel = self.recorder.kernel
            names = {*kernel.numeric, *kernel.categories}
            columns, features, n = columns_of(frame, endpoint, names, classes=kernel.schema.classes is not None)
            for start in range(0, n, BATCH_CHUNK):
                part = slice(start, start + BATCH_CHUNK)
                rows = min(BATCH_CHUNK, n - start)
                counted += rows * self.recorder.fold_columns(
                    {name: c[part] for name, c in columns.items()},
                    {name: c[part] for name, c in features.items()},
                    rows,
                )
        except Exception as error:  # noqa: BLE001 - rule 1
            self.recorder.faults.add("record_batch", error, ours=False)
        return counted

    def finish(self, request: Request, duration: float, error: str | None, outer: Request | Place | None) -> None:
        """End a request that `busy.append` opened: count it, or hand it to an outer instrumentation of the same."""
        recorder = self.recorder
        try:
            try:
                recorder.busy.pop()
            except IndexError:  # forked in the middle of the request
                pass
            request.error = error
            request.claimed = True  # it has ended: a background task that begins in its context is no part of it
            if outer is not None and outer.monitor is self and not outer.claimed:
                outer.take(request)
                return
            features = request.features  # set by hand, perhaps: the service may go on with its dict
            if features is not None:
                features = detached(features)
            pending = recorder.pending
            pending.append(
                (request.endpoint, duration, error, request.segment, request.prediction, request.confidence, features)
            )
            if len(pending) > recorder.limit:
                recorder.relieve()
            if self.review is not None and error is None:
                self._consider(
                    request.own_id(), request.endpoint, request.prediction, request.confidence, request.segment,
                    request.features, request.input,
                )  # fmt: skip
        except Exception as fault:  # noqa: BLE001 - rule 1
            recorder.faults.add("request", fault)

    def _consider(
        self, request_id: str, endpoint: Any, prediction: Any, confidence: Any, segment: Any, features: Any, given: Any
    ) -> None:
        """Keep a prediction for review, perhaps."""
        review = self.review
        try:
            if review is not None and prediction is not None:
                review.consider(request_id, endpoint, prediction, confidence, segment, features, given)
        except Exception as error:  # noqa: BLE001 - rule 1
            self.recorder.faults.add("review", error)

    # -- ground truth --------------------------------------------------------------------------------------------------

    def label(
        self,
        request_id: str,
        true_label: Any,
        reviewer: str | None = None,
        *,
        at: float | None = None,
        note: str | None = None,
        trusted: bool = True,
    ) -> str:
        """Take what somebody says was the right answer to a request. Durable when this returns.

        Parameters
        ----------
        request_id : as it was handed out, or the id that `record` was given.
        true_label : a class, or the value of a regression.
        reviewer : who says so.
        at : Unix seconds when it was said; now by default.
        note : of the reviewer.
        trusted : False takes signed ids only: for labels that come from outside.

        Returns
        -------
        matched: the first label of a prediction. duplicate: it has this label already. conflict: it had another one;
        the latest counts in views. late: the prediction is older than the retention. not_sampled: it was not kept for
        review. unknown_id: nobody was given this id.

        Raises
        ------
        UnknownLabel       no class of the model, or no number.
        StoreUnavailable   the label was not stored, or there is no store.
        """
        if self.review is None:
            raise StoreUnavailable(
                "store: there is none; expected one for labels. Write store: sqlite:///modelwatch.db in the"
                " configuration."
            )
        from modelwatch.record.review import Said

        return self.review.label(Said(request_id, true_label, reviewer, at, note), trusted=trusted)

    # -- what comes out ------------------------------------------------------------------------------------------------

    def metrics(self, *, openmetrics: bool = False, registry: Any = None) -> bytes:
        """Return the exposition: the committed counts of all workers of this host, for the models of this process.

        Parameters
        ----------
        openmetrics : OpenMetrics instead of Prometheus text.
        registry : a prometheus_client registry whose families are added; None: only ours.
        """
        return self.worker.scrape.render(openmetrics=openmetrics, registry=registry)

    def push(
        self,
        url: str,
        job: str,
        grouping_key: Mapping[str, object] | None = None,
        *,
        timeout: float = 10.0,
        handler: Callable[..., Callable[[], None]] | None = None,
        registry: Any = None,
        check: bool = False,
    ) -> bool:
        """Push what `metrics` shows to a Prometheus Pushgateway: for a job that ends before it could be scraped.

        Everything recorded so far is flushed first. The group of this job and grouping key is replaced as a whole.

        Parameters
        ----------
        url : of a Pushgateway 0.9 or newer.
        job : name of the job, its label `job`.
        grouping_key : more labels of the group, such as {"instance": host}: jobs that run at once need one each.
        timeout : seconds for all of it.
        handler : sends the request, for credentials or certificates: one of prometheus_client.exposition's.
        registry : a prometheus_client registry whose families are added.
        check : raise instead of returning False.

        Returns
        -------
        bool, False when the gateway has not said that it has the counts. The reason is logged as a warning and counted
        in `modelwatch_internal_errors_total{where="push"}`; the counts are still in `live.db`, for the next push.

        Raises
        ------
        ModelwatchError   the same reason, with `check`.
        """
        from modelwatch.record.push import push

        return push(
            self.worker, url, job, grouping_key, timeout=timeout, handler=handler, registry=registry, check=check
        )

    def status(self) -> dict[str, Any]:
        """Return what `modelwatch status --json` prints: the state of the host's models, from its committed counts."""
        from modelwatch.sources.status import StatusSource

        if self._status is None:
            live, config = self.worker.path, self._config
            self._status = StatusSource(live) if config is None else StatusSource.from_config(config, live)
        return self._status.read()

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until everything recorded so far is in `live.db`, and what is kept for review in the store.

        Returns False when that takes longer than `timeout` seconds. Call it before `os._exit`, and in jobs of servers
        that end so (rq, celery's children): neither that nor a signal without a handler runs exit handlers.
        """
        begin = time.monotonic()
        stored = self.review is None or self.review.writer.flush(timeout)
        return self.worker.flush(max(0.0, timeout - (time.monotonic() - begin))) and stored

    def close(self, timeout: float = EXIT_WAIT_S) -> bool:
        """Count and store what is left, and stop the counting thread unless other monitors of this process need it.

        Returns False, and logs how many events are not stored, when that takes longer than `timeout` seconds.
        """
        if not self._closed:
            self._closed = True
            self.worker.users -= 1
            if self.review is not None:
                self.review.close()
            if self._status is not None:
                self._status.close()
        return self.worker.flush(timeout) if self.worker.users > 0 else self.worker.close(timeout)


def schema_of(model: ModelConfig, *, reviewed: bool = False, reference: Reference | None = None) -> ModelSchema:
    """Return what the configuration of a model, and its reference profile, ask to be counted.

    reviewed : there is a store of samples and labels.
    reference : the profile, where it is loaded already; else it is.
    """
    if reference is None and model.reference:
        reference = Reference.load(model.reference)
    latency = model.slos.latency
    categories = reference.categorical if reference else {}
    return ModelSchema(
        latency=latency_edges([latency.threshold_s] if latency else []),
        threshold=model.low_confidence,
        classes=model.classes if model.task == "classification" else None,
        value_edges=_value_edges(model, reference),
        numeric={name: numeric_edges(reference, name) for name, kind in model.features.items() if kind == "numeric"},
        categorical={
            name: tuple(categories[name].counts) if name in categories else ()
            for name, kind in model.features.items()
            if kind == "categorical"
        },
        cap=model.max_label_values,
        reviewed=reviewed,
    )


def _value_edges(model: ModelConfig, reference: Reference | None) -> tuple[float, ...]:
    """Return the configured edges of predicted values, and those of the profile: what it is compared on."""
    prediction = None if reference is None else reference.prediction
    if not isinstance(prediction, NumericProfile):
        return model.value_buckets
    return tuple(sorted({*model.value_buckets, *prediction.exported}))


def _error_name(error: Any) -> Any:
    """Return the class name of an exception; anything else is judged when it is folded."""
    if issubclass(type(error), BaseException):
        return name_of(type(error))
    if type(error) is type and issubclass(error, BaseException):
        return error.__name__
    return error
