"""From the tables of a recording to the unit that explains them.

The model plays the same shots and is measured in the same way, so what a measure does not get right it gets wrong for both,
and cancels. What remains is Gauss and Newton: how much each number of the unit moves what is measured is found by moving it.
Errors of voices and of the chorus are every unit's own and always fitted. Constants and tables of the program stay as they
are unless the recording contradicts them (`SURE` standard errors).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import optimize

from calibration.measures import estimate
from calibration.steps import STEP_OF, STEPS, Row, analysed, length, sequence
from jxemu import Circuit, Machine, protocol
from jxemu.link import replay
from jxemu.soundboard.circuit import program_tables
from jxemu.soundboard.parts import PARTS
from jxemu.soundboard.parts import value as constant
from jxemu.soundboard.tables import DIVISOR
from jxemu.soundboard.unit import ERRORS, TABLES, Unit

RATE = 48_000
ROUNDS, MOST_ROUNDS = 3, 12
"""Rounds at least, and at most where numbers are still on their way as far as a round may move them."""

SURE = 3.0
UNEXPLAINED = 30.0
"""Standard errors, root mean square: what is still further off after the fit is said to be."""

LEVEL_FREE_DB = 3.0
"""Levels further apart than this are the recording's own gain, and only differences between voices are fitted."""

CHORUS_SURE = 10.0
"""Likewise of the chorus, whose rates are known to a few in a million: by which its modes' may differ from a common factor."""

LAW_SCATTER = 0.01
"""Share by which times may scatter about the law and still be said to follow it."""

LAW_SAME = 0.005
"""Share by which a law's ends may lie beside the nominal ones and still be them: whole kits of one unit differ so much."""


# --- the model's own tables ----------------------------------------------------------------------


def played(
    wire: Sequence[tuple[int, int]], board: str, unit: Unit, seed: int = 0, track: Callable[[Iterable], Iterable] = iter
) -> np.ndarray:
    """What the model makes of a sequence, float32 (n, 2) at `RATE`. track : wraps a loop, to show how far it is."""
    kind = "jx8p" if board == "only" else "superjx"
    machine = Machine(kind, Circuit(seed=seed, unit=unit), RATE, boot=False)
    replay(wire, machine.link)
    frames = round(length(wire) * RATE)
    return np.concatenate([machine.render(min(RATE, frames - at)) for at in track(range(0, frames, RATE))])


@dataclass(frozen=True)
class Model:
    """The model on the bench in place of a board. noise : RMS of the recording that it stands beside."""

    board: str
    noise: float

    def tables(self, shots: Sequence[tuple[str, int]], unit: Unit) -> dict[str, list[Row]]:
        """What is measured of shots that a unit plays."""
        wire, about = sequence(shots, self.board)
        return analysed(played(wire, self.board, unit), RATE, about, self.noise)


# --- what is fitted ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Unknown:
    """Numbers of a unit, and the tables that show them: number n in row n, or all in all of them.

    place : "lower" or "upper" for errors, "parts" for constants, whose numbers are shares of the nominal one.
    step : that each is moved by to see what it does.
    """

    place: str
    name: str
    count: int
    columns: tuple[str, ...]
    step: float


def _unknowns(place: str, columns: set[str]) -> list[Unknown]:
    """All that these tables can tell."""
    voices = ("first", "second", "driven", "trim", "scale")
    rows = [
        Unknown(place, "gain_db", 6, voices, 0.1),
        Unknown(place, "mixer_1", 6, voices, 0.01),
        Unknown(place, "mixer_2", 6, voices, 0.01),
        Unknown(place, "cutoff_cents", 6, voices, 5.0),
        Unknown(place, "cutoff_scale", 6, voices, 0.001),
        Unknown(place, "chorus_rate", 1, ("chorus",), 0.002),
        Unknown(place, "chorus_delay", 1, ("near", "far"), 0.002),
        Unknown("parts", "CHORUS_WET", 1, ("wet",), 0.01),
        Unknown("parts", "PULSE_DUTY", 1, ("duty",), 0.01),
        Unknown("parts", "HPF_HZ", 3, ("hpf",), 0.01),
        Unknown("parts", "NOISE_LEVEL", 1, ("noise",), 0.02),
        Unknown("parts", "NOISE_LOWPASS", 1, ("noisecorner",), 0.05),
        Unknown("parts", "VCA_LEVEL_RANGE", 1, ("vca",), 0.01),
        Unknown("parts", "Q_OPEN", 1, ("resonance",), 0.01),
        Unknown("parts", "Q_CLOSED", 1, ("resonance",), 0.01),
    ]
    return [row for row in rows if set(row.columns) <= columns]


@dataclass
class State:
    """A unit while it is fitted: numbers by (place, name), tables by name."""

    numbers: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)
    tables: dict[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def of(cls, unit: Unit) -> "State":
        """What is known already."""
        made = cls({(place, name): np.array(row) for place, name, row in unit.errors})
        made.tables = {name: np.array(row) for name, row in unit.tables}
        for name, row in unit.parts:
            made.numbers["parts", name] = _shares(name, row)
        return made

    def moved(self, unknown: Unknown, by: np.ndarray | float) -> "State":
        """The same with an unknown's numbers moved."""
        key = unknown.place, unknown.name
        there = self.numbers.get(key, np.zeros(unknown.count))
        return State({**self.numbers, key: np.clip(there + by, *_bounds(unknown))}, dict(self.tables))

    def unit(self, name: str = "") -> Unit:
        """As a unit."""
        parts = [(key, _constant(key, row)) for (place, key), row in self.numbers.items() if place == "parts"]
        errors = [(place, key, tuple(row.tolist())) for (place, key), row in self.numbers.items() if place != "parts"]
        tables = [(key, tuple(int(x) for x in row)) for key, row in self.tables.items()]
        return Unit(name, tuple(parts), tuple(tables), tuple(errors))


def _bounds(unknown: Unknown) -> tuple[float, float]:
    return (
        (-np.inf, np.inf) if unknown.place != "parts" and ERRORS[unknown.name].unit in ("cent", "dB") else (-0.8, 4.0)
    )


def _constant(name: str, shares: np.ndarray) -> float | tuple[float, ...]:
    nominal = PARTS[name].value
    if not isinstance(nominal, tuple):
        return nominal * (1 + float(shares[0]))
    whole = np.concatenate([np.zeros(len(nominal) - len(shares)), shares])  # the high pass's first is a coupling
    return tuple(float(x * (1 + share)) for x, share in zip(nominal, whole, strict=True))


def _shares(name: str, entry: float | tuple[float, ...]) -> np.ndarray:
    shares = np.atleast_1d(np.array(entry, float)) / np.atleast_1d(np.array(PARTS[name].value, float)) - 1
    return shares[1:] if name == "HPF_HZ" else shares


# --- differences ---------------------------------------------------------------------------------


def differences(one: dict[str, list[Row]], other: dict[str, list[Row]], column: str) -> tuple[np.ndarray, np.ndarray]:
    """How much larger the first's rows of a table are, ratios as logarithms, and the standard errors; NaN where unknown."""
    beside = {row.value: row for row in other[column]}
    apart, errors = [], []
    for row in one[column]:
        its = beside[row.value]
        if STEP_OF[column].logarithmic:
            good = row.measured > 0 and its.measured > 0
            apart.append(np.log(row.measured / its.measured) if good else np.nan)
            errors.append(np.hypot(row.error / row.measured, its.error / its.measured) if good else np.nan)
        else:
            apart.append(row.measured - its.measured)
            errors.append(np.hypot(row.error, its.error))
    return np.array(apart), np.array(errors)


@dataclass
class Fitted:
    """A unit, and what is to be said about how it was found.

    before, after : root mean square of the differences in standard errors, by table, of the nominal and of the fitted unit.
    remarks : sentences.  kept : constants that the recording does not contradict.
    """

    unit: Unit
    before: dict[str, float]
    after: dict[str, float]
    remarks: list[str]
    kept: list[str]


def fitted(
    tables: dict[str, list[Row]], shots: Sequence[tuple[str, int]], board: str, noise: float, name: str,
    known: Unit | None = None, shown: Callable[[str], None] = lambda text: None,
) -> Fitted:  # fmt: skip
    """The unit of a recording's tables.

    shots : of its sequence.  noise : RMS of the recording's.  known : what is kept, as another board's errors.  shown : told what is being done.
    Raises ValueError where there is nothing to fit.
    """
    place = "upper" if board == "upper" else "lower"
    state, remarks, kept, sure = State.of(known or Unit()), [], [], {}
    unknowns = _unknowns(place, set(tables))
    times = [column for column in ("attack", "decay", "lfo") if column in tables]
    if not unknowns and not times and "limit" not in tables:
        raise ValueError("the recording has no step that says anything about a unit")
    shown("the model plays what the recording is of")
    known_numbers = dict(state.numbers)
    model = Model(board, noise)
    first = model.tables(shots, state.unit())
    nominal = first
    before = {column: _off(tables, nominal, column) for column in tables}
    meant = {column for unknown in unknowns for column in unknown.columns} | {"limit"} & set(tables)
    shown("how hard the mixer drives the filter")
    if "limit" in tables and (said := _drive(tables, shots, model, state)):
        remarks.append(said)
        first = model.tables(shots, state.unit())
    if free := _free_gain(tables, first):
        remarks.append(
            f"the recording is {free:+.1f} dB beside the model: taken as the input's gain, only voices are compared"
        )
        tables = _levelled(tables, free)
        model = Model(board, noise * 10 ** (-free / 20))  # its noise stands beside levels that were brought back, too
        first = model.tables(shots, state.unit())
        before = {column: _off(tables, nominal, column) for column in tables}
    if silent := [column for column, rows in tables.items() if not np.isfinite([row.measured for row in rows]).any()]:
        remarks.append(f"nothing can be said of: {', '.join(silent)}")
    for unknown in unknowns:  # every unit has its own; constants wait for evidence
        if unknown.place != "parts":
            state = state.moved(unknown, 0.0)
    ramps = [ramp for ramp in ("ramp_1", "ramp_2") if ramp in tables]
    if [
        ramp for ramp in ramps if state.numbers.pop((place, ramp), None) is not None
    ]:  # those of before are not added to
        first = model.tables(shots, state.unit())
    for ramp in ramps:
        state.numbers[place, ramp] = _ramps(tables, first, ramp)
    slopes: dict[str, np.ndarray] = {}
    held: list[str] = []
    for number in range(MOST_ROUNDS):
        last_one = number == MOST_ROUNDS - 1 or (number >= ROUNDS - 1 and not held)
        shown(f"voices, mixer, filter, chorus and levels: round {number + 1}{' (the last)' if last_one else ''}")
        if last_one:  # what the recording is not sure about goes back to what it was, the rest moves once more
            kept = [unknown.name for unknown in unknowns if unknown.place == "parts" and not sure[unknown.name]]
            for constant_name in kept:
                before_fit = known_numbers.get(("parts", constant_name))
                state.numbers.pop(("parts", constant_name))
                if before_fit is not None:
                    state.numbers["parts", constant_name] = before_fit
            unknowns = [unknown for unknown in unknowns if unknown.name not in kept]
        state, sure, held = _round(tables, shots, model, state, unknowns, slopes)
        if held:  # so far off, what a number does is no longer what it did
            slopes.clear()
        if last_one:
            break
    if held:
        remarks.append(
            f"not found, since it was still moving as far as it may: {', '.join(held)}: the board is unlike the model there"
        )
    if "chorus" in tables and (said := _chorus(tables, shots, model, state, place)):
        remarks.append(said)
    if times:
        for number in range(2):
            shown(f"times: round {number + 1} of 2")
            mine = _subset(shots, {*times, "release"} & set(tables))
            made = model.tables(mine, state.unit())
            for column in times:
                said = _time(tables, made, column, state)
                if number == 0:
                    remarks.append(said)
    unit = state.unit(name)
    shown("the fitted unit plays it all")
    last = model.tables(shots, unit)
    after = {column: _off(tables, last, column) for column in tables}
    if worse := [column for column in tables if after[column] > max(SURE, 1.5 * before[column])]:
        remarks.append(f"the fitted unit explains less than the one before it: {', '.join(worse)}")
    if far := [column for column in tables if column in meant and after[column] > UNEXPLAINED]:
        remarks.append(f"not explained: {', '.join(far)}: the board is unlike the model there")
    return Fitted(unit, before, after, remarks, kept)


def _off(one: dict[str, list[Row]], other: dict[str, list[Row]], column: str) -> float:
    apart, errors = differences(one, other, column)
    return (
        float(np.sqrt(np.nanmean(np.square(apart / np.maximum(errors, 1e-9))))) if np.isfinite(apart).any() else np.nan
    )


def _subset(shots: Sequence[tuple[str, int]], columns: Iterable[str]) -> list[tuple[str, int]]:
    names = {name for name, step in STEPS.items() if set(step.columns) & set(columns)}
    return [row for row in shots if row[0] in names]


def _free_gain(tables: dict[str, list[Row]], made: dict[str, list[Row]]) -> float:
    """Decibels by which the recording is louder than the model, where that is more than a board may differ by; else 0."""
    if "first" not in tables:
        return 0.0
    apart = float(np.nanmean(differences(tables, made, "first")[0]))
    return apart if abs(apart) > LEVEL_FREE_DB else 0.0


def _levelled(tables: dict[str, list[Row]], apart: float) -> dict[str, list[Row]]:
    absolute = ("first", "second", "driven", "ramp_1", "ramp_2", "level", "noise", "ringing", "floor", "xmod")
    return {
        column: [Row(row.value, row.measured - apart, row.error) for row in rows] if column in absolute else rows
        for column, rows in tables.items()
    }


def _round(
    tables: dict[str, list[Row]], shots: Sequence[tuple[str, int]], model: Model, state: State,
    unknowns: Sequence[Unknown], slopes: dict[str, np.ndarray],
) -> tuple[State, dict[str, bool], list[str]]:  # fmt: skip
    """One step of Gauss and Newton, which unknowns the recording is sure to want other than nominal, and which moved as far as they may.

    slopes : what each unknown does to its tables, (columns, rows) by its name; found where it is not there yet.
    """
    sure: dict[str, bool] = {}
    held: list[str] = []
    before, made = state, {}
    for columns in dict.fromkeys(unknown.columns for unknown in unknowns):
        together = [unknown for unknown in unknowns if unknown.columns == columns]
        mine = _subset(shots, columns)
        if (key := tuple(mine)) not in made:
            made[key] = model.tables(mine, before.unit())
        here = made[key]
        for unknown in together:
            if unknown.name not in slopes:
                there = model.tables(mine, before.moved(unknown, unknown.step).unit())
                rows = np.array([differences(there, here, column)[0] for column in columns]) / unknown.step
                slopes[unknown.name] = np.where(np.isfinite(rows), rows, 0.0)
        apart, errors = np.moveaxis(np.array([differences(tables, here, column) for column in columns]), 1, 0)
        errors = np.where(np.isfinite(apart) & (errors > 0), errors, np.inf)
        moves, spreads = [], []
        for n in range(apart.shape[1]) if together[0].count > 1 else [slice(None)]:
            weighted = np.array([(slopes[unknown.name][:, n] / errors[:, n]).ravel() for unknown in together]).T
            wanted = (np.nan_to_num(apart[:, n]) / errors[:, n]).ravel()
            moves.append(np.linalg.lstsq(weighted, wanted, rcond=1e-6)[0])
            spreads.append(np.sqrt(np.diag(np.linalg.pinv(weighted.T @ weighted))))
        for unknown, move, spread in zip(together, np.array(moves).T, np.array(spreads).T, strict=True):
            limit = _LIMITS.get(unknown.name, 0.3)
            state = state.moved(unknown, np.clip(move, -limit, limit))
            if (np.abs(move) > limit).any():
                held.append(unknown.name)
            told = np.abs(state.numbers[unknown.place, unknown.name]) > SURE * spread
            sure[unknown.name] = bool((told & (spread > 0)).any())  # 0: nothing was heard of it
    return state, sure, held


_LIMITS = {"gain_db": 3.0, "cutoff_cents": 300.0, "cutoff_scale": 0.05, "mixer_1": 0.2, "mixer_2": 0.2}
"""The furthest that a number moves in a round."""


DRIVES = np.geomspace(0.1, 10, 25)
"""Times the nominal drive of the filter among which a board's is looked for."""

DRIVE_SURE = 0.1
"""Share by which it must be another: less is the mixers' own error, which each voice has."""


def _drive(tables: dict[str, list[Row]], shots: Sequence[tuple[str, int]], model: Model, state: State) -> str:
    """How hard the mixer drives the filter, by how a ringing filter's level bends as its input grows; says what was found."""
    mine, key = _subset(shots, ["limit"]), ("parts", "MIX_DRIVE")
    there = state.numbers.get(key, np.zeros(1))

    def off(times: float) -> float:
        moved = State({**state.numbers, key: (1 + there) * times - 1}, state.tables)
        return _off(tables, model.tables(mine, moved.unit()), "limit")

    nominal = off(1.0)
    if not nominal > SURE:
        return ""
    best = int(np.argmin(np.nan_to_num([off(times) for times in DRIVES], nan=np.inf)))
    ends = np.log([DRIVES[max(best - 1, 0)], DRIVES[min(best + 1, len(DRIVES) - 1)]])
    found = optimize.minimize_scalar(lambda x: off(np.exp(x)), bounds=ends, method="bounded", options={"xatol": 1e-3})
    if abs(found.x) < DRIVE_SURE or not found.fun < nominal / 2:
        return ""
    state.numbers[key] = (1 + there) * np.exp(found.x) - 1
    return f"mixer: it drives the filter {np.exp(found.x):.2f} times as hard as in the parts table"


def _ramps(tables: dict[str, list[Row]], made: dict[str, list[Row]], column: str) -> np.ndarray:
    """Errors of the ramp capacitors [shape=(6,)], as far as they show: by the steps of the ramp's voltage on low keys.

    The program makes up for a capacitor by a factor of n / 256 to the ramp's voltage, which is rounded: which n it is shows
    in how levels differ between keys. What is left, less than half of 1/256, is found with the mixer's levels.
    """
    apart, errors = differences(tables, made, column)
    places = np.array([row.value for row in tables[column]], int)
    errors = np.maximum(errors, 1e-3)
    found = np.zeros(protocol.VOICES)
    factors = np.arange(218, 295)
    for voice in range(protocol.VOICES):
        mine = (places // 100 == voice) & np.isfinite(apart)
        if mine.sum() < 3:
            continue
        counts = DIVISOR[places[mine] % 100]
        steps = (constant("DCO_CV_AT_1") * factors[:, None] // 256 + counts // 2) // counts
        nominal = (constant("DCO_CV_AT_1") + counts // 2) // counts
        off = 20 * np.log10(steps / nominal * 256 / factors[:, None]) - apart[mine]
        off -= np.average(off, axis=1, weights=1 / errors[mine] ** 2)[:, None]
        found[voice] = factors[np.argmin(np.square(off / errors[mine]).sum(1))] / 256 - 1
    return found


def _chorus(
    tables: dict[str, list[Row]], shots: Sequence[tuple[str, int]], model: Model, state: State, place: str
) -> str:
    """Where one error of rates and one of delays do not explain both modes: rates and delays of its own, and says so."""
    said = ""
    for number in range(3):
        made = model.tables(_subset(shots, ["chorus"]), state.unit())
        if number == 0 and max(_off(tables, made, column) for column in ("chorus", "near", "far")) < CHORUS_SURE:
            break
        said = "chorus: its modes do not differ as those of the parts table; both have rates and delays of their own"
        rates = differences(tables, made, "chorus")[0]
        delays = np.array([np.nanmean(differences(tables, made, column)[0]) for column in ("near", "far")])
        for name, error, apart in (("CHORUS_RATE", "chorus_rate", rates), ("CHORUS_DELAY", "chorus_delay", delays)):
            common = 1 + state.numbers.pop((place, error), np.zeros(1))
            shares = (1 + state.numbers.get(("parts", name), np.zeros(2))) * common
            state.numbers["parts", name] = shares * np.exp(np.nan_to_num(apart)) - 1
    return said


# --- times ---------------------------------------------------------------------------------------

_TIMES = {"attack": ("attack", "ATTACK_FAST", "ATTACK_SLOW"), "decay": ("decay", "DECAY_FAST_LOOPS", "DECAY_SLOW_LOOPS"), "lfo": ("lfo_rate", "LFO_SLOW", "LFO_FAST")}  # fmt: skip
"""By step: its table, and the constants of value 0 and 127."""


def _time(tables: dict[str, list[Row]], made: dict[str, list[Row]], column: str, state: State) -> str:
    """Bring a table of times nearer to what was measured; says what was found."""
    table, first, last = _TIMES[column]
    values = np.array([row.value for row in tables[column]])
    apart, errors = differences(tables, made, column)
    if column == "decay" and "release" in tables:  # one table of the program for both
        more, theirs = differences(tables, made, "release")
        values = np.concatenate([values, [row.value for row in tables["release"]]])
        apart, errors = np.concatenate([apart, more]), np.concatenate([errors, theirs])
    good = np.isfinite(apart) & np.isfinite(errors)
    if good.sum() < 3:
        return f"{column}: too little was heard to say anything"
    values, apart, errors = values[good], apart[good], np.maximum(errors[good], 1e-4)
    design = np.stack([np.ones(len(values)), values / 127], 1) / errors[:, None]
    line = np.linalg.lstsq(design, apart / errors, rcond=None)[0]
    spread = np.sqrt(np.diag(np.linalg.pinv(design.T @ design)))
    left = apart - line[0] - line[1] * values / 127
    scatter = float(np.sqrt(np.average(left**2, weights=1 / errors**2)))
    chi = float(np.sqrt(np.mean((left / errors) ** 2)))
    straight = (np.abs(line) <= SURE * np.maximum(spread, 1e-9)).all() or np.abs([line[0], line.sum()]).max() < LAW_SAME
    if table in state.tables and straight and chi <= SURE:
        return f"{column}: as in the table that was measured"
    if table in state.tables or (scatter > LAW_SCATTER and chi > SURE):  # a law's ends do nothing beside a table
        state.tables[table] = _bent(table, state, values, apart)
        return f"{column}: the times follow no law of two ends (they scatter by {100 * scatter:.1f} %); the table is measured"
    if straight:
        return f"{column}: as in the parts table, within {100 * max(scatter, float(spread.max())):.2f} %"
    for end, by in ((first, line[0]), (last, line.sum())):
        key = "parts", end
        there = state.numbers.get(key, np.zeros(1))
        state.numbers[key] = (1 + there) * np.exp(-by if table == "attack" else by) - 1
    return f"{column}: the law's ends are {100 * (np.exp(line[0]) - 1):+.1f} % and {100 * (np.exp(line.sum()) - 1):+.1f} % beside the parts table's"


def _bent(table: str, state: State, values: np.ndarray, apart: np.ndarray) -> np.ndarray:
    """A table whose times are longer (rates are higher) by what was measured, between its values as between neighbours."""
    there = program_tables(Circuit(unit=state.unit()))[table].astype(float)
    at = np.unique(values)
    by = np.exp(np.interp(np.arange(128), at, [np.mean(apart[values == x]) for x in at]))
    made = {
        "lfo_rate": lambda: there * by,
        "attack": lambda: there / by,
        "decay": lambda: 65536 * np.exp(np.log(there / 65536) / by),
    }[table]()
    return np.clip(np.round(made), 1, TABLES[table]).astype(np.int64)


def summary(rows: Sequence[float], unit: str) -> str:
    """Numbers of voices for people."""
    mean, error = estimate(list(rows), 0.0) if len(rows) > 1 else (rows[0], 0.0)
    return f"{mean:+.4g} {unit}" + (f", voices differ by {error * np.sqrt(len(rows)):.2g}" if error else "")
