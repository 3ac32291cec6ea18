"""Bugs that nobody would see, and the tests that see them.

Each is a change of the source text.  `python -m tests.planted` plants them one by one in a copy of
the project, runs the test that is named beside it there, and prints a table; it ends with 1 if one
of the bugs is not found.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: What a test needs of the project.
PARTS = ("onnxslim_snacs", "passes", "tests", "models", "pyproject.toml", "README.md", "docs")
OPTIONS = "tests/cli/test_options_arrive.py::test_option_arrives"


@dataclass(frozen=True)
class Planted:
    """A bug.

    Attributes:
        name: what is wrong.
        file: where.
        right: the text as it is, which stands there once.
        wrong: what it becomes.
        test: the one that turns red.
    """

    name: str
    file: str
    right: str
    wrong: str
    test: str


BUGS = (
    Planted(
        "the sign of SNACS's unit scores",
        "onnxslim_snacs/scores/snacs/importance.py",
        "total += values[axis]",
        "total -= values[axis]",
        "tests/scores/test_snacs_importance.py::test_two_layers",
    ),
    Planted(
        "SNACS's shares normalised over the wrong axis",
        "onnxslim_snacs/scores/snacs/importance.py",
        "rho.sum(axis=1, keepdims=True)",
        "rho.sum(axis=0, keepdims=True)",
        "tests/scores/test_snacs_importance.py::test_two_layers",
    ),
    Planted(
        "FPGM's distances of absolute weights",
        "onnxslim_snacs/scores/fpgm.py",
        "filters.reshape(len(filters), -1)[index]",
        "np.abs(filters).reshape(len(filters), -1)[index]",
        "tests/scores/test_filters.py::test_distances_are_those_of_signed_filters",
    ),
    Planted(
        "Network Slimming with the shift in the place of the scale",
        "onnxslim_snacs/scores/bn_gamma.py",
        "name = node.inputs[1]",
        "name = node.inputs[2]",
        "tests/scores/test_filters.py::test_scales_of_batch_norms_by_hand",
    ),
    Planted(
        "wanda squares the energies",
        "onnxslim_snacs/scores/wanda.py",
        "np.sqrt(energies(consumer, moments))",
        "energies(consumer, moments)",
        "tests/scores/test_of_readers.py::test_wanda_by_hand",
    ),
    Planted(
        "energies without the mean",
        "onnxslim_snacs/scores/of_readers.py",
        'np.square(consumer.mean) if moments == "second"',
        'np.square(consumer.mean) if moments == "centred"',
        "tests/scores/test_of_readers.py::test_energy_by_hand",
    ),
    Planted(
        "taps of a unit as those of its neighbours",
        "onnxslim_snacs/scores/of_readers.py",
        "(taps * consumer.channels + index[:, None, :])",
        "(taps + consumer.channels * index[:, None, :])",
        "tests/scores/test_of_readers.py::test_sizes_are_those_of_whole_patches",
    ),
    Planted(
        "FLAP on second moments",
        "onnxslim_snacs/scores/flap.py",
        'squared(consumer, index, "centred", form)',
        'squared(consumer, index, "second", form)',
        "tests/scores/test_of_readers.py::test_flap_by_hand_orders_the_first_and_the_third_otherwise_than_wanda",
    ),
    Planted(
        "OBS without the blocks' inverses",
        "onnxslim_snacs/arithmetic/numpy_readers.py",
        "np.linalg.solve(own, squares)",
        "own @ squares",
        "tests/scores/test_of_readers.py::test_obs_with_intercept_by_hand",
    ),
    Planted(
        "ThiNet does not count what cancels",
        "onnxslim_snacs/scores/thinet.py",
        "rises += 2.0 * matrix[going]",
        "rises += 0.0 * matrix[going]",
        "tests/scores/test_of_readers.py::test_thinet_counts_what_cancels",
    ),
    Planted(
        "LASSO with another lambda",
        "onnxslim_snacs/scores/he2017.py",
        "np.abs(moved) - levels / weight",
        "np.abs(moved) - levels",
        "tests/scores/test_of_readers.py::test_lasso_by_hand",
    ),
    Planted(
        "HRank in front of the rectifier",
        "onnxslim_snacs/scores/hrank.py",
        'return node.op == "Relu"',
        'return node.op == "Conv"',
        "tests/scores/test_maps.py::test_ranks_are_taken_behind_the_rectifier",
    ),
    Planted(
        "CHIP zeroes the rows of the product alone",
        "onnxslim_snacs/scores/chip.py",
        "            without[each, :, rows] = 0.0\n",
        "",
        "tests/scores/test_maps.py::test_falls_of_the_nuclear_norm_by_hand",
    ),
    Planted(
        "Taylor squares each reader by itself",
        "onnxslim_snacs/scores/unit_gates.py",
        'apart = reduce != "gate"',
        "apart = True",
        "tests/scores/test_gradients.py::test_readers_are_summed_before_squares_unless_they_are_asked_one_by_one",
    ),
    Planted(
        "SNIP sums before it takes absolute values",
        "onnxslim_snacs/scores/snip.py",
        "[key].detach() * slope).abs().double()",
        "[key].detach() * slope).double()",
        "tests/scores/test_gradients.py::test_snip_takes_absolute_values_of_single_connections",
    ),
    Planted(
        "GraSP with the gradient in the place of H g",
        "onnxslim_snacs/scores/grasp.py",
        "parts = torch.autograd.grad(inner, weights, allow_unused=True)",
        "parts = slopes",
        "tests/scores/test_gradients.py::test_grasp_by_hand",
    ),
    Planted(
        "HESSO's norms by group",
        "onnxslim_snacs/scores/hesso.py",
        "whole = np.linalg.norm(measures, axis=1, keepdims=True)",
        "whole = np.ones((5, 1))",
        "tests/scores/test_gradients.py::test_hesso_by_hand",
    ),
    Planted(
        "the logit-Fisher without its square",
        "onnxslim_snacs/scores/fisher.py",
        "signs, np.square,",
        "signs, np.abs,",
        "tests/scores/test_gradients.py::test_fisher_by_hand",
    ),
    Planted(
        "MINT counts edges within one set",
        "onnxslim_snacs/scores/spanning.py",
        "mate[each, now] != first[now]",
        "mate[each, now] == first[now]",
        "tests/scores/test_spanning.py::test_edges_between_two_sets_by_hand",
    ),
    Planted(
        "MINT's neighbours by all of y",
        "onnxslim_snacs/scores/spanning.py",
        "np.argmin(across - _squares(parent[kept], parent[donors]), axis=1)",
        "np.argmin(across, axis=1)",
        "tests/scores/test_spanning.py::test_all_pairs_together_are_the_pairs_one_by_one",
    ),
    Planted(
        "half-spaces that look at the other side",
        "onnxslim_snacs/training/fading.py",
        ">= epsilon * length.square()",
        "<= epsilon * length.square()",
        "tests/training/test_fading.py::test_the_half_space_by_hand",
    ),
    Planted(
        "units come back from zero",
        "onnxslim_snacs/training/fading.py",
        "torch.where(stays & (length > 0.0), trial,",
        "torch.where(stays, trial,",
        "tests/training/test_fading.py::test_what_is_zero_stays_zero_whatever_the_step",
    ),
    Planted(
        "every group takes part in sparse training",
        "onnxslim_snacs/commands/sparse.py",
        "if bool(seen.any()):",
        "if not bool(seen.any()):",
        "tests/training/test_fading.py::test_groups_behind_a_sigmoid_are_not_silent",
    ),
    Planted(
        "units go whose bias is not zero",
        "onnxslim_snacs/commands/sparse.py",
        "dtype=bool)) | (rows != 0)",
        "dtype=bool)) & (rows != 0)",
        "tests/training/test_fading.py::test_just_the_units_whose_weights_are_all_zero_are_removed",
    ),
    Planted(
        "zeros that are none are not held against the cut",
        "onnxslim_snacs/commands/sparse.py",
        "if apart > EXACT:",
        "if apart < 0.0:",
        "tests/training/test_fading.py::test_zeros_that_readers_do_not_see_as_zeros_fail",
    ),
    Planted(
        "CUDA behind CPU",
        "onnxslim_snacs/model/session.py",
        'providers.insert(0, "CUDAExecutionProvider")',
        'providers.append("CUDAExecutionProvider")',
        "tests/model/test_session.py::test_the_card_comes_first_and_the_processor_does_the_rest",
    ),
    Planted(
        "torch solves without the ridge",
        "onnxslim_snacs/arithmetic/torch_equations.py",
        "cholesky_ex(here + level[:, None, None] * one)",
        "cholesky_ex(here)",
        "tests/arithmetic/test_kernels.py::test_damped_equations",
    ),
    Planted(
        "borders are not zero where torch draws",
        "onnxslim_snacs/layers/rows_there.py",
        "rows.masked_fill(~inside[:, :, None], 0.0)",
        "rows",
        "tests/layers/test_rows_there.py::test_rows_are_those_of_numpy",
    ),
    Planted(
        "threads of our own forget with what is computed",
        "onnxslim_snacs/scores/snacs/blas.py",
        "here.copy().run(work, item)",
        "work(item)",
        "tests/arithmetic/test_current.py::test_it_reaches_threads_and_ends",
    ),
    Planted(
        "workers of a cluster compute with something else",
        "onnxslim_snacs/commands/shared.py",
        "with computing(chosen, threads):\n            return work(task)",
        "if chosen:\n            return work(task)",
        "tests/arithmetic/test_current.py::test_workers_compute_with_the_same",
    ),
    Planted(
        "`auto` never takes CUDA",
        "onnxslim_snacs/model/session.py",
        'wanted != "cpu" and has_cuda',
        'wanted == "cuda"',
        "tests/model/test_session.py::test_auto_takes_the_card_where_there_is_one",
    ),
    Planted(
        "held-out samples are scored on as well",
        "onnxslim_snacs/activations/samples.py",
        "source.part(0, total - aside)",
        "source.part(0, total)",
        "tests/activations/test_samples.py::test_no_sample_is_scored_and_judged",
    ),
    Planted(
        "no margin of a standard error in the automatic decision",
        "onnxslim_snacs/decide/drops.py",
        "drift.drop + min(drift.standard_error or 0.0, max_drop / 2)",
        "drift.drop",
        "tests/decide/test_drops.py::test_a_standard_error_is_left_as_a_margin",
    ),
    Planted(
        "a re-fit is kept if either number is better",
        "onnxslim_snacs/recovery/accept.py",
        "moved.rel_error <= raw.rel_error and moved.drop <= raw.drop",
        "moved.rel_error <= raw.rel_error or moved.drop <= raw.drop",
        "tests/recovery/test_accept.py::test_both_numbers_count",
    ),
    Planted(
        "the model is renamed before the plan",
        "onnxslim_snacs/model/together.py",
        "for draft in drafts:\n            os.replace",
        "for draft in reversed(drafts):\n            os.replace",
        "tests/cli/test_files.py::test_model_comes_after_its_plan_and_report",
    ),
    Planted(
        "a fault after the first rename is not undone",
        "onnxslim_snacs/model/together.py",
        "        _undo(note, steps, error)\n        raise",
        "        raise",
        "tests/model/test_together.py::test_every_call_may_fail",
    ),
    Planted(
        "a killed run is not undone",
        "onnxslim_snacs/model/together.py",
        "            _undo_killed(targets)",
        "            pass",
        "tests/model/test_together.py::test_a_killed_run_is_undone_by_the_next",
    ),
    Planted(
        "params and MACs of groups swapped in the report",
        "onnxslim_snacs/report/by_group.py",
        "params=round(params.by(one)),\n                macs=round(macs.by(one)),",
        "params=round(macs.by(one)),\n                macs=round(params.by(one)),",
        "tests/report/test_groups.py::test_params_and_macs_of_a_group",
    ),
    Planted(
        "`kept` upside down in the table",
        "onnxslim_snacs/report/console.py",
        "share(after, before))",
        "share(before, after))",
        "tests/report/test_golden.py::test_report",
    ),
    Planted(
        "latency before and after swapped",
        "onnxslim_snacs/judge/stopwatch.py",
        "median(p[0] for p in pairs),\n        median(p[1] for p in pairs),",
        "median(p[1] for p in pairs),\n        median(p[0] for p in pairs),",
        "tests/judge/test_stopwatch.py::test_the_first_is_before_and_the_second_after",
    ),
    Planted(
        "latency before and after swapped in the table of `bench`",
        "onnxslim_snacs/report/console.py",
        'f"{1e3 * times.before:.3f}",\n        f"{1e3 * times.after:.3f}",',
        'f"{1e3 * times.after:.3f}",\n        f"{1e3 * times.before:.3f}",',
        "tests/report/test_golden.py::test_comparison",
    ),
    Planted(
        "the proof tolerates 1e-3 end to end",
        "onnxslim_snacs/proof/whole.py",
        "TOLERANCE = 1e-5",
        "TOLERANCE = 1e-3",
        "tests/proof/test_prove.py::test_a_weight_that_is_a_little_wrong_is_found",
    ),
    Planted(
        "the proof takes 1e-3 for rounding",
        "onnxslim_snacs/proof/whole.py",
        "LEAST = 16 * 2.0**-23",
        "LEAST = 1e-3",
        "tests/proof/test_prove.py::test_a_weight_that_is_a_little_wrong_is_found",
    ),
    Planted(
        "the latency result is not confirmed",
        "onnxslim_snacs/decide/decide.py",
        "confirm=watch.long_share,",
        "confirm=None,",
        "tests/cli/test_budgets.py::test_a_latency_is_confirmed_by_a_longer_look",
    ),
    Planted(
        "`--tries` is not used",
        "onnxslim_snacs/decide/decide.py",
        "climb(errors, config.tries, Tilt())",
        "climb(errors, 5, Tilt())",
        f"{OPTIONS}[compress --tries]",
    ),
    Planted(
        "`--allocation scores` ranks per group",
        "onnxslim_snacs/decide/decide.py",
        'self.config.allocation == "uniform"',
        'self.config.allocation != "curves"',
        f"{OPTIONS}[compress --allocation]",
    ),
    Planted(
        "`--tries` does not arrive",
        "onnxslim_snacs/cli/cutting.py",
        "        tries=tries,\n",
        "",
        f"{OPTIONS}[compress --tries]",
    ),
    Planted(
        "`--threads` does not arrive",
        "onnxslim_snacs/commands/start.py",
        "resolve_provider(setup.provider), setup.threads",
        "resolve_provider(setup.provider), 1",
        f"{OPTIONS}[compress --threads]",
    ),
    Planted(
        "`--threads` does not arrive at the proof",
        "onnxslim_snacs/proof/prove.py",
        "prove(work.analysis, keep, model, threads=work.session.threads)",
        "prove(work.analysis, keep, model)",
        f"{OPTIONS}[compress --threads]",
    ),
    Planted(
        "`bench --batch` does not arrive",
        "onnxslim_snacs/commands/bench.py",
        "source.batches(batch)",
        "source.batches(1)",
        f"{OPTIONS}[bench --batch]",
    ),
    Planted(
        "`bench --provider` does not arrive",
        "onnxslim_snacs/commands/bench.py",
        "provider=where, threads",
        'provider="cpu", threads',
        f"{OPTIONS}[bench --provider]",
    ),
    Planted(
        "`verify --threads` does not arrive",
        "onnxslim_snacs/cli/looking.py",
        "input_shapes=shapes, threads=threads)",
        "input_shapes=shapes)",
        f"{OPTIONS}[verify --threads]",
    ),
    Planted(
        "`apply --input-shape` does not arrive",
        "onnxslim_snacs/cli/making.py",
        "data=data,\n            recover=recover,",
        "data=DataConfig(path=data.path),\n            recover=recover,",
        f"{OPTIONS}[apply --input-shape]",
    ),
    Planted(
        "channels of a sequence's tensors in the wrong order where they are joined",
        "onnxslim_snacs/ops/sequence.py",
        "index % part, index)",
        "index // (extent // part), index)",
        "tests/ops/test_contract.py::test_each_group_alone_is_exact",
    ),
    Planted(
        "every turn of a loop that is written out is the first",
        "onnxslim_snacs/model/unroll.py",
        "_constant(work, node, turn)",
        "_constant(work, node, 0)",
        "tests/model/test_unroll.py::test_turns_stand_one_after_the_other_and_answer_as_before",
    ),
    Planted(
        "results of workers in the order in which they were asked for last",
        "onnxslim_snacs/cluster/spread.py",
        "        while waiting:\n            yield _result(waiting.popleft())",
        "        while waiting:\n            yield _result(waiting.pop())",
        "tests/cluster/test_spread.py::test_results_come_in_order_from_other_processes",
    ),
    Planted(
        "a cut that a worker recovers runs the original in other pieces",
        "onnxslim_snacs/recovery/recover.py",
        "    original.require(task.wants)\n    for name in task.wants:",
        "    for name in ():",
        "tests/recovery/test_recover.py::test_one_among_them_becomes_the_same_to_the_last_bit",
    ),
)


@contextmanager
def copied() -> Iterator[Path]:
    """A copy of the project that goes when it is no longer needed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in PARTS:
            if (ROOT / part).is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / part, folder / part, symlinks=True, ignore=ignored)
            else:
                shutil.copy(ROOT / part, folder / part)
        yield folder


def is_found(bug: Planted, folder: Path) -> bool:
    """Whether the test turns red while the bug is in a copy of the project."""
    file = folder / bug.file
    text = file.read_text()
    assert text.count(bug.right) == 1, f"{bug.name}: its place in {bug.file} has changed"
    file.write_text(text.replace(bug.right, bug.wrong))
    try:
        return outcome(bug.test, folder) == 1
    finally:
        file.write_text(text)


def outcome(test: str, folder: Path) -> int:
    """Pytest's exit code: 0 green, 1 red."""
    line = [sys.executable, "-B", "-m", "pytest", "-q", "-x", "-m", "not slow", test]
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, check=False)
    return done.returncode


def main() -> int:
    """Plant them all; how many are not found."""
    missed = 0
    print("| bug | the test that turns red | |\n|---|---|---|")
    with copied() as folder:
        green = {test: outcome(test, folder) == 0 for test in dict.fromkeys(b.test for b in BUGS)}
        for bug in BUGS:
            found = green[bug.test] and is_found(bug, folder)
            missed += not found
            print(f"| {bug.name} | `{bug.test}` | {'red' if found else 'MISSED'} |", flush=True)
    return missed


if __name__ == "__main__":
    sys.exit(min(1, main()))
