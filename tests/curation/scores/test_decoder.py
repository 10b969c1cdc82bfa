"""The decoder's own forward pass: what transformers says, and no other models."""

from typing import Any

import numpy as np
import pytest

from curation.scores.causal import Queue
from curation.scores.decoder import states_of
from curation.scores.likelihood import mean_statistics

SHAPE = {
    "vocab_size": 211,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
}


def network(kind: str, **more: Any) -> Any:
    import torch
    import transformers

    torch.manual_seed(5)
    config = getattr(transformers, f"{kind}Config")(**{**SHAPE, "initializer_range": 0.3, **more})
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for weight in model.parameters():  # norms and biases that a fresh model leaves at 1 and 0
            if weight.ndim == 1:
                weight.add_(0.3 * torch.randn_like(weight))
    return model


@pytest.fixture(scope="module")
def queue() -> Queue:
    """Sequences of 2 to 300 tokens; of most, not all tokens are predicted."""
    rng = np.random.default_rng(3)
    lengths = [2, 3, 17, 18, 40, 61, 64, 65, 130, 300]
    scored = [1, 2, 16, 4, 39, 20, 1, 64, 77, 250]
    return Queue([rng.integers(0, 211, length).astype(np.int32) for length in lengths], np.array(scored))


def one_by_one(model: Any, queue: Queue) -> np.ndarray:
    """Loss, entropy, least confidence and margin by the whole model and torch's own functions."""
    import torch

    found = []
    for ids, scored in zip(queue.ids, queue.scored, strict=True):
        with torch.inference_mode():
            logits = model(input_ids=torch.from_numpy(ids.astype(np.int64))[None]).logits[0].double()
        log_p = logits[-scored - 1 : -1].log_softmax(-1)
        likeliest = log_p.exp().topk(2).values
        loss = -log_p[torch.arange(scored), torch.from_numpy(ids[-scored:].astype(np.int64))]
        entropy = -(log_p.exp() * log_p).sum(-1)
        columns = [loss, entropy, 1 - likeliest[:, 0], likeliest[:, 0] - likeliest[:, 1]]
        found.append(torch.stack(columns, -1).mean(0).numpy())
    return np.array(found)


MODELS = [
    ("Llama", {}),
    ("Llama", {"num_key_value_heads": 2, "tie_word_embeddings": True}),
    ("Llama", {"num_key_value_heads": 1, "attention_bias": True, "mlp_bias": True, "head_dim": 20}),
    ("Llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 500.0, "factor": 3.0}}),
    ("Qwen2", {"num_key_value_heads": 2, "tie_word_embeddings": True}),
    ("Qwen2", {"num_key_value_heads": 4}),
]


@pytest.mark.parametrize(("kind", "more"), MODELS)
def test_it_says_what_transformers_says(kind: str, more: dict[str, Any], queue: Queue) -> None:
    model = network(kind, **more)
    assert states_of(model) is not None
    expected = one_by_one(model, queue)
    found = mean_statistics(model, queue, 256, 1)
    np.testing.assert_allclose(found[:, 0], expected[:, 0], rtol=2e-6)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["Llama", "Qwen2"])
def test_bfloat16_is_within_half_a_percent(kind: str, queue: Queue) -> None:
    import torch

    model = network(kind, num_key_value_heads=2, initializer_range=0.1)
    expected = one_by_one(model, queue)
    model.to(torch.bfloat16)
    assert states_of(model) is not None
    found = mean_statistics(model, queue, 256, 1)
    several = queue.scored > 10
    np.testing.assert_allclose(found[several, 0], expected[several, 0], rtol=5e-3)
    # no further away than transformers' own bfloat16
    theirs = one_by_one(model, queue)
    assert np.abs(found - expected)[:, 0].mean() <= 1.2 * np.abs(theirs - expected)[:, 0].mean()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_neither_order_nor_threads_change_a_bit(dtype: str, queue: Queue) -> None:
    import torch

    model = network("Qwen2", num_key_value_heads=2).to(getattr(torch, dtype))
    expected = mean_statistics(model, queue, 150, 1)
    order = np.random.default_rng(1).permutation(len(queue.ids))
    shuffled = Queue([queue.ids[row] for row in order], queue.scored[order])
    np.testing.assert_array_equal(mean_statistics(model, shuffled, 150, 3), expected[order])


def test_weights_that_change_are_seen(queue: Queue) -> None:
    import torch

    model = network("Llama")
    before = mean_statistics(model, queue, 256, 1)
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight.mul_(2)
    after = mean_statistics(model, queue, 256, 1)
    np.testing.assert_allclose(after[:, 0], one_by_one(model, queue)[:, 0], rtol=2e-6)
    assert (np.abs(after - before)[:, 0] > 1e-4).all()


def with_a_hook(model: Any) -> Any:
    model.model.layers[0].mlp.register_forward_hook(lambda _module, _given, output: output * 2)
    return model


def with_another_layer(model: Any) -> Any:
    import torch

    class Doubled(torch.nn.Linear):
        def forward(self, given: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(given)

    model.model.layers[0].self_attn.q_proj = Doubled(48, 48)
    return model


def with_another_norm(model: Any) -> Any:
    import torch

    model.model.norm.forward = lambda states: torch.nn.functional.layer_norm(states, (48,))
    return model


OTHERS = {
    "another kind": lambda: network("Mistral", num_key_value_heads=4),
    "GPT-2": lambda: network("GPT2", n_layer=2, n_head=4, n_embd=48),
    "another activation": lambda: network("Llama", hidden_act="gelu"),
    "a window": lambda: network(
        "Qwen2", num_key_value_heads=4, use_sliding_window=True, sliding_window=8, max_window_layers=1
    ),
    "turns that depend on the length": lambda: network(
        "Llama",
        max_position_embeddings=512,
        rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0},
    ),
    "no layers": lambda: network("Llama", num_hidden_layers=0),
    "a hook": lambda: with_a_hook(network("Llama")),
    "another layer": lambda: with_another_layer(network("Llama")),
    "another norm": lambda: with_another_norm(network("Llama")),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_models_are_run_by_transformers(name: str, queue: Queue) -> None:
    model = OTHERS[name]()
    assert states_of(model) is None
    found = mean_statistics(model, queue, 256, 1)
    np.testing.assert_allclose(found[:, 0], one_by_one(model, queue)[:, 0], rtol=5e-6)
