"""The examples of kinds of training that are no plain classifier: sound as they stand, and found out with a fault planted."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import wellposed as wp

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "function", "verdict"),
    [
        ("vae", "problem", "ready"),
        ("diffusion", "problem", "ready"),
        ("contrastive", "problem", "ready"),
        ("policy_gradient", "problem", "ready"),
        ("gan", "generator", "ready"),
        (
            "gan",
            "discriminator",
            "not examined",
        ),  # one network is called twice, so its loss is of no one output
    ],
)
def test_an_example_is_sound(name: str, function: str, verdict: str) -> None:
    report = wp.check(getattr(example(name), function)())
    assert [f.code for f in report.findings if f.severity is not wp.Severity.NOTE] == []
    assert report.verdict == verdict


def summed_divergence(module: ModuleType) -> None:
    """Summed over the batch, while the reconstruction is averaged over everything."""

    def loss(outputs: tuple[Tensor, Tensor, Tensor], x: Tensor) -> Tensor:
        logits, mean, log_variance = outputs
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum()
        return F.binary_cross_entropy_with_logits(logits, x) + divergence

    module.negative_elbo = loss


def values_as_a_column(module: ModuleType) -> None:
    class Column(module.ActorCritic):
        def forward(self, states: Tensor) -> tuple[Tensor, Tensor]:
            logits, values = super().forward(states)
            return logits, values[:, None]

    module.ActorCritic = Column


def levelled_by_the_temperature(module: ModuleType) -> None:
    def loss(views: tuple[Tensor, Tensor], _: Tensor) -> Tensor:
        similarity = views[0] @ views[1].T * 0.07
        return F.cross_entropy(similarity, torch.arange(len(similarity)))

    module.info_nce = loss


def without_a_path(module: ModuleType) -> None:
    class Cut(module.Denoiser):
        def forward(self, x: Tensor, time: Tensor) -> Tensor:
            return super().forward(x, time).detach()

    module.Denoiser = Cut


@pytest.mark.parametrize(
    ("name", "spoil", "code"),
    [
        ("vae", summed_divergence, "WP510"),
        ("policy_gradient", values_as_a_column, "WP506"),
        ("contrastive", levelled_by_the_temperature, "WP503"),
        ("diffusion", without_a_path, "WP610"),
    ],
)
@pytest.mark.filterwarnings("ignore:Using a target size")
def test_a_fault_planted_in_an_example_is_found(name: str, spoil: Any, code: str) -> None:
    module = example(name)
    spoil(module)
    assert code in wp.check(module.problem()).codes


def test_a_generator_whose_steps_miss_it_is_found() -> None:
    problem = example("gan").generator()
    elsewhere = torch.optim.Adam(nn.Linear(2, 2).parameters())
    report = wp.check(wp.Problem(model=problem.model, train=problem.train, optimizer=elsewhere))
    assert report.codes[0] == "WP602"
