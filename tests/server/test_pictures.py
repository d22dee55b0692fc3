"""What every page looks like, beside the pictures of the documents: the same service at the same moment."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from server.conftest import Served
from server.frozen import frozen, reviewed
from server.shots import SHOTS, Camera, Shot, take

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
FONT = Path("/usr/share/fonts/opentype/inter/Inter-Regular.otf")
DIFFERS = 0.01  # share of the pixels
#: Decodes two pictures and returns the share of the pixels that differ by more than what the compression loses.
COMPARE = """(async () => {
  const read = async data => { const held = await createImageBitmap(await (await fetch(data)).blob());
    const sheet = new OffscreenCanvas(held.width, held.height), pen = sheet.getContext("2d");
    pen.drawImage(held, 0, 0); return pen.getImageData(0, 0, held.width, held.height); };
  const [a, b] = await Promise.all([read("%s"), read("%s")]);
  if (a.width !== b.width || a.height !== b.height) return 1;
  let n = 0;
  for (let i = 0; i < a.data.length; i += 4) if ([0, 1, 2].some(k => Math.abs(a.data[i + k] - b.data[i + k]) > 48)) n++;
  return n / (a.data.length / 4); })()"""
KEPT = [shot for shot in SHOTS if not shot.name.endswith(("-dark", "-phone")) or shot.name.startswith("health")]


class Eyes(Camera, Protocol):
    """A camera that says what it complains about."""

    problems: list[str]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of the service that stands still."""
    app, monitor = reviewed(tmp_path_factory.mktemp("frozen"), frozen)
    served = Served(app)
    yield served.url
    served.close()
    monitor.close()


def data_url(picture: bytes) -> str:
    """Return a picture as an address."""
    return f"data:image/webp;base64,{base64.b64encode(picture).decode()}"


def compared(browser: Any, one: bytes, other: bytes) -> float:
    """Return the share of the pixels in which two pictures differ."""
    browser.open("data:text/html,<title>two pictures</title>", 640, 480)
    found: float = browser.see(COMPARE % (data_url(one), data_url(other)))
    return found


@pytest.mark.parametrize("shot", KEPT, ids=[shot.name for shot in KEPT])
def test_a_page_looks_as_its_picture(browser: Eyes, url: str, shot: Shot) -> None:
    """At most one pixel in a hundred differs from docs/images; `make screenshots` writes them anew."""
    if not FONT.exists():
        pytest.skip("the font of the pictures is not installed; run: apt-get install fonts-inter")
    now = take(browser, url, shot)
    assert browser.problems == []
    assert compared(browser, (IMAGES / f"{shot.name}.webp").read_bytes(), now) <= DIFFERS


def test_another_page_is_another_picture(browser: Eyes) -> None:
    """The comparison sees a difference: healthy and failing are not the same."""
    healthy, failing = ((IMAGES / f"health-{state}.webp").read_bytes() for state in ("healthy", "failing"))
    assert compared(browser, healthy, failing) > DIFFERS
    assert compared(browser, healthy, healthy) == 0


def test_the_pictures_are_small_enough_to_keep() -> None:
    """Every page in light, dark and on a phone, in three megabytes."""
    kept = {path.stem: path.stat().st_size for path in IMAGES.glob("*.webp")}
    assert set(kept) >= {shot.name for shot in SHOTS}
    assert sum(kept.values()) < 3_000_000
