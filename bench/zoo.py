"""Many networks of timm and torchvision, one of each family, through all that a run does.

    uv run python -m bench.zoo [--only WORD ...] [--limit SECONDS] [--write bench/zoo.md]

Each network has random weights, ten classes and the smallest image that it takes. It is built,
tried before training as ``ssbench run`` does, counted beside torch's ``FlopCounterMode``, trained
for two steps with each of four methods, pruned to half of its parameters, certified, counted again,
exported and loaded. The verdict is one of

- works: everything holds with all methods;
- partly: some methods are refused before training, with a reason, and everything holds with others;
- refused: the network, or every method on it, is refused before training, with a reason;
- wrong: something fails later, or a count is not right. There must be none.

Counted are multiply-adds of convolutions, linear layers and matrix products, for one image. With
``--write``, each result is kept at once in a file of JSON lines beside the table. A later call goes
on with the networks that have none; those that ``--only`` names are examined again.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bench.zoo_table import KEPT, METHODS, Line, counted, read, write
from ssbench.data.dataset import DataSet, Split
from ssbench.errors import BadInputError, NotFiniteError
from ssbench.experiment.plan import plan
from ssbench.experiment.spec import Experiment
from ssbench.experiment.stage import Run
from ssbench.method.registry import discover
from ssbench.models.registry import build
from ssbench.pipeline.export import compact_network, describe, export
from ssbench.pipeline.feasibility import check_reach
from ssbench.pipeline.precheck import check_methods, check_networks
from ssbench.pipeline.stages import carry_out
from ssbench.pipeline.workbench import Workbench
from ssbench.pruning.lazy_imports import flop_count_analysis, torch_pruning

TORCHVISION = """
densenet121 efficientnet_b0 googlenet mnasnet0_5 mobilenet_v2 mobilenet_v3_small regnet_x_400mf
regnet_y_400mf resnet18 resnext50_32x4d shufflenet_v2_x0_5 squeezenet1_1 swin_t
"""
TIMM = """
vit_tiny_patch16_224 deit_tiny_patch16_224 swin_tiny_patch4_window7_224 mixer_s32_224
eca_resnet33ts gernet_s mobileone_s0 repvgg_a0 botnet26t_256 lambda_resnet26t
poolformer_s12 cait_xxs24_224 coat_lite_tiny convit_tiny convmixer_768_32 convnext_atto
convnextv2_atto cpubone_nano crossvit_tiny_240 cs3darknet_s cspnext_tiny dla46_c eca_nfnet_l0
nf_resnet26 dpn48b ese_vovnet19b_slim ecaresnet26t resnetblur18 resnet50_gn edgenext_xx_small
efficientformer_l1 efficientformerv2_s0 mobilenetv2_050 efficientnet_b0_gn mixnet_s efficientvim_m1
efficientvit_b0 efficientvit_m0 eva02_tiny_patch14_224 fasternet_t0 fastvit_t8 lcnet_035
mobilenetv3_small_050 gcvit_xxtiny ghostnet_050 gmlp_ti16_224 resmlp_12_224 hgnetv2_b0
hiera_tiny_224 hrnet_w18_small iformer_t inception_next_atto lcnetv2_small legacy_seresnet18
levit_128s lowformer_b0 mambaout_femto mobilevit_xxs mobilevitv2_050 mvitv2_tiny nest_tiny
pit_ti_224 pvt_v2_b0 regnetx_002 regnetz_005 repghostnet_050 repvit_m0_9 res2net50_14w_8s resnest14d
resnetv2_18 resnetv2_50x1_bit resnetv2_50d_frn rexnet_100 sequencer2d_s shvit_s1 skresnet18
starnet_s050 swiftformer_xs tiny_vit_5m_224 visformer_tiny vit_tiny_r_s16_p8_224
xcit_nano_12_p16_224
"""
NAMES = [f"torchvision:{n}" for n in TORCHVISION.split()] + [f"timm:{n}" for n in TIMM.split()]
PIXELS = (64, 96, 128, 160, 224, 240, 256, 299)
"""The sides that are tried in turn."""
IMAGES, CLASSES = 4, 10
WHOLE = ("filters", "slimming")
"""The methods that prune whole filters: what they keep is what surgery leaves."""
TOLERANCE = 0.005
"""Of the share of parameters after surgery, as in the protocol."""


def dataset(pixels: int) -> DataSet:
    """Noise as images, a few for each split."""
    generator = torch.Generator().manual_seed(0)

    def split(count: int) -> Split:
        shape = (count, 3, pixels, pixels)
        images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        return Split(images, torch.arange(count) % CLASSES)

    return DataSet("noise", CLASSES, split(IMAGES), split(2), split(2))


def smallest_image(name: str) -> int:
    """The first of `PIXELS` that a network takes; 0: none."""
    for pixels in PIXELS:
        with suppress(Exception), torch.no_grad():
            network = build(name, 3, CLASSES, size=(pixels, pixels)).eval()
            network(torch.zeros(1, 3, pixels, pixels))
            return pixels
    return 0


def torch_macs(network: nn.Module, example: torch.Tensor) -> int:
    """Multiply-adds as torch counts them: half of its floating-point operations."""
    counter = FlopCounterMode(display=False)
    torch.backends.mha.set_fastpath_enabled(False)  # torch counts nothing in it
    try:
        with torch.no_grad(), counter:
            network.eval().requires_grad_(False)(example)
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    return int(counter.get_total_flops()) // 2


def experiment(name: str) -> Experiment:
    """Two steps of every method, and a cut to half of the parameters."""
    recipe = {"epochs": 1, "batch_size": IMAGES // 2, "lr": 1e-3}
    methods = [{key: each[key] for key in each if key != "label"} for each in METHODS]
    return Experiment.model_validate(
        {
            "name": "zoo", "dataset": "noise", "models": [name], "methods": methods, "seeds": [0],
            "budget": {"unit": "params", "kept": [KEPT]}, "train": recipe, "finetune": recipe,
        }
    )  # fmt: skip


def examine(name: str) -> Line:
    """Push one network through everything."""
    line, began = Line(name), time.perf_counter()
    try:
        _examine(line)
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        text = " ".join(str(error).split())[:300]
        place = f"{Path(frame.filename).name}, line {frame.lineno}"
        line.reason = f"{type(error).__name__}: {text} ({place})"
    line.seconds = time.perf_counter() - began
    return line


def _examine(line: Line) -> None:
    line.pixels = smallest_image(line.name)
    workbench = Workbench(dataset(line.pixels or PIXELS[-1]), torch.device("cpu"))
    planned = plan(experiment(line.name), discover(), workbench.dataset.fingerprint, "zoo")
    runs = [run for run in planned if run.budget and not run.budget.protection]
    refused = check_networks(runs, workbench, [line.name])
    if refused:
        line.verdict, line.reason = "refused", refused[runs[0].id].split(": ", 2)[-1]
        return
    dense = workbench.dense(line.name)
    line.params, line.macs = dense.params, dense.macs
    theirs = torch_macs(workbench.model(line.name, 0), workbench.example)
    if dense.macs != theirs:
        line.reason = f"{dense.macs:,} multiply-adds, and torch counts {theirs:,}"
        return
    missing = [
        reason
        for each, run in zip(METHODS, runs, strict=True)
        if (reason := _method(line, each["label"], run, workbench))
    ]
    line.verdict = ("works", "partly", "refused")[bool(missing) + (len(missing) == len(runs))]
    line.reason = "; ".join(dict.fromkeys(missing))


def _method(line: Line, label: str, run: Run, workbench: Workbench) -> str:
    """Carry out one method; return why it is refused before training, empty where it is not."""
    line.shares[label] = None
    try:
        record = _prune(line, run, workbench)
    except NotFiniteError as error:
        return f"{run.file.name}: after two steps on noise, {error}"
    except Exception:
        refusal = check_methods([run], workbench, [line.name])
        if not refusal:
            raise  # it would be found only after a training
        return refusal[run.id].split(": ", 2)[-1]
    share = record["params_compact"] / record["params_dense"]
    if label in WHOLE and abs(share - KEPT) > TOLERANCE:
        try:
            check_reach([run], workbench, "zoo")
        except BadInputError as error:
            return str(error).split(": ", 2)[-1]
        line.off.append(label)
    line.shares[label] = share
    return ""


def _prune(line: Line, run: Run, workbench: Workbench) -> dict[str, Any]:
    """Train, prune, certify, export and load; return the record."""
    tensors: dict[str, torch.Tensor] = {}
    record: dict[str, Any] = {}
    for stage in run.stages[:2]:
        tensors, record = carry_out(stage, workbench, tensors, lambda _: None)
    line.difference = max(line.difference, record["surgery_difference"])
    if run.method.grain == "filter":
        facts = {
            "model": line.name, "classes": CLASSES, "mean": [0.0] * 3, "sd": [1.0] * 3,
            "image_shape": list(workbench.train.image_shape),
        }  # fmt: skip
        network, difference = compact_network(facts, tensors)
        with tempfile.TemporaryDirectory() as folder:
            described = describe(network, facts, difference)
            export(network, described, "safetensors", Path(folder) / "exported")
    return record


def _child(name: str, seconds: int, end: Connection) -> None:
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))  # what else runs here costs none
    end.send(examine(name))


def limited(name: str, seconds: int) -> Line:
    """Examine a network in a process of its own, which ends after some seconds of computing."""
    context = multiprocessing.get_context("fork")  # what is imported need not be imported again
    here, there = context.Pipe()
    process = context.Process(target=_child, args=(name, seconds, there))
    process.start()
    there.close()
    try:
        return here.recv()  # type: ignore[no-any-return]
    except EOFError:
        return Line(name, reason=f"ended by itself, or after {seconds} s")
    finally:
        process.join()


def run(names: Sequence[str], seconds: int, tell: Callable[[Line], None]) -> None:
    """Examine networks one after the other, each for at most some seconds of computing."""
    import_module("timm")
    torch_pruning()
    flop_count_analysis()
    torch.set_num_threads(1)
    for name in names:
        tell(limited(name, seconds))


def main() -> None:
    """Print what became of every network, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], help="words in the names")
    parser.add_argument(
        "--limit", type=int, default=120, help="seconds of computing for each network"
    )
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    lines = read(options.write) if options.write else {}
    if options.only:
        names = [name for name in NAMES if any(word in name for word in options.only)]
    else:
        names = [name for name in NAMES if name not in lines]

    def tell(line: Line) -> None:
        shares = {n: None if s is None else round(100 * s, 1) for n, s in line.shares.items()}
        took = f"{line.seconds:.1f} s"
        print(f"{line.verdict:8}{line.name} {shares} {took} {line.reason}", flush=True)
        lines[line.name] = line
        if options.write:
            write([lines[name] for name in NAMES if name in lines], options.write)

    run(names, options.limit, tell)
    print(counted(lines.values()))
    if any(line.verdict == "wrong" for line in lines.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
