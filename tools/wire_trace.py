"""A picture of what crossed the wire: ``python tools/wire_trace.py take.jxlog -o take.png``.

Above, every voice of each board with the notes it was told to play, darker for a higher velocity;
below, the other bytes by kind, and the sound if there is one. Needs ``pip install '.[listen]'``.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import matplotlib
import numpy as np
import typer

from jxemu import protocol
from jxemu.link import LogError, load_log

matplotlib.use("Agg")
import matplotlib.pyplot as plt

ROWS = {protocol.LOWER: "lower", protocol.UPPER: "upper"}


def notes_of(arrivals: Iterable[tuple[int, int]]) -> tuple[list[tuple], list[tuple]]:
    """``(board, voice, note, velocity, start, end)`` of the notes, and ``(second, byte)`` of the parameters."""
    decoder, notes, parameters, on, last = protocol.Decoder(), [], [], {}, 0.0
    for at, byte in arrivals:
        last = at / 1e6
        for event, boards, number, first, second in decoder.feed([byte]):
            if event == protocol.PARAMETER:
                parameters.append((last, number))
            for board in ROWS if event in (protocol.ON, protocol.OFF) else ():
                if boards & board:
                    started = on.pop((board, number), None)
                    if started:
                        notes.append((board, number, *started[1:], started[0], last))
                    if event == protocol.ON:
                        on[board, number] = (last, first, second)
    notes += [(board, voice, *started[1:], started[0], last) for (board, voice), started in on.items()]
    return notes, parameters


def draw(arrivals: list[tuple[int, int]], path: Path, title: str = "", sound: np.ndarray | None = None,
         start: float = 0.0, rate: int = 48_000) -> None:  # fmt: skip
    """Write the picture; `sound` (n, 2) begins `start` seconds after the log. Raises OSError."""
    notes, parameters = notes_of(arrivals)
    figure, axes = plt.subplots(
        3, 1, sharex=True, figsize=(11, 7), height_ratios=(4, 1.5, 1.5), constrained_layout=True
    )
    voices, others, heard = axes
    for board, voice, note, velocity, begin, end in notes:
        row = voice + (8 if board == protocol.UPPER else 0)
        voices.barh(row, max(end - begin, 0.003), left=begin - start, color=plt.cm.viridis_r(velocity / 127))
        voices.text(
            begin - start, row, f" {note}", va="center", fontsize=7, color="white" if velocity > 60 else "black"
        )
    voices.set_yticks([*range(6), *range(8, 14)], [f"{name} {n + 1}" for name in ROWS.values() for n in range(6)])
    voices.set_title(title)
    if parameters:
        at, numbers = zip(*parameters, strict=True)
        others.plot(np.array(at) - start, numbers, "|", color="tab:gray")
    others.set_ylim(0x7C, 0xC3)
    others.set_yticks([0x80, 0x90, 0xA0, 0xB0], ["80", "90", "A0", "B0"])
    others.set_ylabel("parameter")
    if sound is not None:
        heard.plot(np.arange(len(sound)) / rate, sound[:, 0], lw=0.4)
    heard.set_ylabel("sound")
    heard.set_xlabel("seconds")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(
    log: Annotated[Path, typer.Argument(help="A .jxlog.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="PNG to write.")],
) -> None:
    """Draw a log."""
    try:
        draw(load_log(log), output, log.name)
    except (OSError, LogError) as error:
        typer.echo(f"trace: {error}", err=True)
        raise typer.Exit(2) from None
    typer.echo(f"{output}: voices and parameters of {log}")


if __name__ == "__main__":
    typer.run(main)
