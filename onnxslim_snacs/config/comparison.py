"""What `compare` is asked to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from onnxslim_snacs.config import CompressConfig, DataConfig
from onnxslim_snacs.config.fields import check_fields
from onnxslim_snacs.errors import UsageError

_DEFAULT = CompressConfig()


@dataclass(frozen=True, slots=True)
class CompareConfig:
    """What `compare` is asked to do.

    Attributes:
        data: calibration data; labels count if they hold any.
        tests: further samples, which no cut has seen, to hold results against: paths as `data.path`
            may be one.
        targets: the budgets; of each, budget -> share of the original to keep.
        criteria: names of criteria, with options behind colons (`snacs:conditioning=hash`); none
            for all that there are but `mint`, which is slow.
        recover: ways to recover accuracy after the cut.
        seeds: how often what draws its scores (`random`) runs.
        repeats: how often every other criterion runs, each time with another seed.
        damage: whether to measure what taking single units away costs, and to hold scores against
            it.
        tries: allocations that are recovered and judged before one is chosen.
        seed: the first one.
        threads: threads of ONNX Runtime.
        provider: auto, cpu or cuda.
    """

    data: DataConfig = field(default_factory=DataConfig)
    tests: tuple[str, ...] = ()
    targets: tuple[Mapping[str, float], ...] = ({"macs": 0.7}, {"macs": 0.5})
    criteria: tuple[str, ...] = ()
    recover: tuple[str, ...] = ("none", "auto")
    seeds: int = 3
    repeats: int = 1
    damage: bool = True
    tries: int = _DEFAULT.tries
    seed: int = _DEFAULT.seed
    threads: int = _DEFAULT.threads
    provider: str = _DEFAULT.provider

    def __post_init__(self) -> None:
        """Hold the values against their types, and each run against what `compress` takes."""
        check_fields(self)
        if not self.targets or not self.recover:
            raise UsageError("compare: give at least one --target and one way to --recover")
        for name, value in (("--seeds", self.seeds), ("--repeats", self.repeats)):
            if value < 1:
                raise UsageError(f"{name} {value}: expected at least 1")
        for target in self.targets:
            if not target:
                raise UsageError("--target: expected KEY=SHARE")
            if "latency" in target:
                raise UsageError(
                    "--target latency: times of many runs do not compare; give macs, params or "
                    "bytes"
                )
            for recover in self.recover:
                self.run(target, "random", {}, recover, self.seed)

    def run(
        self,
        target: Mapping[str, float],
        criterion: str,
        options: Mapping[str, object],
        recover: str,
        seed: int,
    ) -> CompressConfig:
        """One of the runs, as `compress` would be asked for it."""
        return CompressConfig(
            data=self.data,
            target=target,
            criterion=criterion,
            options=options,
            recover=recover,
            tries=self.tries,
            seed=seed,
            threads=self.threads,
            provider=self.provider,
        )
