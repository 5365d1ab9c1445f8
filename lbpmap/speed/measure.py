"""Rows: a case on a picture, timed in turns with its kernel, its peers and a copy."""

from __future__ import annotations

from dataclasses import dataclass

from lbpmap._arrays import U8
from lbpmap.speed.cases import Case, is_exact
from lbpmap.speed.timing import Call, ceiling, copies, in_turns
from lbpmap.transform import build_info

CALL, KERNEL = "call", "kernel"


@dataclass(frozen=True)
class Row:
    """One measurement; times are medians, in ns a pixel of the output."""

    case: str
    by: str  # "call": the public function; "kernel": the compiled function below it
    isa: str
    height: int  # of the picture
    width: int
    ns_per_pixel: float
    gb_per_s: float  # bytes read and written
    copy_ns_per_pixel: float  # of a copy that moves as many bytes, in the same run
    peers: dict[str, float]  # ns a pixel of each, in the same run
    exact: bool

    @property
    def times_a_copy(self) -> float:
        """How many times as long as a copy of the same bytes it takes."""
        return self.ns_per_pixel / self.copy_ns_per_pixel

    @property
    def best_peer(self) -> str | None:
        """Name the fastest peer."""
        return min(self.peers, key=lambda name: self.peers[name], default=None)

    @property
    def times_the_peer(self) -> float | None:
        """How many times as long as this the fastest peer takes."""
        best = self.best_peer
        return None if best is None else self.peers[best] / self.ns_per_pixel


def measure(case: Case, picture: U8, seconds: float, *, with_peers: bool = True) -> list[Row]:
    """Time a case on a picture.

    Parameters
    ----------
    case : Case
    picture : uint8 array (H, W, 3)
    seconds : float
        To spend, about; slow peers and large pictures need more.
    with_peers : bool, default True

    Returns
    -------
    list of Row
        The public function's, and the kernel's where it is one call.
    """
    exact = is_exact(case, picture)
    job = case.prepare(picture)
    calls: dict[str, Call] = {CALL: job.call}
    if job.kernel is not None:
        calls[KERNEL] = job.kernel
    others = job.others if with_peers else {}
    medians = in_turns({**calls, **copies(job.reads + job.writes), **others}, seconds)

    def per_pixel(of: float) -> float:
        return of / job.pixels * 1e9

    return [
        Row(
            case=case.name,
            by=by,
            isa=str(build_info()["chosen"]),
            height=picture.shape[0],
            width=picture.shape[1],
            ns_per_pixel=per_pixel(medians[by]),
            gb_per_s=(job.reads + job.writes) / medians[by] / 1e9,
            copy_ns_per_pixel=per_pixel(ceiling(medians)),
            peers={name: per_pixel(medians[name]) for name in others},
            exact=exact,
        )
        for by in calls
    ]
