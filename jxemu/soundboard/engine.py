"""Boards and lanes as one set of records: made, wired and run.

An engine holds `boards` sound boards and the lanes of the voices that are played on them. Live, a
board's six voices stand in eight lanes; in a batch of notes only the voices that sound get one.
Rendering is the same either way, bit by bit.
"""

import copy
import functools
import math
from collections.abc import Callable, Sequence

import numpy as np
from numba import carray, types

from jxemu import clock, protocol
from jxemu.kernel import c_function, entry, pointer, zeros
from jxemu.soundboard import circuit as soldering
from jxemu.soundboard import decimator, state
from jxemu.soundboard.circuit import Circuit
from jxemu.soundboard.render import FAR_UNITS, render_block, trace_block
from jxemu.soundboard.tables import DIVISOR

LANE_WIDTHS = (8, 16, 32)
ALL_VOICES = tuple(range(state.VOICES))
_COMPILED: dict[int, Callable] = {}
"""The kernel by lane width."""

REST = 60
"""Key at which all voices stand before a first note."""

WHOLE_BOARD = 8
"""Lanes that a board with more than one voice takes."""


class Engine:
    """Sound boards with their voices in lanes.

    roles : which selects each board answers to (`protocol.LOWER`, `UPPER` or `BOTH`).
    circuits : one a board.  voices : the voices of each board that are ever played (default all).
    width : lanes of a group, 8, 16 or 32.  silent_rest : whether the other voices are never
        started, so that their passes can be left out.
    Raises ValueError for a rate, factor or width that is not supported, and for circuits of several readings or units.
    """

    def __init__(
        self,
        roles: Sequence[int],
        circuits: Sequence[Circuit],
        sample_rate: int = 48_000,
        oversample: int = 4,
        voices: Sequence[Sequence[int]] | None = None,
        width: int = 8,
        silent_rest: bool = True,
    ):
        if width not in LANE_WIDTHS:
            raise ValueError(f"{width} lanes are not supported; choose one of {LANE_WIDTHS}")
        if oversample not in clock.OVERSAMPLES:
            raise ValueError(f"oversampling by {oversample} is not supported; choose one of {clock.OVERSAMPLES}")
        if len({(circuit.xmod, circuit.unit) for circuit in circuits}) > 1:  # lanes of a group share what they make
            raise ValueError("boards of one engine have one xmod and one unit; seeds may differ")
        voices = voices or [ALL_VOICES] * len(roles)
        self.sample_rate, self.oversample, self._width = sample_rate, oversample, width
        self.frame = 0  # output frames rendered since power-on
        self._units_per_frame = clock.units_per_frame(sample_rate)
        self.time = zeros(state.TIME, 1)
        self.time[0].units_per_frame = self._units_per_frame
        self.time[0].sample_units = clock.units_per_frame(sample_rate, oversample)
        self.time[0].oversample = oversample
        self.time[0].hold = soldering.hold_share(sample_rate)
        self.boards = zeros(state.BOARD, len(roles))
        for board, role, circuit, played in zip(self.boards, roles, circuits, voices, strict=True):
            _power_on(board, role, circuit, played if silent_rest else ALL_VOICES)
        self._single = all(len(played) == 1 for played in voices)
        slots = _lane_slots(voices, self._single)
        self.groups = zeros(state.lanes(width), -(-len(slots) // width))
        self.stages = zeros(state.outputs(width), -(-len(roles) // width))
        self.groups.board = self.stages.board = self.groups.seen = -1
        for part in (self.groups.dco1, self.groups.dco2):
            part.high_units = part.low_units = FAR_UNITS  # of lanes without a voice
        self.groups.vcf.slope_in = self.groups.vcf.slope_b = self.groups.vcf.top = 1.0
        self._wire(slots, roles, circuits, width)

    def _wire(
        self, slots: list[tuple[int, int] | None], roles: Sequence[int], circuits: Sequence[Circuit], width: int
    ) -> None:
        for index, slot in enumerate(slots):
            if slot is None:
                continue
            group, lane = self.groups[index // width], index % width
            board, voice = slot
            group.board[lane], group.voice[lane] = board, voice
            group.to_output[lane], group.to_lane[lane] = divmod(board, width)
            place = board_place(roles[board])
            soldering.solder_voice(group, lane, circuits[board], place, voice, self.sample_rate, self.oversample)
        self.groups.single = self._single
        step = 1 if self._single else WHOLE_BOARD
        for index in range(0, len(slots), step):
            self.groups[index // width].voices[index % width] = step
        for index, (role, circuit) in enumerate(zip(roles, circuits, strict=True)):
            stage, lane = self.stages[index // width], index % width
            stage.board[lane] = index
            soldering.solder_output(stage, lane, circuit, board_place(role), self.sample_rate)

    def copy(self) -> "Engine":
        """Another one in the same state."""
        other = copy.copy(self)
        for name in ("time", "boards", "groups", "stages"):
            setattr(other, name, getattr(self, name).copy())
        return other

    def cycle_of(self, frame: int) -> int:
        """Machine cycle at which an output frame begins."""
        return frame * self._units_per_frame // clock.UNITS_PER_CYCLE

    @property
    def latency_frames(self) -> float:
        """Delay from the latch to the output, in output frames: steps, sections, decimators."""
        return decimator.delay_frames(self.oversample) + 4 / self.oversample

    def last_look(self, frames: int) -> int:
        """Cycle of the last slice that begins in the next `frames` frames, -1 if none does.

        Bytes up to it are taken by a `render` of that length; later ones are not looked at.
        """
        start = (self.frame + frames - 1) // state.SLICE * state.SLICE
        return self.cycle_of(start) if start >= self.frame else -1

    def render(
        self, rx_at: np.ndarray, rx_byte: np.ndarray, position: np.ndarray, end: np.ndarray, out: np.ndarray
    ) -> np.ndarray:
        """The next frames of every board, written to `out`, float32 (boards, frames, 2), and returned.

        With (boards, frames, 1) it is the mean of both channels.

        rx_at, rx_byte : int64 cycles and uint8 bytes that arrive; `position` and `end`, int64
            (boards,), say which part of them each board has yet to take. `position` is moved on.
        """
        args = (self.time, self.boards, self.groups, self.stages, rx_at, rx_byte, position, end, out)
        if self._width not in _COMPILED:
            _COMPILED[self._width] = entry(render_block, *args)
        _COMPILED[self._width](*args)
        self.frame += out.shape[1]
        return out

    def native(self, wires: Sequence[np.ndarray], sound: np.ndarray) -> tuple[int, np.ndarray]:
        """`render` as a C function ``void (int64 *arguments, int64 frames)``: its address and its arguments.

        wires : rx_at, rx_byte, position and end as in `render`.  sound : float32 (boards, most frames, 2);
            its first ``boards * frames * 2`` elements are written, as (boards, frames, 2).
        All arrays and the engine must outlive the last call. `frame` does not move on: `time` tells.
        """
        arrays = (self.time, self.boards, self.groups, self.stages, *wires, sound)
        arguments = np.array([value for array in arrays for value in (array.ctypes.data, len(array))], np.int64)
        return _native(self._width).address, arguments

    def look(self, board: int) -> dict[str, object]:
        """What a board is doing now, to be looked at while it plays: latch, envelopes and filters of its voices.

        latch : field -> number or nested lists, as in `state.LATCH`.  env1, env2 : levels 0..1.  gate, note : as the
        firmware holds them.  cutoff (Hz), q1, q2, feedback : of each voice's filter, for `vcf.response`.
        Another thread may be playing: a field may be of the pass before.
        """
        record = self.boards.view(np.ndarray)[board]
        latch, firmware = record["latch"], record["firmware"]
        lanes = [
            (self.groups.view(np.ndarray)[group]["vcf"], lane)
            for group, lane in np.argwhere(self.groups.board == board).tolist()
        ]
        hertz = self.sample_rate * self.oversample / math.pi
        return {
            "latch": {name: latch[name].tolist() for name in latch.dtype.names},
            "env1": (firmware["env1"]["level"] / soldering.value("ENV_FULL")).tolist(),
            "env2": (firmware["env2"]["level"] / soldering.value("ENV_FULL")).tolist(),
            "gate": firmware["gate"].tolist(),
            "note": firmware["note"].tolist(),
            "cutoff": [float(vcf["angle_end"][lane] * (1 + vcf["past"][lane])) * hertz for vcf, lane in lanes],
            "q1": [float(vcf["q1"][lane]) for vcf, lane in lanes],
            "q2": [float(vcf["q2"][lane]) for vcf, lane in lanes],
            "feedback": [float(vcf["feedback"][lane]) for vcf, lane in lanes],
        }

    def trace(
        self, rx_at: np.ndarray, rx_byte: np.ndarray, position: np.ndarray, end: np.ndarray, until: int
    ) -> np.ndarray:
        """Run only the firmware, up to cycle `until`; the latch after every pass, in time order."""
        per_pass = 400
        room = len(self.boards) * (max(0, until - int(self.boards[0].firmware.pass_due)) // per_pass + 16)
        rows = np.zeros(room, state.LATCH)
        written = trace_block(self.boards, rx_at, rx_byte, position, end, until, rows)
        rows = rows[:written]
        order = np.argsort(rows["at_cycles"], kind="stable")
        # Byte by byte, padding and all: equal traces are then equal bytes.
        return rows.view(np.uint8).reshape(written, -1)[order].reshape(-1).view(rows.dtype)


@functools.cache
def _native(width: int) -> Callable:
    lanes, outputs, time_record, board = state.lanes(width), state.outputs(width), state.TIME, state.BOARD

    @c_function(types.void, types.voidptr, types.int64)
    def native_block(arguments, frames):
        a = carray(arguments, 18, np.int64)
        boards = carray(pointer(a[2]), a[3], board)
        render_block(
            carray(pointer(a[0]), a[1], time_record),
            boards,
            carray(pointer(a[4]), a[5], lanes),
            carray(pointer(a[6]), a[7], outputs),
            carray(pointer(a[8]), a[9], np.int64),
            carray(pointer(a[10]), a[11], np.uint8),
            carray(pointer(a[12]), a[13], np.int64),
            carray(pointer(a[14]), a[15], np.int64),
            carray(pointer(a[16]), (boards.shape[0], frames, 2), np.float32),
        )

    return native_block


def board_place(role: int) -> int:
    """Position of a board in the machine, for its component errors: 0 lower or only, 1 upper."""
    return 1 if role == protocol.UPPER else 0


def _lane_slots(voices: Sequence[Sequence[int]], single: bool) -> list[tuple[int, int] | None]:
    """``(board, voice)`` of every lane: boards of one voice side by side, others in eight lanes each."""
    if single:
        return [(board, voice) for board, played in enumerate(voices) for voice in played]
    return [
        (board, voice) if voice in played else None
        for board, played in enumerate(voices)
        for voice in range(WHOLE_BOARD)
    ]


def _power_on(board, role: int, circuit: Circuit, played: Sequence[int]) -> None:
    """The state after boot: defaults in memory, ramps calibrated."""
    firmware = board.firmware
    firmware.role = role
    firmware.relays = board_place(role) == 0
    firmware.lfo_random = 0xACE1
    firmware.pass_due = 1
    firmware.parameter[protocol.VOLUME - protocol.FIRST_PARAMETER] = 127
    for register in (protocol.TUNE_1, protocol.TUNE_2):
        firmware.parameter[register - protocol.FIRST_PARAMETER] = soldering.value("MASTER_TUNE_CENTRE")
    for name, table in soldering.program_tables(circuit).items():
        firmware[name] = table
    firmware.calibration[:] = soldering.boot_calibration(circuit, board_place(role))
    firmware.glide[:] = REST << 8
    firmware.note[:] = REST
    board.latch.divisor[:] = DIVISOR[REST]  # counters that ran slower would keep the first note waiting for an edge
    board.latch.prescaler[:] = 15
    board.latch.dco2_clock = clock.UNITS_PER_CLOCK
    board.latch.board = board_place(role)
    board.voice_mask = sum(1 << voice for voice in played)
