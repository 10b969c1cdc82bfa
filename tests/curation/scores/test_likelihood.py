"""What is read off logits: the compiled loop agrees with torch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from curation.scores.likelihood import _by_kernel, _by_torch


@given(
    arrays(
        np.float32, st.tuples(st.integers(1, 4), st.integers(2, 200)), elements=st.floats(-60, 60, width=32)
    )
)
@settings(deadline=None, max_examples=60)
def test_the_compiled_loop_says_what_torch_says(logits: np.ndarray) -> None:
    import torch

    given_logits, targets = torch.from_numpy(logits), torch.arange(len(logits)) % logits.shape[1]
    np.testing.assert_allclose(
        _by_kernel(given_logits, targets), _by_torch(given_logits.double(), targets), atol=5e-5, rtol=1e-5
    )


@pytest.mark.parametrize("width", [2, 64, 65, 6001])
def test_a_tie_has_no_margin_and_a_flat_row_the_largest_entropy(width: int) -> None:
    import torch

    loss, entropy, least_confidence, margin = _by_kernel(torch.zeros(1, width), torch.tensor([width - 1]))[0]
    assert loss == pytest.approx(np.log(width), rel=1e-5)
    assert entropy == pytest.approx(np.log(width), rel=1e-5)
    assert least_confidence == pytest.approx(1 - 1 / width, rel=1e-5)
    assert margin == 0
