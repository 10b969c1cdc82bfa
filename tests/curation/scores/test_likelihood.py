"""What is read off logits: the compiled loop agrees with torch."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from curation.scores.likelihood import _by_kernel, _by_torch


def head(logits: np.ndarray) -> tuple[Any, Any]:
    """A model that is nothing but a head, and the hidden states of which it makes these logits."""
    import torch
    from transformers import PretrainedConfig

    product = torch.nn.Linear(*logits.shape, bias=False)
    product.weight.data = torch.from_numpy(logits.T.copy())
    config = PretrainedConfig(vocab_size=logits.shape[1])
    return SimpleNamespace(get_output_embeddings=lambda: product, config=config), torch.eye(len(logits))


def by_kernel(logits: np.ndarray, targets: Any, dtype: str = "float32") -> np.ndarray:
    """By the product and the loop in one in 32 bits, or one after the other in bfloat16."""
    import torch

    model, hidden = head(logits)
    model.get_output_embeddings().to(getattr(torch, dtype))
    with torch.inference_mode():
        return _by_kernel(model, hidden.to(getattr(torch, dtype)), targets)


@given(
    arrays(
        np.float32, st.tuples(st.integers(1, 4), st.integers(2, 200)), elements=st.floats(-60, 60, width=32)
    )
)
@settings(deadline=None, max_examples=60)
def test_the_compiled_loop_says_what_torch_says(logits: np.ndarray) -> None:
    import torch

    targets = torch.arange(len(logits)) % logits.shape[1]
    np.testing.assert_allclose(
        by_kernel(logits, targets),
        _by_torch(torch.from_numpy(logits).double(), targets),
        atol=5e-5,
        rtol=1e-5,
    )
    rounded = torch.from_numpy(logits).bfloat16()
    np.testing.assert_allclose(
        by_kernel(logits, targets, "bfloat16"), _by_torch(rounded.double(), targets), atol=5e-5, rtol=1e-5
    )


@pytest.mark.parametrize("positions", [1, 16, 700])
def test_many_positions_and_tokens_are_looked_at_in_parts(positions: int) -> None:
    import torch

    rng = np.random.default_rng(0)
    hidden, weight = (rng.normal(0, 0.4, size).astype(np.float32) for size in ((positions, 400), (5001, 400)))
    model, _ = head((weight @ np.eye(400, dtype=np.float32)).T)
    targets = torch.from_numpy(rng.integers(0, 5001, positions))
    logits = torch.from_numpy(hidden.astype(np.float64) @ weight.T.astype(np.float64))
    with torch.inference_mode():
        found = _by_kernel(model, torch.from_numpy(hidden), targets)
        np.testing.assert_allclose(found, _by_torch(logits, targets), rtol=1e-4, atol=2e-5)
        model.config.final_logit_softcapping = 5.0
        found = _by_kernel(model, torch.from_numpy(hidden), targets)
    np.testing.assert_allclose(found, _by_torch(5 * (logits / 5).tanh(), targets), rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("width", [2, 64, 65, 6001])
def test_a_tie_has_no_margin_and_a_flat_row_the_largest_entropy(width: int) -> None:
    import torch

    loss, entropy, least_confidence, margin = by_kernel(
        np.zeros((1, width), np.float32), torch.tensor([width - 1])
    )[0]
    assert loss == pytest.approx(np.log(width), rel=1e-5)
    assert entropy == pytest.approx(np.log(width), rel=1e-5)
    assert least_confidence == pytest.approx(1 - 1 / width, rel=1e-5)
    assert margin == 0
