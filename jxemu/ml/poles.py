"""Linear prediction as poles: coefficients, polynomials and poles into each other, edited, and found in sounds.

``x[t] = a[0] x[t-1] + a[1] x[t-2] + ...`` has the polynomial z^n - a[0] z^(n-1) - ... - a[n-1], whose roots are its poles:
each a decaying (inside the unit circle) or growing sinusoid. All in double precision; polynomials are monic, highest power
first.  Source: the editor of CRBMSound; Leja's order for products.
"""

from dataclasses import dataclass

import numpy as np
from scipy import linalg, signal

EPSILON = 1e-3
"""How far inside the unit circle a clamped pole stays."""


@dataclass(frozen=True)
class Poles:
    """Roots of a real polynomial: `real` ones, and one of each conjugate pair.

    real : float64 (n,).  pairs : complex128 (m,), with an imaginary part above 0.
    """

    real: np.ndarray
    pairs: np.ndarray

    @classmethod
    def of(cls, coefficients: np.ndarray) -> "Poles":
        """Those of prediction coefficients [shape=(order,)]. Raises ValueError for numbers that are not finite."""
        return cls.of_polynomial(np.concatenate([[1.0], -np.asarray(coefficients, float)]))

    @classmethod
    def of_polynomial(cls, polynomial: np.ndarray) -> "Poles":
        """Those of a polynomial [shape=(order + 1,)]."""
        polynomial = np.asarray(polynomial, float)
        if not np.isfinite(polynomial).all() or not polynomial[0]:
            raise ValueError("a polynomial needs finite coefficients, the first of them not 0")
        found = np.roots(polynomial).astype(complex)  # those at 0 too
        real = np.abs(found.imag) <= 1e-12 * np.maximum(np.abs(found), 1e-3)
        upper = found[~real & (found.imag > 0)]
        lower = found[~real & (found.imag < 0)]
        if len(upper) != len(lower):  # a pair so near the axis that one of it lies on it
            return cls(np.sort(found[np.abs(found.imag) < 1e-6].real), found[found.imag >= 1e-6])
        return cls(np.sort(found[real].real), upper[np.argsort(np.angle(upper))])

    @property
    def all(self) -> np.ndarray:
        """Every one of them, complex128 (order,)."""
        return np.concatenate([self.real, self.pairs, self.pairs.conj()])

    @property
    def order(self) -> int:
        """How many they are."""
        return len(self.real) + 2 * len(self.pairs)

    @property
    def stable(self) -> bool:
        """Whether all lie inside the unit circle: needed, but not enough where more than the linear part feeds back."""
        return bool((np.abs(self.all) < 1).all())

    @property
    def polynomial(self) -> np.ndarray:
        """The monic polynomial [shape=(order + 1,)]."""
        return self._product.real.astype(float)

    @property
    def imaginary(self) -> float:
        """The largest imaginary part that `polynomial` leaves out, beside its largest coefficient: rounding alone."""
        made = self._product
        return float(np.abs(made.imag).max() / np.abs(made).max())

    @property
    def _product(self) -> np.ndarray:
        """Factors are multiplied in Leja's order, so that little is lost."""
        made = np.ones(1, np.clongdouble)
        for root in _leja(self.all):
            made = np.concatenate([made, [0]]) - root * np.concatenate([[0], made])
        return made

    @property
    def coefficients(self) -> np.ndarray:
        """Prediction coefficients [shape=(order,)]."""
        return -self.polynomial[1:]

    # --- edits: each gives other poles, real ones are left where they are ---

    def clamped(self, epsilon: float = EPSILON) -> "Poles":
        """None farther from 0 than 1 - epsilon; real ones too."""
        return self._at(np.minimum(np.abs(self.pairs), 1 - epsilon), real=np.clip(self.real, epsilon - 1, 1 - epsilon))

    def scaled(self, factor: float) -> "Poles":
        """All `factor` times as far from 0: sounds decay faster (below 1) or more slowly."""
        return self._at(np.abs(self.pairs) * factor)

    def pulled(self, share: float) -> "Poles":
        """Moved towards the unit circle by a share of their distance from it (away from it, below 0)."""
        return self._at(1 - (1 - np.abs(self.pairs)) * (1 - share))

    def rotated(self, hertz: float, rate: float) -> "Poles":
        """Every frequency raised by so many Hz; none passes 0 or half the rate."""
        return self._at(angle=np.angle(self.pairs) + 2 * np.pi * hertz / rate)

    def pitched(self, factor: float) -> "Poles":
        """Every frequency times a factor; none passes half the rate."""
        return self._at(angle=np.angle(self.pairs) * factor)

    def moved(self, number: int, pole: complex) -> "Poles":
        """The same with one pair elsewhere. Raises ValueError for a number that no pair has."""
        if not 0 <= number < len(self.pairs):
            raise ValueError(f"there is no pair {number}; there are {len(self.pairs)}")
        pairs = self.pairs.copy()
        pairs[number] = complex(pole.real, abs(pole.imag))
        return Poles(self.real, pairs)

    def _at(
        self, norm: np.ndarray | None = None, angle: np.ndarray | None = None, real: np.ndarray | None = None
    ) -> "Poles":
        norm = np.abs(self.pairs) if norm is None else np.maximum(norm, 0.0)
        angle = np.clip(np.angle(self.pairs) if angle is None else angle, 1e-6, np.pi - 1e-6)
        return Poles(self.real if real is None else real, norm * np.exp(1j * angle))


def _leja(points: np.ndarray) -> np.ndarray:
    """Points in an order in which each lies far from those before it; a conjugate follows its partner."""
    left = list(range(len(points)))
    if not left:
        return points.astype(np.clongdouble)
    chosen = [left.pop(int(np.argmax(np.abs(points))))]
    far = np.zeros(len(points))
    while left:
        last = points[chosen[-1]]
        far = far + np.log(np.abs(points - last) + 1e-300)
        twin = [n for n in left if points[n] == last.conj()] if last.imag else []
        best = twin[0] if twin else left[int(np.argmax(far[left]))]
        left.remove(best)
        chosen.append(best)
    return points[chosen].astype(np.clongdouble)


# --- found in sounds -----------------------------------------------------------------------------


def burg(sound: np.ndarray, order: int) -> np.ndarray:
    """Prediction coefficients [shape=(order,)] of a sound by Burg's method: all poles lie inside the unit circle.

    Raises ValueError for a sound that is not longer than that, or silent.
    """
    forward = np.asarray(sound, float)
    if len(forward) <= order or not np.square(forward).sum():
        raise ValueError(f"linear prediction of order {order} needs a longer sound, and one that is not silent")
    backward, made = forward.copy(), np.ones(1)
    for _ in range(order):
        ahead, behind = forward[1:], backward[:-1]
        power = np.square(ahead).sum() + np.square(behind).sum()
        reflection = -2 * (ahead * behind).sum() / power if power > 0 else 0.0
        forward, backward = ahead + reflection * behind, behind + reflection * ahead
        padded = np.concatenate([made, [0.0]])
        made = padded + reflection * padded[::-1]
    return -made[1:]


def covariance(contexts: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Coefficients [shape=(order,)] that predict values [shape=(n,)] from contexts [shape=(n, order)] with the least error."""
    return linalg.lstsq(contexts, values, cond=1e-12)[0]


def predicted(sound: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """What coefficients expect of each sample after the first `order` [shape=(n - order,)]."""
    return signal.lfilter(np.concatenate([[0.0], coefficients]), [1.0], np.asarray(sound, float))[len(coefficients) :]


def response(coefficients: np.ndarray, hertz: np.ndarray, rate: float) -> np.ndarray:
    """Gain in dB of 1 / A at frequencies."""
    _, found = signal.freqz([1.0], np.concatenate([[1.0], -np.asarray(coefficients)]), hertz, fs=rate)
    return 20 * np.log10(np.abs(found) + 1e-12)
