"""Hyper-parameters are chosen on validation, by equally many trials, and tables say so."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from ssbench.data.dataset import DataSet, Split
from ssbench.data.registry import open_dataset
from ssbench.executors import session
from ssbench.experiment.plan import plan
from ssbench.experiment.spec import load
from ssbench.method.registry import discover
from ssbench.method.search_space import Choice, LogUniform, Uniform, identity
from ssbench.tuning.sampler import propose
from tests.support.command_line import Invoke

REGISTRY = discover()
SMALL = """
dataset = "digits"
models = ["vgg6"]
seeds = [0]
budget = { kept = [0.5, 0.3], protection = 0.0 }
train = { epochs = 1, lr = 0.05, schedule = "one-cycle" }
finetune = { epochs = 1, lr = 0.02, schedule = "one-cycle" }
"""
GRID = SMALL.replace("lr = 0.02", "lr = 1e-6") + "tune = { finetune_lr = [1e-6, 0.03] }\n"
PICKY = '''
"""Fails where it is told to."""
from dataclasses import dataclass
from ssbench.method import Choice, Method, prunable_weights

@dataclass(frozen=True, kw_only=True)
class Picky(Method):
    """Fail, or prune by magnitude."""
    grain = "weight"
    search = {"how": Choice(("raise", "refuse", "work"))}
    how: str = "raise"

    def __post_init__(self):
        if self.how == "refuse":
            raise ValueError("how must not be refuse")

    def scores(self, model):
        if self.how == "raise":
            raise RuntimeError("cannot score")
        return {name: weight.abs() for name, weight in prunable_weights(model).items()}
'''


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def trials(results: Path) -> dict[str, list[dict[str, Any]]]:
    """What was tried, by method; with what the clock has a part in left out."""
    found = {}
    for path in sorted((results / "tuning" / "trials").glob("*.jsonl")):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        found[lines[0]["method"]] = [
            {key: value for key, value in line.items() if key not in ("seconds", "time")}
            for line in lines
        ]
    return found


def tuned(results: Path) -> dict[str, Any]:
    outcome: dict[str, Any] = json.loads((results / "tuning" / "tuned.json").read_text())
    return outcome


# Choosing


def test_the_better_learning_rate_is_found_for_every_method(tmp_path: Path, invoke: Invoke) -> None:
    text = GRID + 'methods = [{ name = "dense" }, { name = "magnitude" }, { name = "snip" }]'
    path = write(tmp_path / "rates.toml", text)
    ended = invoke("tune", path, "--trials", 3)
    assert ended.code == 0, ended.err
    assert "nothing to tune, no trials: snip" in ended.out  # it is not finetuned
    assert "trial 2 of 3: finetune_lr=0.03: validation error" in ended.err
    assert "test" not in ended.err
    found = trials(Path("results/rates"))
    assert {method: len(made) for method, made in found.items()} == {"dense": 3, "magnitude": 3}
    for made in found.values():
        # The experiment's own first, then what was not tried yet, then again at no cost.
        assert [trial["parameters"]["finetune_lr"] for trial in made[:2]] == [1e-6, 0.03]
        assert made[1]["value"] < made[0]["value"]
        assert made[2]["value"] in (made[0]["value"], made[1]["value"])
        assert {run["seed"] for trial in made for run in trial["runs"]} == {1000}
    assert [run["budget_asked"] for run in found["magnitude"][0]["runs"]] == [0.5, 0.3]
    errors = [run["validation_top1_error"] for run in found["magnitude"][0]["runs"]]
    assert found["magnitude"][0]["value"] == pytest.approx(sum(errors) / 2)
    outcome = tuned(Path("results/rates"))
    assert outcome["trials"] == 3
    assert {entry["distinct"] for entry in outcome["methods"]} == {2}
    assert [(e["parameters"], e["trial"]) for e in outcome["methods"]] == [
        ({"finetune_lr": 0.03}, 2),
        ({"finetune_lr": 0.03}, 2),
    ]
    # The dense network and the plain training: nothing else is trained twice.
    assert len(list(Path("results/.cache/stages").iterdir())) == 1 + 2 + 2 + 2 * 2


def test_the_better_lambda_is_found(tmp_path: Path, invoke: Invoke) -> None:
    source = REGISTRY.methods["synaptic-strength"].path.read_text()
    assert "LogUniform(1e-5, 1e-1)" in source
    source = source.replace("LogUniform(1e-5, 1e-1)", "Choice((1e-5, 3e-2))")
    write(tmp_path / "mine.py", source.replace("LogUniform", "Choice"))
    text = SMALL.replace("epochs = 1, lr = 0.05", "epochs = 4, lr = 0.05")
    text = text.replace("[0.5, 0.3]", "[0.05]") + 'methods = [{ name = "mine", lambda = 1e-5 }]'
    path = write(tmp_path / "lambda.toml", text)
    ended = invoke("tune", path, "--trials", 2, "--method-file", tmp_path / "mine.py")
    assert ended.code == 0, ended.err
    bad, good = trials(Path("results/lambda"))["mine"]
    assert (bad["settings"], good["settings"]) == ({"lambda": 1e-5}, {"lambda": 3e-2})
    assert good["value"] < bad["value"] - 10  # 30 of the 297 images
    assert tuned(Path("results/lambda"))["methods"][0]["parameters"] == {"lambda": 3e-2}


@pytest.mark.slow
def test_the_test_split_has_no_influence(
    tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = SMALL.replace("[0.5, 0.3]", "[0.3]")
    text += 'methods = [{ name = "synaptic-strength" }, { name = "network-slimming" }]'
    path = write(tmp_path / "same.toml", text)
    assert invoke("tune", path, "--trials", 3, "--results", "true").code == 0

    def corrupted(*arguments: Any) -> DataSet:
        real = open_dataset(*arguments)
        assert isinstance(real.test, Split)
        wrong = Split(real.test.images, (real.test.labels + 1) % 10)
        return DataSet(real.name, real.classes, real.train, real.validation, wrong, real.standard)

    monkeypatch.setattr(session, "open_dataset", corrupted)
    assert invoke("tune", path, "--trials", 3, "--results", "false").code == 0
    true, false = Path("true/same"), Path("false/same")

    def of_choice(results: Path) -> list[Any]:
        found = trials(results)
        return [(t["parameters"], t["value"]) for made in found.values() for t in made]

    def of_test(results: Path) -> list[float]:
        paths = sorted((results / "tuning" / "runs").glob("*.jsonl"))
        lines = [path.read_text().splitlines()[-1] for path in paths]
        return sorted(json.loads(line)["test_top1_error"] for line in lines)

    assert of_test(true) != of_test(false)
    assert of_choice(true) == of_choice(false)
    assert tuned(true) == tuned(false)


# Stored, resumed


@pytest.mark.slow
def test_more_trials_go_on_and_as_many_do_nothing(tmp_path: Path, invoke: Invoke) -> None:
    text = SMALL.replace("[0.5, 0.3]", "[0.5]") + 'methods = [{ name = "network-slimming" }]'
    path = write(tmp_path / "more.toml", text)
    at_once, bit_by_bit = Path("a/more"), Path("b/more")
    assert invoke("tune", path, "--trials", 6, "--results", "a", "--quiet").code == 0
    assert invoke("tune", path, "--trials", 2, "--results", "b", "--quiet").code == 0
    two = (bit_by_bit / "tuning/tuned.json").read_bytes()
    assert invoke("tune", path, "--trials", 6, "--results", "b", "--quiet").code == 0
    assert trials(at_once) == trials(bit_by_bit)
    assert tuned(at_once) == tuned(bit_by_bit)
    made = trials(at_once)["network-slimming"]
    assert len({trial["parameters"]["lambda"] for trial in made}) == 6
    assert made[0]["parameters"] == {"lambda": 1e-4}

    before = {p: p.stat().st_mtime_ns for p in (bit_by_bit / "tuning").glob("*s/*")}
    again = invoke("tune", path, "--trials", 6, "--results", "b")
    assert again.code == 0
    assert "nothing to do: every method has its 6 trials" in again.out
    assert "trial" not in again.err
    assert {p: p.stat().st_mtime_ns for p in (bit_by_bit / "tuning").glob("*s/*")} == before
    assert invoke("tune", path, "--trials", 2, "--results", "b", "--quiet").code == 0
    assert (bit_by_bit / "tuning/tuned.json").read_bytes() == two


@pytest.mark.slow
@pytest.mark.exhaustive
def test_killed_in_the_middle_of_trials_the_choice_is_the_same(tmp_path: Path) -> None:
    text = SMALL + 'methods = [{ name = "synaptic-strength" }, { name = "network-slimming" }]'
    text = text.replace("epochs = 1, lr = 0.05", "epochs = 2, lr = 0.05")
    command = [sys.executable, "-m", "ssbench", "tune", "kill.toml", "--trials", "3", "--quiet"]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
        write(folder / "kill.toml", text)
    subprocess.run(command, cwd=whole, check=True)

    def stages() -> int:
        return len(list((broken / "results/.cache/stages").glob("[!u]*")))

    inside = 0
    for wait in (0.05, 0.3, 0.1):
        began, deadline = stages(), time.monotonic() + 60
        process = subprocess.Popen(command, cwd=broken)
        while process.poll() is None and stages() < began + 3:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        time.sleep(wait)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
        made = sum(len(found) for found in trials(broken / "results/kill").values())
        inside += stages() > 5 * made  # a trial has five stages: one of them was under way
        assert not (broken / "results/kill/tuning/tuned.json").exists()
    assert inside
    subprocess.run(command, cwd=broken, check=True)
    assert {m: len(t) for m, t in trials(broken / "results/kill").items()} == {
        "network-slimming": 3, "synaptic-strength": 3,
    }  # fmt: skip
    assert trials(broken / "results/kill") == trials(whole / "results/kill")
    outcomes = [folder / "results/kill/tuning/tuned.json" for folder in (whole, broken)]
    assert outcomes[0].read_bytes() == outcomes[1].read_bytes()


def test_a_failed_trial_is_kept_with_its_reason_and_the_study_goes_on(
    tmp_path: Path, invoke: Invoke
) -> None:
    write(tmp_path / "picky.py", PICKY)
    path = write(tmp_path / "fails.toml", SMALL + 'methods = [{ name = "picky" }]')
    arguments = ("--method-file", tmp_path / "picky.py")
    ended = invoke("tune", path, "--trials", 3, *arguments)
    assert ended.code == 0, ended.err
    made = {t["parameters"]["how"]: t for t in trials(Path("results/fails"))["picky"]}
    assert {how: t["state"] for how, t in made.items()} == {
        "raise": "failed", "refuse": "failed", "work": "done",
    }  # fmt: skip
    assert "RuntimeError: cannot score (picky.py, line" in made["raise"]["reason"]
    assert "how must not be refuse" in made["refuse"]["reason"]
    assert made["raise"]["value"] is None
    (entry,) = tuned(Path("results/fails"))["methods"]
    assert (entry["failed"], entry["parameters"]) == (2, {"how": "work"})
    assert entry["first_validation_top1_error"] is None

    path = write(tmp_path / "all-fail.toml", SMALL + 'methods = [{ name = "picky" }]')
    ended = invoke("tune", path, "--trials", 1, *arguments)
    assert ended.code == 1
    assert "failed: picky on vgg6: prune: RuntimeError: cannot score" in ended.err
    assert not Path("results/all-fail/tuning/tuned.json").exists()


# Used, and stated


@pytest.mark.slow
def test_a_run_uses_what_was_chosen_and_the_report_says_so(tmp_path: Path, invoke: Invoke) -> None:
    methods = 'methods = [{ name = "magnitude" }, { name = "snip" }, { name = "l0" }]'
    path = write(tmp_path / "used.toml", GRID + methods)
    assert invoke("tune", path, "--trials", 3, "--quiet").code == 0
    file = "results/used/tuning/tuned.json"
    chosen = {
        entry["label"]: entry["parameters"] for entry in tuned(Path("results/used"))["methods"]
    }
    ended = invoke("run", path, "--tuned", file)
    assert ended.code == 0, ended.err
    assert "magnitude (weight): learning rate of the finetuning (1e-06 or 0.03) chosen" in (
        " ".join(ended.out.split())
    )
    folder = Path("results/used")
    records = [json.loads(p.read_text().splitlines()[-1]) for p in folder.glob("*.jsonl")]
    by_method = {record["method"]: record for record in records}
    assert by_method["magnitude"]["lr"] == chosen["magnitude (weight)"]["finetune_lr"] == 0.03
    assert by_method["l0"]["settings"]["lambda"] == chosen["l0"]["lambda"]
    assert by_method["snip"]["tuning"] is None
    said = by_method["l0"]["tuning"]
    assert (said["trials"], said["failed"], said["seeds"]) == (3, 0, [1000])
    assert said["chosen"] == chosen["l0"]
    assert said["space"]["lambda"] == "0.0001 to 0.1, logarithmic"
    page = (folder / "report.html").read_text()
    caption = "chosen on validation error by 3 trials (seed 1000, mean over 2 budgets"
    for end in (")", ", 2 of them different)"):  # l0, and the grid of two learning rates
        assert page.count(caption + end) >= 2  # in the head and in the caption
    assert "Not tuned: snip (weight)." in page
    assert "magnitude (weight): finetune_lr=0.03" in page

    # A folder holds tuned or untuned records, never both.
    mixed = invoke("run", path)
    assert mixed.code == 2
    assert "tuned: " in mixed.err
    assert "another --set name=" in mixed.err
    assert invoke("run", path, "--set", "name=plain", "--quiet").code == 0
    assert "not tuned; the experiment sets them" in Path("results/plain/report.html").read_text()
    assert invoke("run", path, "--set", "name=plain", "--tuned", file).code == 2


def test_what_was_chosen_fits_one_experiment_only(tmp_path: Path, invoke: Invoke) -> None:
    path = write(tmp_path / "one.toml", GRID + 'methods = [{ name = "magnitude" }]')
    assert invoke("tune", path, "--trials", 1, "--seeds", 7, "--seeds", 8, "--quiet").code == 0
    file = Path("results/one/tuning/tuned.json")
    assert tuned(Path("results/one"))["seeds"] == [7, 8]
    for override, words in (
        ("train.epochs=2", "train.epochs: 1 there, 2 here"),
        ("seeds=[0, 8]", "seeds: 8 was used for tuning"),
        ("tune.finetune_lr=[1e-6, 1.0]", "holds no magnitude (weight) on vgg6 with the space"),
        ("methods.magnitude.grain=filter", "holds no magnitude (filter) on vgg6"),
    ):
        ended = invoke("run", path, "--tuned", file, "--set", override)
        assert ended.code == 2
        assert words in ended.err
    content = file.read_text()
    assert '"finetune_lr": 1e-6' in content
    for text, words in (
        ("nonsense", "not an outcome of ssbench tune (the file: "),
        (content.replace('"trials": 1', '"trials": "many"', 1), "(trials: "),
        (content.replace('"finetune_lr": 1e-6', '"finetune_lr": "fast"'), "a number over 0"),
        (content.replace('"finetune_lr": 1e-6', '"rate": 1e-6'), "holds no magnitude (weight)"),
    ):
        ended = invoke("run", path, "--tuned", write(tmp_path / "wrong.json", text))
        assert ended.code == 2
        assert words in ended.err
        assert "Traceback" not in ended.err
    ended = invoke("run", path, "--tuned", "nowhere.json")
    assert ended.code == 2
    assert "--tuned nowhere.json: cannot be read" in ended.err


# Asked wrongly


def test_a_dry_run_says_what_it_would_do(tmp_path: Path, invoke: Invoke) -> None:
    text = SMALL + 'methods = [{ name = "magnitude" }, { name = "synaptic-strength" }]'
    path = write(tmp_path / "dry.toml", text)
    ended = invoke("tune", path, "--trials", 5, "--dry-run")
    assert ended.code == 0, ended.err
    assert "lambda: 1e-05 to 0.1, logarithmic" in ended.out
    assert "5 of 5" in ended.out
    assert "nothing to tune, no trials: magnitude (weight) on vgg6" in ended.out
    # Five trainings, each with two prunings and finetunings; two epochs for every run but sharing.
    assert "to do: 25 stages, 15 epochs" in ended.out
    assert not Path("results").exists()
    assert invoke("tune", path, "--trials", 2, "--quiet").code == 0
    assert "to do: 15 stages, 9 epochs" in invoke("tune", path, "--trials", 5, "--dry-run").out


WRONG = {
    "no trials": ('methods = [{ name = "l0" }]', ("--trials", 0), "--trials 0: make at least 1"),
    "a seed of the results": ('methods = [{ name = "l0" }]', ("--seeds", 0),
                              "--seeds: 0 is a seed of the experiment's results"),
    "a seed twice": ('methods = [{ name = "l0" }]', ("--seeds", 5, "--seeds", 5), "each once"),
    "nothing": ('methods = [{ name = "magnitude" }]', (), "nothing to tune"),
    "a sweep": ('methods = [{ name = "l0", lambda = [1e-3, 1e-2] }]', (),
                "methods.0 (l0): several values of what tuning chooses (lambda, gate_lr); "),
    "a grid without the experiment's": ('methods = [{ name = "dense" }]',
                                        ("--set", "tune.finetune_lr=[0.1, 0.2]"),
                                        "tune.finetune_lr: 0.02, which methods.0 (dense) has"),
    "a grid of one": ('methods = [{ name = "dense" }]', ("--set", "tune.finetune_lr=[0.02]"),
                      "tune.finetune_lr: name at least two learning rates"),
    "an unknown key": ('methods = [{ name = "dense" }]', ("--set", "tune.seed=[1]"),
                       "tune.seed: unknown key; did you mean 'seeds'"),
    "a budget out of reach": ('methods = [{ name = "connection-lasso", budget.kept = 1e-5 }]', (),
                              "is out of reach"),
    "a rate without effect": ('methods = [{ name = "snip", finetune_lr = 0.1 }]', (),
                              "methods.0.finetune_lr: snip prunes before training"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_bad_input_is_refused_with_place_and_remedy(
    case: str, tmp_path: Path, invoke: Invoke
) -> None:
    methods, arguments, words = WRONG[case]
    ended = invoke("tune", write(tmp_path / "wrong.toml", SMALL + methods), *arguments)
    assert ended.code == 2
    assert words in ended.err
    assert "Traceback" not in ended.err
    assert not Path("results").exists()


def test_without_optuna_one_message_says_what_to_install(
    tmp_path: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    path = write(tmp_path / "bare.toml", SMALL + 'methods = [{ name = "l0" }]')
    ended = invoke("tune", path, "--trials", 1)
    assert ended.code == 2
    assert "; uv sync --extra tune" in ended.err
    assert not Path("results").exists()


def test_a_damaged_trial_is_refused(tmp_path: Path, invoke: Invoke) -> None:
    text = GRID + 'methods = [{ name = "dense" }]'
    path = write(tmp_path / "torn.toml", text)
    assert invoke("tune", path, "--trials", 1, "--quiet").code == 0
    (log,) = Path("results/torn/tuning/trials").glob("*.jsonl")
    log.write_text(log.read_text() + "{}\n")
    ended = invoke("tune", path, "--trials", 2)
    assert ended.code == 2
    assert f"{log}, line 2: not a trial" in ended.err


def test_a_search_of_no_hyper_parameter_is_found_when_the_file_is_read(
    tmp_path: Path, invoke: Invoke
) -> None:
    write(tmp_path / "picky.py", PICKY.replace('{"how":', '{"who":'))
    ended = invoke("list", "methods", "--method-file", tmp_path / "picky.py")
    assert ended.code == 2
    assert "search names 'who', which is no hyper-parameter" in " ".join(ended.out.split())


# Parts


@pytest.mark.parametrize("name", REGISTRY.methods)
def test_a_method_takes_all_that_its_search_offers(name: str) -> None:
    file = REGISTRY.methods[name]
    fields = {key.rstrip("_"): key for key in file.cls.__dataclass_fields__}
    defaults = file.cls().settings
    for at in (0.0, 0.5, 1 - 1e-9):
        values = {key: search.at(at) for key, search in file.cls.search.items()}
        assert all(value in file.cls.search[key] for key, value in values.items())
        file.cls(**{fields[key]: value for key, value in values.items()})
    assert all(defaults[key] in search for key, search in file.cls.search.items())


def test_spaces_say_what_they_hold() -> None:
    assert LogUniform(1e-4, 1.0).at(0.25) == pytest.approx(1e-3)
    assert Uniform(2.0, 4.0).at(0.75) == 3.5
    assert [Choice((1, 2, 3)).at(u) for u in (0.0, 0.34, 0.99)] == [1, 2, 3]
    assert 0.5 in Uniform(0.0, 1.0)
    assert 1.5 not in Uniform(0.0, 1.0)
    assert "0.5" not in Uniform(0.0, 1.0)
    assert str(Choice((0.1, 0.5, 2.0))) == "0.1, 0.5 or 2"
    assert identity({"a": Uniform(0.0, 1.0)}) != identity({"a": LogUniform(0.1, 1.0)})
    for wrong in (lambda: Uniform(1.0, 1.0), lambda: LogUniform(0.0, 1.0), lambda: Choice((1,)),
                  lambda: Choice((1, 1)), lambda: Uniform(0.0, float("inf"))):  # fmt: skip
        with pytest.raises(ValueError, match=r"low must|at least two"):
            wrong()


def test_proposals_depend_on_history_and_seed_alone_and_close_in() -> None:
    space = {"x": LogUniform(1e-5, 1e-1)}
    history: list[tuple[dict[str, Any], float]] = [({"x": 5.0}, 0.0)]  # outside: teaches nothing
    for number in range(40):
        torch.manual_seed(number)
        values = propose(space, history, number)
        assert values == propose(space, history, number)
        assert values["x"] in space["x"]
        assert float(f"{values['x']:.3g}") == values["x"]
        history.append((values, abs(float(torch.tensor(values["x"]).log10()) + 3)))
    late = sorted(error for _, error in history[-20:])
    assert late[10] < 0.5  # the median of draws at random: 1


def test_a_finite_space_is_tried_out_before_anything_is_tried_again() -> None:
    space = {"a": Choice((1, 2, 3)), "b": Choice(("x", "y"))}
    history: list[tuple[dict[str, Any], float]] = []
    for number in range(8):
        history.append((propose(space, history, number), 1.0))
    tried = [tuple(values.values()) for values, _ in history]
    assert len(set(tried[:6])) == 6


def test_a_methods_own_finetuning_rate_changes_its_finetuning_alone(tmp_path: Path) -> None:
    text = SMALL.replace("[0.5, 0.3]", "[0.5]")
    path = write(tmp_path / "own.toml", text + 'methods = [{ name = "magnitude" }]')
    (before,) = plan(load(path), REGISTRY, "data", "own.toml")
    both = '[{ name = "magnitude" }, { name = "magnitude", finetune_lr = 0.3 }]'
    path = write(tmp_path / "own.toml", text + f"methods = {both}")
    same, other = plan(load(path), REGISTRY, "data", "own.toml")
    assert same.stage.id == before.stage.id
    assert [a.id == b.id for a, b in zip(same.stages, other.stages, strict=True)] == [
        True, True, False,
    ]  # fmt: skip
    assert other.stage.recipe
    assert other.stage.recipe.lr == 0.3
    assert (same.label, other.label) == (
        "magnitude (weight)",
        "magnitude (weight, finetune_lr=0.3)",
    )
