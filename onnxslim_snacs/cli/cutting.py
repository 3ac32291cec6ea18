"""The main command: options in, one call of the library, what happened out."""

from __future__ import annotations

from onnxslim_snacs.cli import options
from onnxslim_snacs.cli.arguments import (
    DEFAULT,
    Arithmetic,
    Cluster,
    Force,
    HtmlOut,
    Inexact,
    LimitOptions,
    Metadata,
    Model,
    Out,
    PlanOut,
    Provider,
    ReportOut,
    Seed,
    Threads,
    beside,
    keep_within,
)
from onnxslim_snacs.cli.bars import progress_bars
from onnxslim_snacs.cli.config_file import Config, PrintConfig, write_config
from onnxslim_snacs.cli.data import DataOptions
from onnxslim_snacs.cli.goal_options import (
    AllowSlower,
    Auto,
    JudgeFunction,
    MaxDrop,
    MultipleOf,
    Protect,
    Require,
    Target,
    UnitShare,
)
from onnxslim_snacs.cli.method_options import (
    Allocation,
    BlockOrder,
    Blocks,
    CriterionName,
    CriterionOption,
    DropCount,
    EffortName,
    FinetuneMinutes,
    Recover,
    Simplify,
    Tries,
    Width,
)
from onnxslim_snacs.cli.showing import ShowingOptions, show, warn_without_data
from onnxslim_snacs.cli.signals import (
    heed_interrupts,
    told_of_writing,
)
from onnxslim_snacs.cli.terminal import (
    write_stdout,
)
from onnxslim_snacs.config import (
    CompressConfig,
)
from onnxslim_snacs.errors import (
    UsageError,
)


def compress(
    model: Model,
    *,
    data: DataOptions,
    target: Target = None,
    ratio: UnitShare = None,
    auto: Auto = False,
    max_drop: MaxDrop = None,
    judge: JudgeFunction = None,
    allow_slower: AllowSlower = False,
    criterion: CriterionName = DEFAULT.criterion,
    allocation: Allocation = DEFAULT.allocation,
    effort: EffortName = DEFAULT.effort,
    tries: Tries = DEFAULT.tries,
    option: CriterionOption = None,
    recover: Recover = DEFAULT.recover,
    blocks: Blocks = False,
    block_order: BlockOrder = DEFAULT.block_order,
    drop: DropCount = None,
    finetune: FinetuneMinutes = None,
    allow_inexact: Inexact = False,
    width: Width = DEFAULT.width,
    simplify: Simplify = False,
    protect: Protect = None,
    multiple_of: MultipleOf = "1",
    require: Require = None,
    seed: Seed = DEFAULT.seed,
    threads: Threads = DEFAULT.threads,
    provider: Provider = DEFAULT.provider,
    arithmetic: Arithmetic = DEFAULT.arithmetic,
    cluster: Cluster = None,
    out: Out = None,
    plan_out: PlanOut = None,
    report: ReportOut = None,
    html: HtmlOut = None,
    limits: LimitOptions,
    metadata: Metadata = True,
    config_file: Config = None,
    print_config: PrintConfig = False,
    showing: ShowingOptions,
    force: Force = False,
) -> None:
    """Make a model smaller: score, plan, cut, prove, write."""
    keep_within(limits)
    if (target or ratio is not None) and (auto or max_drop is not None):
        raise UsageError("--auto and --max-drop exclude --target and --ratio")
    config = CompressConfig(
        data=data,
        target=options.targets(target),
        ratio=ratio,
        max_drop=DEFAULT.max_drop if max_drop is None else max_drop,
        allow_slower=allow_slower,
        criterion=criterion,
        allocation=allocation,
        effort=effort,
        tries=tries,
        options=options.settings(option),
        recover=recover,
        blocks=blocks,
        block_order=block_order,
        drop=drop,
        finetune=finetune,
        allow_inexact=allow_inexact,
        width=width,
        protect=tuple(protect or ()),
        multiple_of=options.multiple(multiple_of),
        seed=seed,
        threads=threads,
        provider=provider,
        arithmetic=arithmetic,
        metric=judge,
        simplify=simplify,
        require=tuple(require or ()),
        metadata=metadata,
    )
    if print_config:
        write_stdout(write_config(config))
        return
    from onnxslim_snacs.commands.compress import compress as make_smaller

    made = out or beside(model)
    if config_file is not None:  # which is read as well
        from onnxslim_snacs.model.targets import check_targets

        check_targets((made, plan_out, report, html), (config_file,), overwrite=force)
    warn_without_data(data.path, showing)
    with progress_bars(showing) as bars:
        make_smaller(
            model,
            config,
            out=made,
            plan_out=plan_out,
            report_out=report,
            html_out=html,
            overwrite=force,
            cluster=cluster,
            progress=told_of_writing(bars.progress),
            foreseen=bars.foresee,
            told=lambda done: show(done, showing, bars),
            heed=heed_interrupts,
        )
