"""`Image.save` never puts a file where something else is. Nothing outside the test's folder."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from client_sides import tightfit

IMAGE = tightfit.Image(0, 1, "image/png", b"image" * 1000)


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"old" * 9999)
    assert IMAGE.save(file) == file
    assert file.read_bytes() == IMAGE.content
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("target", ["there.png", "new.png"])
def test_a_link_is_followed_and_stays(tmp_path: Path, target: str) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "there.png").write_bytes(b"old")
    link = tmp_path / "link.png"
    link.symlink_to(f"other/{target}")
    assert IMAGE.save(link) == link
    assert link.is_symlink() and (tmp_path / "other" / target).read_bytes() == IMAGE.content


def test_a_fifo_is_written_into(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(fifo.read_bytes()))
    reader.start()
    IMAGE.save(fifo)
    reader.join(timeout=10)
    assert got == [IMAGE.content] and fifo.is_fifo()


def test_a_device_is_written_into(tmp_path: Path) -> None:
    device = tmp_path / "null"  # of our own, where this may be made
    try:
        os.mknod(device, 0o20600, os.makedev(1, 3))
        device.write_bytes(b"x")
    except PermissionError:
        pytest.skip("devices cannot be made here")
    IMAGE.save(device)
    assert device.is_char_device() and sorted(tmp_path.iterdir()) == [device]


def test_what_cannot_be_written_is_an_os_error(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "missing" / "a.png"):
        with pytest.raises(OSError):
            IMAGE.save(place)
    circle = tmp_path / "circle.png"
    circle.symlink_to("circle.png")
    with pytest.raises(OSError):
        IMAGE.save(circle)
