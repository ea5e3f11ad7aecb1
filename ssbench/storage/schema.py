"""The schema of a record: every key that a stage measures, its meaning, and where it is shown.

This is the only list of keys. The pipeline's empty record, the CSV, the DataFrame, the page's
details of a run and the tables of docs/metrics.md all use it. A new metric is one field here,
besides the line that measures it:

    images_seen: Count | None = key("training images that passed through the network", "cost",
                                    csv="last")
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ssbench.storage.keys import Key, Keys, always, field, key, said

Count = Annotated[int, Field(ge=0)]
Percent = Annotated[float, Field(ge=0, le=100)]
Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class Histogram(_Part):
    """The scores of all units at a pruning, see `ssbench.pruning.histogram`."""

    scale: Literal["log", "linear"]
    low: float
    high: float
    counts: list[Count]
    below: Count
    gone: Count


class MaskSample(_Part):
    """Kept or not, for the same few thousand weights, see `ssbench.pruning.mask_sample`."""

    weights: Count
    kept: str


class Tuning(_Part):
    """How a method's hyper-parameters were chosen on the validation split.

    Attributes:
        trials: number of choices tried; ``distinct`` of them differ, ``failed`` did not finish.
        seeds: that every choice was tried with.
        kept: the shares whose mean error decided; none for the dense network.
        space: by hyper-parameter, the values to choose among; ``space_id`` is its hash.
    """

    trials: Count
    distinct: Count
    failed: Count
    seeds: list[int]
    kept: list[float | str]
    space: dict[str, str]
    space_id: str
    chosen: dict[str, Any]


class Record(BaseModel):
    """One line of a result file: the measurements of one stage. Further keys may follow.

    Errors are in percent, shares in [0, 1], times in seconds; None where a key does not apply.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="allow", allow_inf_nan=False)

    format: Literal[1, 2] = always(
        "2; 1 in older records without checksums, which ssbench still reads", "file"
    )
    run: str = always()
    experiment: str = always()
    dataset: str = always()
    model: str = always()
    method: str = always()
    label: str = always()
    settings: dict[str, Any] = always()
    grain: str = always()
    seed: int = always()
    budget_unit: Literal["connections", "params", "macs"] | None = always(
        "what the budget counts", "budget"
    )
    budget_asked: Annotated[float, Field(gt=0, le=1)] | Literal["own"] | None = always(
        "the share of the dense network to keep; `own`: the method's own threshold", "budget"
    )
    stage: str = always()
    status: Literal["done", "failed"] = always()
    reason: str | None = always()
    epochs_total: Count | None = always(
        "epochs of all stages up to this one, also those whose weights were discarded (rewinding, "
        "scratch)",
        "quality",
        csv="last",
    )

    scope: str | None = said(
        "`global`: one order over all units; `layerwise`: the same share of every layer", "budget"
    )
    protection: float | None = said(
        "the share of its units that every layer keeps at least", "budget"
    )
    passes: Count | None = said(
        "number of times the network was trained and pruned before the finetuning", "budget"
    )
    schedule: list[Annotated[float, Field(gt=0, le=1)]] | None = said(
        "the share to keep after each pass, if the experiment lists them", "budget"
    )
    retrain: str | None = said(
        "what followed the pruning: `finetune`, `lr-rewind`, `weight-rewind`, `scratch-e`, "
        "`scratch-b` (see protocol.md)",
        "budget",
    )
    tuning: Tuning | None = said(
        "how the hyper-parameters were chosen on validation: number of trials, how many differ and "
        "how many failed, their seeds and shares, the space in words and its hash, the chosen "
        "values; none: not tuned",
        "budget",
    )
    architecture: dict[str, Any] | None = said(
        "the network's `name`, its `arguments`, and a hash of its `code` if it does not ship with "
        "ssbench, torchvision or timm; `model` is its name in tables",
        "run",
        details=True,
    )
    start: str | None = said(
        "`random`, the file of the published weights to start from, or the name and the SHA-256 of "
        "the file of weights that was given",
        "run",
    )
    stage_id: str | None = said(
        "a hash of everything that can change the stage's result; the record has all of it", "run"
    )
    row_id: str | None = said(
        "the hash of the run's last stage without the seed: runs with one `row_id` differ only in "
        "the seed",
        "run",
    )
    data_fingerprint: str | None = said(
        "a hash of all images and labels in order, and of a normalisation that is not measured on "
        "them (for a folder over 2 GiB, of the names and sizes of its files). Rows of different "
        "images are in different tables, and no claim compares them",
        "run",
        details=True,
    )
    recipe: dict[str, Any] | None = said(
        "all settings of the stage's training; none for a pruning", "run", details=True
    )
    budget_of_stage: Annotated[float, Field(gt=0, le=1)] | Literal["own"] | None = said(
        "the requested share at this stage: each of several passes has its own", "run", details=True
    )
    snapshot: Count | None = said(
        "the epoch of the training whose weights are kept to rewind to", "run", details=True
    )
    scratch_limit: float | None = said(
        "the largest factor by which `scratch-b` multiplies its epochs", "run", details=True
    )
    method_file: str | None = said("a hash of the method's file", "run", details=True)
    protocol: Count | None = said(
        "a number that increases when ssbench changes results", "run", details=True
    )
    command: list[str] | None = said(
        "the arguments of `ssbench run`, paths as given, without seeds, device and folders: with "
        "`seed`, `device` and `threads` they repeat the run",
        "run",
    )
    lr: float | None = said("the learning rate of the recipe, before its schedule", "quality")
    precision: str | None = said("the number format of the training", "cost", details=True)
    compile: bool | None = said("whether the training was compiled", "cost", details=True)
    epochs: Count | None = said("epochs of the stage", "quality")

    budget_reached: Share | None = key(
        "the remaining share: for whole filters, of the network after surgery (except for the one "
        "channel that a dead layer keeps), otherwise counted on the masks",
        "budget",
        kept=True,
        csv="spread",
    )
    threshold: float | None = key("the largest pruned score", "budget", kept=True, csv="spread")
    protected: Count | None = key(
        "layers that `protection` made keep more than their scores alone would",
        "budget",
        kept=True,
        csv="last",
    )
    layers: dict[str, Share] = field(
        Key("the share of weights kept, by layer", "budget", measured=True, kept=True), default={}
    )
    layer_order: list[str] | None = key(
        "the prunable layers in call order: `layers` is sorted by name",
        "budget",
        kept=True,
    )
    uncounted: dict[str, int] = field(
        Key(
            "operators without a count, and the number of their calls: only additions, reshaping "
            "and activations; any other one is an error",
            "size",
            measured=True,
            kept=True,
        ),
        default={},
    )
    surgery_difference: Annotated[float, Field(ge=0)] | None = key(
        "largest difference between outputs of masked and compact network over 32 validation "
        "images and 8 of noise, in double precision, relative to max(1, largest output)",
        "size",
        kept=True,
    )
    layers_untouched: Count | None = key(
        "prunable layers that the method cannot prune: it has no score for them, or surgery can "
        "remove neither their filters nor their inputs",
        "size",
        kept=True,
    )
    untouched: dict[str, str] = field(
        Key("why the method cannot prune them, by layer", "size", measured=True, kept=True),
        default={},
    )
    params_untouched: Count | None = key("parameters of these layers", "size", kept=True)
    macs_untouched: Count | None = key("multiply-adds of these layers", "size", kept=True)
    params_dense: Count | None = key(
        "numbers in all parameters, with batch norms and biases, without running statistics",
        "size",
        kept=True,
        csv="size",
    )
    params_nonzero: Count | None = key(
        "parameters that are not zero because of masks or of the silent channels behind them",
        "size",
        kept=True,
        csv="size",
    )
    params_compact: Count | None = key(
        "numbers in all parameters after surgery", "size", kept=True, csv="size"
    )
    connections_dense: Count | None = key(
        "2-D kernels of all prunable convolutions plus weights of all prunable linear layers; all "
        "layers except the output's are prunable",
        "size",
        kept=True,
        csv="size",
    )
    connections_nonzero: Count | None = key(
        "prunable kernels with a weight left", "size", kept=True, csv="size"
    )
    connections_compact: Count | None = key(
        "the same kernels after surgery", "size", kept=True, csv="size"
    )
    macs_dense: Count | None = key(
        "multiply-adds of convolutions, linear layers and matrix products (attention; nothing "
        "prunes these), 1 per multiply-add, without biases: "
        "fvcore's `conv` + `linear`",
        "size",
        kept=True,
        csv="size",
    )
    macs_nonzero: Count | None = key(
        "per layer, dense multiply-adds x share of weights left", "size", kept=True, csv="size"
    )
    macs_compact: Count | None = key("multiply-adds after surgery", "size", kept=True, csv="size")
    norm_ops_dense: Count | None = key(
        "operations of batch norms in eval mode, 2 per element (a scale and a shift); never part "
        "of MACs",
        "size",
        kept=True,
    )
    norm_ops_compact: Count | None = key("the same after surgery", "size", kept=True)
    pool_ops_dense: Count | None = key(
        "operations of pooling, 1 per element that it reads; never part of MACs", "size", kept=True
    )
    pool_ops_compact: Count | None = key("the same after surgery", "size", kept=True)
    bytes_dense: Count | None = key("4 bytes x `params_dense` (float32)", "size", kept=True)
    bytes_compact: Count | None = key("4 bytes x `params_compact`", "size", kept=True)
    bytes_sparse: Count | None = key(
        "the compact network with each tensor in the smallest of five formats: all values; "
        "bitmask or list of positions over weights; bitmask or list over 2-D kernels. A position "
        "takes as many whole bytes as the tensor's largest position needs",
        "size",
        kept=True,
    )
    bytes_index: Count | None = key(
        "the part of `bytes_sparse` that is bitmasks and positions", "size", kept=True
    )
    score_histogram: Histogram | None = key(
        "at the prune stage: the scores of all units in 64 bins between `low` and `high`, equally "
        'wide on `scale` ("linear"; "log" if scores are positive and span more than a factor '
        "of 100, at most eight decades); `below`: units under `low`, including zeros; `gone`: "
        "units that an earlier pass pruned",
        "budget",
    )
    mask_sample: MaskSample | None = key(
        "at the prune stage: kept or not, one bit for each of 4,096 prunable weights (`weights`), "
        "the same ones under every method and seed; `kept`: base64, the first weight in the "
        "highest bit",
        "budget",
    )

    test_top1_error: Percent | None = key(
        "% of test images whose label is not the highest logit, at the last epoch",
        "quality",
        csv="error",
    )
    test_top5_error: Percent | None = key(
        "% of test images whose label is not among the five highest logits", "quality", csv="error"
    )
    validation_top1_error: Percent | None = key(
        "`test_top1_error`, on the images for choices", "quality", csv="error"
    )
    validation_top5_error: Percent | None = key(
        "`test_top5_error`, on the images for choices", "quality"
    )
    train_loss: float | None = key(
        "mean cross-entropy over the last epoch, while training, without penalties",
        "quality",
        csv="last",
    )
    validation_loss: float | None = key(
        "mean cross-entropy over the validation images", "quality", csv="last"
    )
    test_loss: float | None = key("mean cross-entropy over the test images", "quality", csv="last")
    curve_loss: list[float] | None = key(
        "`train_loss` of every epoch of the stage. No epoch evaluates the validation images: no "
        "choice needs it, and it would cost time",
        "quality",
    )
    curve_error: list[Percent] | None = key(
        "% of wrong answers in every epoch, on the (augmented) training images",
        "quality",
    )

    seconds_train: Seconds | None = key("wall clock of the stage's training", "cost", csv="total")
    seconds_penalty: Seconds | None = key(
        "the penalty's part of it, without its gradient; on a GPU by the GPU's own clock; none: "
        "compiled with the rest",
        "cost",
        csv="total",
    )
    seconds_prune: Seconds | None = key(
        "wall clock of scoring, selecting and masking", "cost", csv="total"
    )
    energy_joules: Annotated[float, Field(ge=0)] | None = key(
        "energy of the device (of all devices in a joint training) during the stage, by its own "
        "counter: an NVIDIA GPU's (NVML, with the extra `energy`; Volta or newer), otherwise all "
        "packages of the CPU (Linux, `/sys/class/powercap/intel-rapl:N`, which often only root may "
        "read). None if it cannot be read. Host and memory of a GPU run are not included; "
        "**everything that ran on the device is**, so each stage also counts stages side by side "
        "and other people's work. A run's energy is the sum over its stages, and none if one lacks "
        "it",
        "cost",
        csv="joules",
    )
    images_per_second: float | None = key(
        "training images x epochs / `seconds_train`", "cost", csv="last"
    )
    peak_memory_bytes: Count | None = key(
        "highest allocation on the GPU; on a CPU the process' largest resident size; in a joint "
        "training, of the first process",
        "cost",
        csv="last",
    )
    devices: Count | None = key(
        "number of devices that trained the stage jointly; 1 without a training",
        "cost",
        details=True,
    )
    resumed: Count | None = key(
        "number of times another process resumed the training from a saved epoch; "
        "`seconds_train` adds up all parts, without the time lost between the last save and a kill",
        "cost",
    )
    trained_on: list[dict[str, Any]] | None = key(
        "if a training resumed with another number of threads or devices or on other hardware: "
        "for each part, in order, its `epochs`, `threads` (none on a GPU), `devices` and "
        "`device_name`; none: the same for all epochs",
        "cost",
    )
    micro_batch: Count | None = key(
        "images per pass through the network if a whole batch did not fit into memory and "
        "gradients were summed over its parts; none: whole batches fitted",
        "cost",
        details=True,
    )
    captured: bool | None = key(
        "whether the training's steps were recorded and replayed as CUDA graphs; none: on a CPU",
        "cost",
        details=True,
    )
    step_notes: list[str] | None = key(
        "what a training did not do, and why: capture its steps, compile, or use deterministic "
        "kernels",
        "cost",
        details=True,
    )
    diverged_epoch: Count | None = key(
        "in a failed record: the first epoch of the stage whose mean loss is not a finite number; "
        "none: it failed for another reason",
        "cost",
        details=True,
    )
    traceback: str | None = key(
        "in a failed record: Python's traceback of the error (`ssbench show --traceback`)"
    )
    train_images: Count | None = key("number of training images")
    validation_images: Count | None = key("number of validation images")
    test_images: Count | None = key("number of test images")
    image_shape: list[int] | None = key("channels, height, width of an image", details=True)
    classes: Count | None = key("number of classes", details=True)
    preprocessing: dict[str, Any] | None = key(
        "of photographs, for evaluation: `resize` (pixels of the shorter side, or of both), "
        "`crop`, `interpolation`; then `mean` is subtracted from values 0 to 255, and `sd` divides "
        "them. None for images in memory",
        "run",
        details=True,
    )
    data: dict[str, Any] | None = key(
        "of images of one's own, how they were prepared: `source`, whether they are in `memory`, "
        "`size` or `resize`, `crop` and `interpolation` in memory, `normalise` if it is not the "
        "default; by split its folder, or the share that was chosen at random with `seed`",
        "run",
        details=True,
    )
    test_guess_error: Percent | None = key(
        "% of test images that are not of their most frequent class: the error of always answering "
        "with that class",
        details=True,
    )
    mean: list[float] | None = key("subtracted from the pixels, by channel", details=True)
    sd: list[float] | None = key("divides the pixels, by channel", details=True)
    device: str | None = key("cpu or cuda")
    device_name: str | None = key("the hardware's name")
    threads: int | None = key("number of threads on a CPU")
    versions: dict[str, str] | None = key("of Python and the computing libraries")
    commit: str | None = key("of the checkout that ssbench ran from")
    time: str | None = key("when the stage ended, UTC")


KEYS = Keys(Record)
