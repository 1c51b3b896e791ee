"""Films read and written through PyAV, and films as pictures."""

import io

import numpy as np
import pytest

from fitkit.errors import FitkitError
from fitkit.io import images, picture_sequence, video
from fitkit.io.video import Frame, decode_film, open_camera, writing_film


def frames(count=6, size=(48, 64)):
    """Grey frames, uneven in time."""
    return [Frame(0.04 * number + (0.01 if number > 2 else 0.0), np.full((*size, 3), 30 * number, np.uint8))
            for number in range(count)]


@pytest.fixture
def film(tmp_path):
    pytest.importorskip("av", reason="PyAV is an extra: pip install 'fitkit[video]'")
    with open(tmp_path / "film.mp4", "wb") as file, writing_film(file, width=64, height=48) as append:
        for frame in frames():
            append(frame)
    return tmp_path / "film.mp4"


def test_a_film_comes_back_with_its_time_stamps(film):
    back = list(decode_film(film))
    np.testing.assert_allclose([frame.seconds for frame in back], [frame.seconds for frame in frames()], atol=1e-4)
    for frame, written in zip(back, frames(), strict=True):
        assert frame.pixels.shape == (48, 64, 3) and abs(float(frame.pixels.mean()) - written.pixels.mean()) < 6
        assert frame.floats().max() <= 1.0


def test_a_damaged_film_gives_what_came_before(film, tmp_path):
    data = bytearray(film.read_bytes())
    start = data.index(b"mdat") + 4
    (tmp_path / "torn.mp4").write_bytes(bytes(data[:start]) + bytes(len(data) - start))
    with pytest.raises(FitkitError, match=r"torn\.mp4 is not a film that can be read"):
        list(decode_film(tmp_path / "torn.mp4"))
    whole, notes = list(decode_film(film)), []

    class Torn:
        """A film whose decoder fails at its fourth frame."""

        def __init__(self, opened):
            self.streams, self._opened = opened.streams, opened

        def decode(self, stream):
            for number, frame in enumerate(self._opened.decode(stream)):
                if number == 3:
                    raise ValueError("bad packet")
                yield frame

    import av

    with av.open(io.BytesIO(film.read_bytes())) as opened:
        kept = list(video._frames(Torn(opened), "torn", notes.append))
    assert len(kept) == 3 < len(whole) and notes == ["torn is damaged after frame 3 (bad packet), and was read up to there"]


def test_what_is_no_film_is_a_sentence(tmp_path, monkeypatch):
    pytest.importorskip("av", reason="PyAV is an extra: pip install 'fitkit[video]'")
    (tmp_path / "page.mp4").write_text("<html>" * 50)
    with pytest.raises(FitkitError, match=r"page\.mp4 is not a film that can be read .*; name a film, such as \.mp4"):
        next(decode_film(tmp_path / "page.mp4"))
    with pytest.raises(FitkitError, match="E_NOFILE"):
        next(decode_film(tmp_path / "none.mp4"))
    monkeypatch.setattr(video, "LARGEST_FRAME", 100)
    with open(tmp_path / "film.mp4", "wb") as file, writing_film(file, width=64, height=48) as append:
        append(frames()[0])
    with pytest.raises(FitkitError, match="its frames have 64 x 48 pixels"):
        next(decode_film(tmp_path / "film.mp4"))


def test_a_missing_camera_and_missing_pyav_say_what_is_needed(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(FitkitError, match=r"E_DATA: cameras are read through PyAV; pip install 'fitkit\[video\]'"):
        next(open_camera(0))
    monkeypatch.undo()
    pytest.importorskip("av", reason="PyAV is an extra: pip install 'fitkit[video]'")
    monkeypatch.setattr(video.sys, "platform", "linux")
    with pytest.raises(FitkitError, match=r"E_NOFILE: there is no camera 913 \(/dev/video913 does not exist\)"):
        next(open_camera(913))


def test_pictures_are_frames_in_the_order_of_their_numbers(tmp_path):
    for number in (10, 9, 1):
        images.write_image(tmp_path / f"shot{number}.png", np.full((8, 12, 3), number / 20))
    files = picture_sequence.sequence_files(str(tmp_path))
    assert [file.name for file in files] == ["shot1.png", "shot9.png", "shot10.png"]
    assert picture_sequence.is_sequence(str(tmp_path / "*.png")) and not picture_sequence.is_sequence(str(files[0]))
    assert picture_sequence.sequence_files(str(tmp_path / "shot1*.png")) == [files[0], files[2]]
    back = list(picture_sequence.read_sequence(files, 50.0))
    assert [frame.seconds for frame in back] == [0.0, 0.02, 0.04]
    images.write_image(tmp_path / "shot11.png", np.zeros((9, 12, 3)))
    with pytest.raises(FitkitError, match="has 12 x 9 pixels and the first picture of the sequence 12 x 8"):
        list(picture_sequence.read_sequence(picture_sequence.sequence_files(str(tmp_path)), 50.0))
    with pytest.raises(FitkitError, match="E_EMPTYDIR"):
        picture_sequence.sequence_files(str(tmp_path / "take*.png"))
