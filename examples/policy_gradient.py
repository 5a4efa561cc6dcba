"""One batch of a policy gradient with a value head, on logged steps. ``wellposed check examples/policy_gradient.py:problem``."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import wellposed as wp


class ActorCritic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 64), nn.Tanh())
        self.policy, self.value = nn.Linear(64, 3), nn.Linear(64, 1)

    def forward(self, states: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.body(states)
        return self.policy(hidden), self.value(hidden).squeeze(-1)


def loss(outputs: tuple[Tensor, Tensor], logged: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    logits, values = outputs
    actions, advantages, returns = logged
    chances = torch.distributions.Categorical(logits=logits)
    actor = -(chances.log_prob(actions) * advantages).mean()
    return actor + 0.5 * F.mse_loss(values, returns) - 0.01 * chances.entropy().mean()


def problem() -> wp.Problem:
    torch.manual_seed(0)
    states = torch.randn(2000, 6)
    actions = torch.randint(3, (2000,))
    returns = (actions == states[:, :3].argmax(1)).float() + 0.1 * torch.randn(2000)
    advantages = (returns - returns.mean()) / returns.std()
    model = ActorCritic()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return wp.Problem(
        model=model,
        loss=loss,
        train=(states, (actions, advantages, returns)),
        optimizer=optimizer,
        name="policy gradient",
    )
