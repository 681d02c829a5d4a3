"""What recorders have recorded."""

from jobledger.runs.output.recorder import OutputRecorder, Piece


def text_of(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def drained(recorder: OutputRecorder) -> list[Piece]:
    """What is not saved yet, which is then marked as saved."""
    pieces: list[Piece] = []
    while unsaved := recorder.unsaved():
        recorder.mark_saved(unsaved)
        pieces += unsaved
    return pieces


def finished(recorder: OutputRecorder) -> list[Piece]:
    recorder.close()
    return drained(recorder)
