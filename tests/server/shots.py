"""The pictures of the pages: which there are, and how one is taken so that it is the same the next time."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from server.frozen import DEGRADED, FAILING, HEALTHY, PAGES, UNSURE

WIDE, PHONE = 1440, 390


class Shot(NamedTuple):
    """One picture: its name, the page, and what it is seen on."""

    name: str
    path: str
    width: int = WIDE
    dark: bool = False


class Camera(Protocol):
    """What takes pictures."""

    def open(
        self, url: str, width: int = WIDE, height: int = 1000, *, dark: bool = False, scripts: bool = True
    ) -> None:
        """Open a page."""

    def see(self, script: str) -> Any:
        """Return the value of an expression."""

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command."""

    def small_picture(self) -> bytes:
        """Return a WebP."""


def _of(path: str, model: str) -> str:
    return f"{path}{'&' if '?' in path else '?'}model={model}"


def _shots() -> list[Shot]:
    pages = PAGES | {"review": "/review"}
    shots = [Shot(f"health-{state}", _of("/", name)) for state, name in _STATES.items()]
    for name, path in pages.items():
        at = _of(path, DEGRADED)
        shots += [Shot(name, at), Shot(f"{name}-dark", at, dark=True), Shot(f"{name}-phone", at, PHONE)]
    return shots


_STATES = {"healthy": HEALTHY, "cannot-tell": UNSURE, "failing": FAILING}
SHOTS = _shots()


def take(camera: Camera, url: str, shot: Shot) -> bytes:
    """Return the picture: the first screen, before its first refresh, with the age that the server told."""
    height = 844 if shot.width == PHONE else 1000
    if shot.path.startswith("/review"):
        _name(camera, url, shot, height)
    camera.open(f"{url}{shot.path}", shot.width, height, dark=shot.dark)
    camera.see("document.fonts.ready.then(() => true)")
    camera.see("(b => { if (b) b.textContent = '1\\u00a0s ago' })(document.querySelector('[data-age]'))")
    return camera.small_picture()


def _name(camera: Camera, url: str, shot: Shot, height: int) -> None:
    """Say who reviews, once."""
    camera.open(f"{url}{shot.path}", shot.width, height, scripts=False)
    if camera.see("document.querySelector('#who') !== null"):
        camera.see("document.querySelector('#who').value = 'ana'; document.querySelector('form.ask').submit()")
        while not camera.see("document.querySelector('.sample') !== null"):
            continue
