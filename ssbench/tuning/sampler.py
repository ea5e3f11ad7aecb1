"""Propose the next trial with Optuna's tree-structured Parzen estimator (Bergstra et al. 2011)."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ssbench.errors import BadInputError
from ssbench.method.search_space import Choice, LogUniform, Search, Space, Uniform, Value
from ssbench.paths import install

if TYPE_CHECKING:
    from types import ModuleType

STARTUP = 5
"""Random trials before the estimator takes over."""
History = Sequence[tuple[dict[str, Value], float]]
"""The values of each trial and their error; lower is better."""


def propose(space: Space, history: History, seed: int) -> dict[str, Value]:
    """Choose the values of the next trial.

    They depend on the arguments alone: the sampler keeps no state, and a process that continues for
    a killed one proposes the same values. In a finite space, every combination is tried once, in
    random order, before any is repeated.

    Args:
        space: the hyper-parameters and their values.
        history: the trials so far. Those with values outside the space are ignored.
        seed: any integer.

    Returns:
        The values; numbers with three significant digits, so that they can be typed.

    Raises:
        BadInputError: Optuna is not installed.
    """
    untried = _untried(space, history)
    if untried:
        return random.Random(seed).choice(untried)  # noqa: S311 -- no secret
    optuna = library()
    distributions = {name: _distribution(optuna, search) for name, search in space.items()}
    sampler = optuna.samplers.TPESampler(
        seed=seed % 2**32, n_startup_trials=STARTUP, multivariate=True
    )
    study = optuna.create_study(direction="minimize", sampler=sampler)
    study.add_trials(
        [
            optuna.trial.create_trial(params=tried, distributions=distributions, value=error)
            for tried, error in history
            if all(tried[name] in search for name, search in space.items())
        ]
    )
    asked = study.ask(distributions).params
    return {name: _rounded(asked[name], search) for name, search in space.items()}


def _untried(space: Space, history: History) -> list[dict[str, Value]]:
    """Return all untried combinations; an empty list if the space is infinite."""
    lists = [search.values for search in space.values() if isinstance(search, Choice)]
    if len(lists) < len(space):
        return []
    tried = [parameters for parameters, _ in history]
    every = (dict(zip(space, values, strict=True)) for values in itertools.product(*lists))
    return [parameters for parameters in every if parameters not in tried]


def library() -> ModuleType:
    """Import Optuna and set it to print warnings only.

    Raises:
        BadInputError: it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise BadInputError(f"tune: {error}; {install('tune')}") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    module: ModuleType = optuna
    return module


def _distribution(optuna: ModuleType, search: Search) -> Any:
    if isinstance(search, Choice):
        return optuna.distributions.CategoricalDistribution(search.values)
    assert isinstance(search, Uniform)  # ssbench.method.search_space has no other
    log = isinstance(search, LogUniform)
    return optuna.distributions.FloatDistribution(search.low, search.high, log=log)


def _rounded(value: Value, search: Search) -> Value:
    if not isinstance(search, Uniform):
        return value
    return min(max(float(f"{value:.3g}"), float(search.low)), float(search.high))
