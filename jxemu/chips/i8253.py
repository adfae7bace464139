"""Intel 8253 / 82C54 programmable interval timer: one counter in mode 3 (square wave), in lanes.

Mode 3 counts a 16-bit number down by two at every clock and toggles its output at the end, so an
even count N gives N/2 clocks high and N/2 low, an odd one (N+1)/2 high and (N-1)/2 low. A count
written while it runs is taken at the next toggle.

Source: 8253-DS.  Limits: the other five modes, read-back and the GATE pin's clock alignment.
"""

from jxemu.kernel import step, to_float, where


@step
def high_clocks(count: int) -> int:
    """Clocks for which the output is high; count 0 means 65536."""
    n = count if count > 0 else 65536
    return (n + 1) // 2


@step
def low_clocks(count: int) -> int:
    """Clocks for which the output is low; count 0 means 65536."""
    n = count if count > 0 else 65536
    return n // 2


@step
def toggle_step(remaining, high, limit, high_units, low_units):
    """Toggle the counters that have run down; all arguments are lanes of i32.

    remaining : units to the next toggle, the sample's length already taken off.
    high : 1 while the output is high.  limit : a counter has run down at or below it (0, or lower
        where something else restarted the counter first).
    Returns ``(remaining, high, rising, falling, since)``: masks of what happened in the sample and
    the units between the toggle and the sample's end. A half period must not be shorter than a sample.
    """
    down = remaining <= limit
    rising = down & (high < 1)
    falling = down & (high > 0)
    since = -remaining
    remaining = where(rising, remaining + high_units, where(falling, remaining + low_units, remaining))
    high = where(rising, 1, where(falling, 0, high))
    return remaining, high, rising, falling, since


@step
def fraction(since, per_sample):
    """`since` (units, lanes) as a fraction of a sample, 0..1."""
    return to_float(since) * per_sample
