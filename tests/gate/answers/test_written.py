"""A stream's outcome follows from its bytes alone, however they are written, packed and split."""

from collections.abc import Callable, Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from rollout_gate.answers.inspect import StreamInspector
from rollout_gate.answers.reading import Conclusion
from tests.gate.answers.written import LAST, Written, encodings, pieces_of, streams

Encoding = tuple[str, Callable[[bytes], bytes]]


def concluded(route_format: str, pieces: Iterable[bytes], encoding: str = "") -> Conclusion:
    inspector = StreamInspector(route_format, encoding)
    for piece in pieces:
        inspector.feed(piece)
    found = inspector.concluded()
    assert found is not None
    return found


@settings(max_examples=100)
@given(one=streams(), coded=encodings, data=st.data())
def test_a_good_stream_is_ok_however_it_is_split(
    one: Written, coded: Encoding, data: st.DataObject
) -> None:
    encoding, pack = coded
    whole = concluded(one.format, [one.body])
    assert (whole.outcome, whole.error, whole.finish_reason) == ("ok", None, "stop")
    assert concluded(one.format, one.blocks) == whole, "by its events"
    pieces = data.draw(pieces_of(pack(one.body)))
    assert concluded(one.format, pieces, encoding) == whole


@settings(max_examples=100)
@given(one=streams(fails=True), coded=encodings, data=st.data())
def test_a_failure_anywhere_is_an_error_however_it_is_split(
    one: Written, coded: Encoding, data: st.DataObject
) -> None:
    encoding, pack = coded
    whole = concluded(one.format, [one.body])
    assert (whole.outcome, whole.finish_reason) == ("error", "error")
    assert concluded(one.format, one.blocks) == whole, "by its events"
    pieces = data.draw(pieces_of(pack(one.body)))
    assert concluded(one.format, pieces, encoding) == whole


@settings(max_examples=100)
@given(one=streams(), coded=encodings, data=st.data())
def test_a_stream_cut_before_its_last_word_is_truncated(
    one: Written, coded: Encoding, data: st.DataObject
) -> None:
    encoding, pack = coded
    packed = pack(b"".join(one.blocks[: LAST[one.format]]))
    packed = packed[: data.draw(st.integers(1, len(packed)))]
    found = concluded(one.format, data.draw(pieces_of(packed)), encoding)
    came = bool(encoding) or len(packed) >= len(one.blocks[0])
    assert found.outcome in (("truncated",) if came else ("truncated", "empty"))
