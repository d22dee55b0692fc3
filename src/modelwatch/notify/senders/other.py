"""Whatever else there is, by apprise: one address a service."""

from __future__ import annotations

import logging
import queue
import threading
from dataclasses import dataclass

from pydantic import SecretStr

from modelwatch.errors import ConfigError, MissingExtra
from modelwatch.notify.alert import Notice
from modelwatch.notify.client import Client
from modelwatch.notify.outcome import Delivered, Outcome, Retry
from modelwatch.notify.words import as_text, inert, title_of


@dataclass(frozen=True)
class Other:
    """A service that apprise knows, by its address.

    Raises
    ------
    MissingExtra   apprise is not installed.
    ConfigError    it does not know such an address.
    """

    url: SecretStr

    def __post_init__(self) -> None:
        try:
            import apprise
        except ImportError:
            raise MissingExtra("apprise: it is not installed. Run: pip install 'modelwatch[notify]'") from None
        logging.getLogger("apprise").disabled = True  # it logs addresses
        if not apprise.Apprise().add(self.url.get_secret_value()):
            scheme = self.url.get_secret_value().partition("://")[0][:20]
            raise ConfigError(
                f"apprise: the address of {scheme!r} is none that apprise knows. See its list of services."
            )

    def send(self, notice: Notice, client: Client) -> Outcome:
        """Send a notice. Apprise tells success from failure, and nothing more."""
        import apprise

        kind = {"resolved": apprise.NotifyType.SUCCESS, "acknowledged": apprise.NotifyType.INFO}.get(
            notice.kind, apprise.NotifyType.FAILURE if notice.severity == "critical" else apprise.NotifyType.WARNING
        )
        service = apprise.Apprise()
        service.add(self.url.get_secret_value())
        done: queue.SimpleQueue[bool] = queue.SimpleQueue()

        def work() -> None:
            sent = False
            try:
                sent = bool(
                    service.notify(
                        title=inert(title_of(notice)), body=as_text(notice), notify_type=kind,
                        body_format=apprise.NotifyFormat.TEXT, interpret_escapes=False,
                    )
                )  # fmt: skip
            finally:
                done.put(sent)

        threading.Thread(target=work, name="modelwatch-apprise", daemon=True).start()
        try:
            sent = done.get(timeout=client.wall_s)
        except queue.Empty:
            return Retry(0.0, f"no answer within {client.wall_s:g} s", maybe_told=True)
        return Delivered() if sent else Retry(0.0, "apprise could not send it")
