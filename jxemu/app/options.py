"""Options and choices that several commands share."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from jxemu.assigner.allocator import PRIORITY, STEAL
from jxemu.clock import OVERSAMPLES, SAMPLE_RATES
from jxemu.machine import MACHINES

SampleFormat = StrEnum("SampleFormat", {"PCM_16": "16", "PCM_24": "24", "FLOAT": "float"})
MachineName = StrEnum("MachineName", {name: name for name in MACHINES})
PaceName = StrEnum("PaceName", {"real": "real", "instant": "instant"})
StemsName = StrEnum("StemsName", {"half": "half", "voice": "voice"})
StealName = StrEnum("StealName", {name: name for name in STEAL})
PriorityName = StrEnum("PriorityName", {name: name for name in PRIORITY})

RATES = f"one of {', '.join(map(str, SAMPLE_RATES))}"
Rate = Annotated[int, typer.Option(help=f"Sample rate, {RATES}.")]
Format = Annotated[SampleFormat, typer.Option("--format", help="Sample format.")]
Seed = Annotated[
    int, typer.Option(min=0, max=(1 << 63) - 1, help="The unit: 0 is nominal, any other has its own tolerances.")
]
UnitFile = Annotated[
    Path | None, typer.Option("--unit", help="A unit that was measured: the file that tools/calibrate.py fit writes.")
]
Quality = Annotated[int, typer.Option(help=f"Quality, one of {', '.join(map(str, OVERSAMPLES))}.")]
Renders = Annotated[
    int | None,
    typer.Option(
        min=64,
        max=1_000_000,
        help="How many tones to try: more are nearer, and take longer. Default: 400 for a sound of three seconds, up to 800 for shorter ones; for several sounds as many as take a minute.",
    ),
]
Length = Annotated[float | None, typer.Option(min=0.0, help="Length; default: until the last note is over.")]
Apart = Annotated[StemsName | None, typer.Option(help="Also write one file a half (board) or a voice.")]
BankFile = Annotated[Path | None, typer.Option(help="Bank in internal memory; default: the factory bank.")]
Cartridge = Annotated[Path | None, typer.Option(help="Bank in the cartridge slot.")]
ToneName = Annotated[str | None, typer.Option(help="Name or number (from 1) of a tone; default: the first.")]
PatchName = Annotated[str | None, typer.Option(help="Name or number (from 1) of a patch.")]
UpperChannel = Annotated[int | None, typer.Option(min=1, max=16, help="MIDI channel of the upper tone.")]
LowerChannel = Annotated[int | None, typer.Option(min=1, max=16, help="MIDI channel of the lower tone.")]
ControlChannel = Annotated[
    int | None, typer.Option(min=1, max=16, help="MIDI channel of the patch; default: all channels.")
]
Pace = Annotated[PaceName, typer.Option(help="Speed of the wire: real (31250 baud) or instant.")]
Steal = Annotated[StealName, typer.Option(help="What gives way when every voice is taken.")]
Priority = Annotated[PriorityName, typer.Option(help="Which key sounds in the Mono modes.")]
