"""What a method does to its process changes and loses no record of another method."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.command_line import Invoke
from tests.support.processes import weights

FILE = '''
"""Does harm."""
import gc, os, resource, signal, sys, threading, time
from dataclasses import dataclass
import torch
import torch.nn.functional as F
from torch import nn
from ssbench.method import Method, prunable_weights

def benches():
    from ssbench.pipeline.workbench import Workbench
    return [b for b in gc.get_objects() if type(b) is Workbench]

def opened():
    from pathlib import Path
    from ssbench.data.registry import open_dataset
    return open_dataset("digits", Path())

def in_a_trial():
    return "ssbench.executors.processes.trial" in sys.modules

def held_back():
    return next(o for o in gc.get_objects() if type(o).__name__ == "HeldBack")

def in_a_thread(call):
    said = []
    def ask():
        try:
            said.append(call())
        except Exception as error:
            said.append(type(error).__name__)
    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    raise RuntimeError(str(said))

def of_the_test_split():
    tensors = [o for o in gc.get_objects() if isinstance(o, torch.Tensor)]
    return [t for t in tensors if 500 in t.shape[:1]]

from ssbench.data.digits import file_of_digits
from ssbench.data.synthetic import synthetic

AT_IMPORT

@dataclass(frozen=True, kw_only=True)
class Harmful(Method):
    """Do harm."""
    grain = "weight"

    def attach(self, model):
        if not in_a_trial(): IN_ATTACH

    def penalty(self, model):
        if not in_a_trial(): IN_PENALTY

    def after_step(self, model, progress):
        if not in_a_trial(): IN_STEP

    def scores(self, model, *, batches=None, example=None):
        if not in_a_trial(): IN_SCORES
        return {name: weight.abs() for name, weight in prunable_weights(model).items()}
'''
EXPERIMENT = """
name = "attacked"
dataset = "digits"
models = ["vgg6"]
seeds = [0]
budget = { kept = 0.5 }
train = { epochs = 1, lr = 0.05, batch_size = 250, schedule = "one-cycle" }
finetune = { epochs = 1, lr = 0.02, batch_size = 250, schedule = "one-cycle" }
methods = [
    HARMFUL{ name = "network-slimming" }, { name = "magnitude" }]
"""
HOOKS = ("AT_IMPORT", "IN_ATTACH", "IN_PENALTY", "IN_STEP", "IN_SCORES")
CHANGED = {
    "conv2d": ("IN_ATTACH", "real = F.conv2d; F.conv2d = lambda *a, **k: real(*a, **k) * 0.9",
               "attach of Harmful changed torch.nn.functional.conv2d, which all methods share"),
    "batch_norm": ("IN_SCORES", "nn.BatchNorm2d.forward = lambda self, x: x",
                   "scores of Harmful changed torch.nn.modules.batchnorm.BatchNorm2d.forward"),
    "a_global_hook": ("IN_ATTACH",
                      "nn.modules.module.register_module_forward_hook(lambda m, i, o: o * 0.9)",
                      "attach of Harmful changed global hooks of torch.nn.Module"),
    "dtype": ("IN_STEP", "torch.set_default_dtype(torch.float64)",
              "after_step of Harmful changed the default dtype (torch.float32 became torch."),
    "device": ("IN_ATTACH", 'torch.set_default_device("meta")',
               "attach of Harmful changed the default device"),
    "gradients": ("IN_SCORES", "torch.set_grad_enabled(False)",
                  "scores of Harmful changed whether gradients are computed (True became False)"),
    "threads": ("IN_PENALTY", "torch.set_num_threads(torch.get_num_threads() + 1)",
                "penalty of Harmful changed the number of threads"),
    "the_folder": ("IN_STEP", 'os.chdir("/")',
                   "penalty or after_step of Harmful changed the working folder"),
    "the_environment": ("IN_SCORES", 'os.environ["OMP_NUM_THREADS"] = "7"',
                        "scores of Harmful changed environment variables"),
    "a_limit": ("IN_ATTACH", "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))",
                "attach of Harmful changed limits of the process"),
    "a_signal_handler": ("IN_ATTACH", "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
                         "attach of Harmful changed signal handlers"),
    "a_thread": ("IN_ATTACH",
                 "threading.Thread(target=lambda: time.sleep(60), daemon=True).start()",
                 "attach of Harmful changed the threads of the process"),
    "labels": ("IN_SCORES", "batches.args[1].train.labels.zero_()",
               "scores of Harmful changed images, labels or the normalisation in place"),
    "images_by_numpy": ("IN_PENALTY",
                        "[b.train.images.numpy().fill(0) for b in benches()]",
                        "images, labels or the normalisation in place"),
    "evaluation": ("IN_SCORES",
                   "import ssbench.pipeline.workbench as w; w.evaluate = lambda *_: None",
                   "scores of Harmful changed ssbench"),
}  # fmt: skip
ENDED = {
    "sys_exit": ("IN_STEP", "sys.exit(3)", "train: SystemExit: 3 (sys_exit.py, line"),
    "os_exit": ("IN_SCORES", "os._exit(0)",
                 "prune: the worker process ended with code 0 (the method, or a library"),
    "KeyboardInterrupt": ("IN_PENALTY", "raise KeyboardInterrupt", "train: KeyboardInterrupt"),
    "GeneratorExit": ("IN_ATTACH", "raise GeneratorExit", "train: GeneratorExit"),
    "BaseException": ("IN_ATTACH", 'raise BaseException("x")', "train: BaseException: x"),
    "Stopped": ("IN_STEP", "from ssbench.training.interrupt import Stopped; raise Stopped(15)",
                "train: Stopped"),
    "killed": ("IN_ATTACH", "os.kill(os.getpid(), 9)",
               "train: the worker process was killed by signal 9 (9: the system does that when"),
    "bad_input": ("IN_ATTACH", 'import ssbench.errors as e; raise e.BadInputError("no")',
                  "train: no"),
    "memory": ("IN_ATTACH", "resource.setrlimit(resource.RLIMIT_AS, (1, 1)); bytes(10**9)",
               "limits of the process"),
}  # fmt: skip
LEAKS = {
    "opens_the_data_set": ("IN_PENALTY", "opened()",
                           "digits.csv.gz was opened while a method trains or scores: test images"),
    "reads_the_file": ("IN_SCORES", "open(file_of_digits(), 'rb')",
                       "digits.csv.gz was opened while a method trains or scores"),
    "draws_the_data_set": ("IN_STEP", "synthetic()",
                           "a data set was opened while a method trains or scores"),
    "finds_what_is_held_back": ("IN_PENALTY", "held_back().opened().__enter__()",
                                "test images were asked for while a method trains or scores"),
    "asks_in_a_thread": ("IN_SCORES", "in_a_thread(held_back().opened().__enter__)",
                         "HeldBackError"),
}  # fmt: skip
HARMLESS = {
    "example_and_batches": ("IN_SCORES", "example.add_(1); [p[1].zero_() for p in batches()]"),
    "nothing_in_memory": ("IN_SCORES", "assert not of_the_test_split()"),
}
FAIL = CHANGED | ENDED | LEAKS
IMPORTS = {
    "conv2d": "F.conv2d = lambda *a, **k: None",
    "dtype": "torch.set_default_dtype(torch.float64)",
    "the_folder": 'os.chdir("/")',
    "sys_exit": "sys.exit(3)",
    "os_exit": "os._exit(3)",
    "KeyboardInterrupt": "raise KeyboardInterrupt",
}


def method_file(folder: Path, name: str, hook: str, code: str) -> Path:
    text = FILE.replace(hook, code)
    for other in HOOKS:
        text = text.replace(other, "pass")
    path = folder / f"{name}.py"
    path.write_text(text)
    return path


def ssbench(folder: Path, files: Mapping[str, Path]) -> int:
    """Run the experiment with these methods beside the other two; return the exit code."""
    harmful = "".join(f'{{ name = "{name.replace("_", "-")}" }},\n    ' for name in files)
    (folder / "attacked.toml").write_text(EXPERIMENT.replace("HARMFUL", harmful))
    command = [sys.executable, "-m", "ssbench", "run", "attacked.toml", "--quiet"]
    command += [part for path in files.values() for part in ("--method-file", str(path))]
    return subprocess.run(command, cwd=folder, check=False, stderr=subprocess.DEVNULL).returncode


OWN = ("time", "command", "images_per_second", "peak_memory_bytes", "energy_joules", "sha256")


@dataclass(frozen=True)
class Found:
    """By method, the records without what differs from one time to the next; and all weights."""

    code: int
    records: Mapping[str, list[dict[str, Any]]]
    weights: Mapping[str, bytes]

    def others(self) -> dict[str, list[dict[str, Any]]]:
        return {name: self.records[name] for name in ("network-slimming", "magnitude")}


def found_in(folder: Path, code: int) -> Found:
    records: dict[str, list[dict[str, Any]]] = {}
    for path in sorted((folder / "results" / "attacked").glob("*.jsonl")):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        records[lines[0]["method"]] = [
            {k: v for k, v in line.items() if k not in OWN and "seconds" not in k} for line in lines
        ]
    return Found(code, records, weights(folder))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """The two methods by themselves."""
    folder = tmp_path_factory.mktemp("alone")
    return found_in(folder, ssbench(folder, {}))


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """The same two behind all that do harm, in one call."""
    folder = tmp_path_factory.mktemp("attacked")
    files = {n: method_file(folder, n, *case[:2]) for n, case in FAIL.items()}
    files |= {name: method_file(folder, name, *case) for name, case in HARMLESS.items()}
    return found_in(folder, ssbench(folder, files))


def test_the_records_and_weights_of_others_stay_the_same(alone: Found, attacked: Found) -> None:
    assert (alone.code, attacked.code) == (0, 1)
    assert set(attacked.records) == {name.replace("_", "-") for name in FAIL | HARMLESS} | set(
        alone.records
    )
    assert attacked.others() == alone.others()
    assert alone.weights.items() <= attacked.weights.items()


@pytest.mark.parametrize("name", FAIL)
def test_who_does_harm_fails_by_name(name: str, attacked: Found) -> None:
    last = attacked.records[name.replace("_", "-")][-1]
    assert last["status"] == "failed"
    assert FAIL[name][2] in last["reason"]


@pytest.mark.parametrize("name", HARMLESS)
def test_what_a_method_is_given_is_its_own(name: str, attacked: Found) -> None:
    assert attacked.records[name.replace("_", "-")][-1]["status"] == "done"


@pytest.mark.parametrize("name", IMPORTS)
def test_a_file_that_does_harm_while_it_is_imported_is_refused_by_name(
    name: str, tmp_path: Path, tiny: Path, invoke: Invoke
) -> None:
    path, before = method_file(tmp_path, "harmful", "AT_IMPORT", IMPORTS[name]), Path.cwd()
    tiny.write_text(tiny.read_text().replace('{ name = "dense" }', '{ name = "harmful" }'))
    ended = invoke("run", tiny, "--method-file", path)
    assert (ended.code, Path.cwd()) == (2, before)
    assert "method 'harmful' cannot be loaded" in ended.err
    assert "harmful.py" in ended.err
    tiny.write_text(tiny.read_text().replace('"harmful"', '"dense"'))  # the others can be used
    assert invoke("run", tiny, "--method-file", path, "--dry-run").code == 0
