"""Criteria: one file for each, one line for each here."""

from onnxslim_snacs.errors import UsageError
from onnxslim_snacs.scores import (
    bn_gamma,
    chip,
    energy,
    fisher,
    flap,
    fpgm,
    grasp,
    he2017,
    hesso,
    hrank,
    magnitude,
    mint,
    obs,
    random,
    refit,
    snip,
    taylor,
    thinet,
    wanda,
)
from onnxslim_snacs.scores.criterion import Criterion
from onnxslim_snacs.scores.snacs.variants import GAUSSIAN, SNACS, SNACS_REFIT

#: Every criterion, by the name that the user types.
CRITERIA: dict[str, Criterion] = {
    c.name: c
    for c in (
        SNACS,
        SNACS_REFIT,
        GAUSSIAN,
        magnitude.L1,
        magnitude.L2,
        fpgm.FPGM,
        bn_gamma.BN_GAMMA,
        refit.REFIT,
        obs.OBS,
        energy.ENERGY,
        wanda.WANDA,
        flap.FLAP,
        thinet.THINET,
        he2017.HE2017,
        hrank.HRANK,
        chip.CHIP,
        mint.MINT,
        fisher.FISHER,
        taylor.TAYLOR,
        snip.SNIP,
        grasp.GRASP,
        hesso.HESSO,
        random.CRITERION,
    )
}


def find_criterion(name: str) -> Criterion:
    """The criterion of a name.

    Raises:
        UsageError: there is none.
    """
    if name not in CRITERIA:
        raise UsageError(f"--criterion {name}: expected one of {', '.join(CRITERIA)}")
    return CRITERIA[name]
