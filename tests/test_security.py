"""Every sentence that SECURITY.md promises, and the tests that hold it."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

from onnxslim_snacs.cli.app import run

ROOT = Path(__file__).resolve().parents[1]
PROMISED = re.compile(r"\*\*Promised\*\*, [^\n]*:\n(.*?)\*\*Not promised\*\*", re.DOTALL)

#: What is promised, word by word, and by which tests it is held.
PROMISES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "Nothing in a file is executed: no pickle (`.npy` and `.npz` are read with "
        "`allow_pickle=False`, and there is no switch to change that),",
        ("activations/test_sources.py::test_nothing_is_unpickled",),
    ),
    (
        "no custom-operator library, no code from a model.",
        (
            "cli/test_exit_codes.py::test_custom_operator",
            "model/test_evaluate.py::test_no_operator_that_runs_reads_or_draws_is_evaluated",
            "test_security.py::test_no_library_of_operators_is_ever_loaded",
        ),
    ),
    (
        "No other program is started: images are decoded as PNG, JPEG, BMP, GIF, TIFF, WebP or PPM "
        "whatever their names say,",
        ("cli/test_promises.py::test_postscript_among_the_images_starts_nothing",),
    ),
    (
        "and constants are computed with the operators listed in "
        "`onnxslim_snacs/model/evaluate.py` alone, where the size of the result is known "
        "beforehand.",
        (
            "cli/test_promises.py::test_a_picture_in_a_model_starts_nothing",
            "model/test_evaluate.py::test_operators_that_start_something_are_left_alone",
            "model/test_evaluate.py::test_results_that_are_too_large_are_not_made",
        ),
    ),
    (
        "The exceptions are `--data` and `--judge` with `module:function` or `file.py:function`, "
        "which run what *you* name.",
        (
            "activations/test_sources.py::test_function_of_the_user",
            "judge/test_metric.py::test_the_measure_alone_decides",
        ),
    ),
    (
        "`--config` files are read as plain YAML data.",
        ("test_security.py::test_a_configuration_makes_no_objects",),
    ),
    (
        "`--simplify` hands the model, once checked, to onnxslim.",
        ("cli/test_simplify.py::test_whatever_it_does_ends_in_words",),
    ),
    (
        "The page of a report (`--html`) holds no script, and its policy allows none and loads "
        "nothing: a name in a model is text there.",
        (
            "report/test_page.py::test_names_of_a_model_stay_text",
            "report/test_page.py::test_nothing_is_loaded",
        ),
    ),
    (
        "Only the files that you name are read, and external data of a model only from ordinary "
        "files in the model's own folder or below: absolute paths, `..`, symbolic links, hard "
        "links, pipes and devices are refused.",
        (
            "model/test_external.py::test_locations",
            "model/test_external.py::test_links",
            "model/test_external.py::test_pipes_do_not_block",
            "activations/test_broken_files.py::test_only_ordinary_files_are_read",
        ),
    ),
    (
        "Only the outputs that you name are written, and the data file beside an output above "
        "2 GiB.",
        (
            "model/test_save.py::test_data_file",
            "model/test_together.py::test_files_of_strangers_stay",
        ),
    ),
    (
        "They come into their places together, or not at all;",
        (
            "model/test_together.py::test_every_call_may_fail",
            "model/test_together.py::test_two_writers_at_once",
            "cli/test_files.py::test_every_failing_call_leaves_all_or_nothing",
        ),
    ),
    (
        "an existing file is replaced only with `--force` and hands on its mode;",
        (
            "cli/test_exit_codes.py::test_outputs_that_exist",
            "cli/test_files.py::test_modes_of_outputs",
        ),
    ),
    (
        "no input is ever overwritten (the model, its external weights, the data files, the plan "
        "of `apply`, the file of `--config`, a Python file that you name), by whatever name;",
        (
            "cli/test_files.py::test_configurations_and_functions_are_inputs",
            "cli/test_files.py::test_no_output_is_an_input",
            "cli/test_files.py::test_external_weights_are_inputs",
            "cli/test_files.py::test_a_folder_of_samples_is_an_input",
            "cli/test_files.py::test_a_plan_by_its_path",
        ),
    ),
    (
        "a link at the output's place is replaced, not followed, and one of the system's "
        "(`/dev/stdout`) is refused.",
        (
            "model/test_save.py::test_links_are_replaced_not_followed",
            "cli/test_files.py::test_links_to_devices_are_no_outputs",
        ),
    ),
    (
        "While they are written there are hidden files beside them (`.NAME.snacs-...`, "
        "`.snacs-onnx.lock`); a run that is killed may leave some, and the next run for the same "
        "output undoes it and removes them.",
        (
            "model/test_together.py::test_a_killed_run_is_undone_by_the_next",
            "cli/test_files.py::test_killed_in_the_middle",
        ),
    ),
    (
        "No other files are removed.",
        (
            "model/test_together.py::test_files_of_strangers_stay",
            "model/test_together.py::test_a_note_that_somebody_has_put_there_does_nothing",
        ),
    ),
    (
        "On any exit code but 0 the old output is untouched; on a run that is killed in the "
        "instant in which several files come into their places, it comes back with the next one.",
        (
            "cli/test_exit_codes.py::test_a_wrong_cut_is_never_written",
            "cli/test_files.py::test_who_cannot_be_told_finds_nothing_changed",
            "cli/test_files.py::test_killed_in_the_middle",
        ),
    ),
    ("The network is not used.", ("cli/test_promises.py::test_no_socket_is_opened",)),
    (
        "The exception is `--cluster ADDRESS`, which talks to the scheduler that you name, "
        "and trusts it as Dask does.",
        ("cluster/test_workers.py::test_where_no_scheduler_answers_its_address_is_named",),
    ),
    (
        "Text from a model, a plan or the name of a file reaches the terminal and the report with "
        "control characters, bidirectional marks and other characters that do not show escaped, "
        "and cut to 300 characters;",
        (
            "cli/test_promises.py::test_no_control_character_reaches_the_terminal",
            "cli/test_promises.py::test_the_text_of_a_plan_is_escaped",
            "cli/test_promises.py::test_a_name_of_a_file_is_escaped",
            "test_errors.py::test_the_length_is_bounded",
        ),
    ),
    (
        "it is never used as a path.",
        ("cli/test_fault_cases.py::test_names_are_no_paths",),
    ),
    (
        "The work is done by a process that another one watches over: SIGINT, SIGTERM and SIGHUP "
        "end it at any moment, whatever a model does, except while the outputs are written.",
        (
            "cli/test_watch.py::test_a_signal_ends_a_run_that_sees_none",
            "cli/test_watch.py::test_signals_while_the_libraries_are_imported",
            "cli/test_watch.py::test_writing_is_never_cut_off",
        ),
    ),
    (
        "On Linux it takes no more memory than `--max-memory` (if not given, three quarters of "
        "what is free, and 2 GiB at least where there is twice that), and it ends after "
        "`--max-time`, both with exit code 7; a crash of a library ends with code 3 and nothing "
        "written.",
        (
            "cli/test_watch.py::test_ends_from_inside",
            "cli/test_watch.py::test_time_is_limited",
            "cli/test_watch.py::test_a_shape_that_is_a_list_of_a_billion_numbers",
            "model/test_bounds.py::test_what_a_run_may_take",
        ),
    ),
)


def promised() -> str:
    found = PROMISED.search((ROOT / "SECURITY.md").read_text())
    assert found is not None
    return " ".join(found[1].split())


def test_every_promise_is_held_by_a_test() -> None:
    text = promised()
    for words, _ in PROMISES:
        assert words in text, words
        text = text.replace(words, "", 1)
    assert set(text) <= {"-", " "}, text


def test_the_tests_are_there() -> None:
    for _, names in PROMISES:
        for name in names:
            path, _, function = name.partition("::")
            assert function in functions(path), name


@cache
def functions(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / "tests" / path).read_text())
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


def test_no_library_of_operators_is_ever_loaded() -> None:
    """Nowhere in the package is ONNX Runtime given one, nor anything unpickled or evaluated."""
    forbidden = {"register_custom_ops_library", "exec", "eval", "loads_pickle"}
    modules = {"pickle", "marshal", "shelve", "subprocess", "socket", "urllib", "http", "ftplib"}
    sources = [*(ROOT / "onnxslim_snacs").rglob("*.py"), *(ROOT / "passes").glob("*.py")]
    assert len(sources) > 200
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute | ast.Name):
                name = node.attr if isinstance(node, ast.Attribute) else node.id
                method = isinstance(node, ast.Attribute) and name == "eval"  # torch's Module.eval
                assert name not in forbidden or method, f"{path}: {name}"
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                assert not modules & {n.split(".")[0] for n in names}, f"{path}: {names}"


def test_a_configuration_makes_no_objects(tmp_path: Path) -> None:
    mark, path = tmp_path / "mark", tmp_path / "c.yaml"
    path.write_text(f"ratio: !!python/object/apply:os.system ['touch {mark}']\n")
    model = ROOT / "models" / "digits_resnet.onnx"
    line = ["compress", str(model), "--config", str(path), "-o", str(tmp_path / "o.onnx")]
    assert run(line) in (2, 3)
    assert [file.name for file in tmp_path.iterdir()] == ["c.yaml"]
