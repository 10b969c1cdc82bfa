"""The forward pass of decoders of Llama's shape, on a CPU, for scoring alone.

Belongs here: which models have that shape, and their last hidden states without what scoring does not
need: no padding, no last token, in the last layer nothing but keys and values where nothing is predicted.
Does not belong here: logits (`causal`), other models, which transformers runs itself.

The rows of a batch go through the products with the weights a strip at a time, so that the activations
stay in the processor's cache; the states that layers add to are kept in 32 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from curation.scores.causal import Ids, Rows, hidden_states

if TYPE_CHECKING:
    import torch

#: Last hidden states (predicted tokens of all sequences, width) of sequences and how many of the last
#: tokens of each are predicted.
States = Callable[[Sequence[Ids], Rows], "torch.Tensor"]

#: Rows that go through a layer at once: enough for the products to be fast, few enough for the cache.
_STRIP = 256
#: Kinds of rotary embedding that do not depend on the length of a sequence.
_ROTARY = ("default", "linear", "llama3", "yarn")
_agreed: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


def states_of(model: Any) -> States | None:
    """The forward pass of a model of Llama's shape on a CPU; None where transformers must run it.

    The first time it is tried out beside the model's own.
    """
    if not _has_the_shape(model):
        return None
    if model not in _agreed:
        _agreed[model] = _agrees(model)
    return (lambda ids, scored: _states(model, ids, scored)) if _agreed[model] else None


def _has_the_shape(model: Any) -> bool:
    """Whether it is Llama or Qwen2 as transformers has them, with nothing put between."""
    import torch
    from transformers import LlamaForCausalLM, Qwen2ForCausalLM

    if type(model) not in (LlamaForCausalLM, Qwen2ForCausalLM) or not model.config.num_hidden_layers:
        return False
    config, rotary = model.config, model.model.rotary_emb
    products = [
        product
        for layer in model.model.layers
        for product in (
            *layer.self_attn.children(),
            layer.mlp.gate_proj,
            layer.mlp.up_proj,
            layer.mlp.down_proj,
        )
    ]
    return (
        model.device.type == "cpu"
        and {weight.dtype for weight in model.parameters()} in ({torch.float32}, {torch.bfloat16})
        and all(type(product) is torch.nn.Linear for product in products)
        and not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
        and config.hidden_act == "silu"
        and set(getattr(config, "layer_types", None) or ["full_attention"]) == {"full_attention"}
        and rotary.rope_type in _ROTARY
    )


def _agrees(model: Any) -> bool:
    import torch

    ids = np.arange(1, 25, dtype=np.int32) % model.config.vocab_size
    with torch.inference_mode():
        matrix, places = torch.from_numpy(ids.astype(np.int64))[None], torch.arange(17, 23)
        expected = hidden_states(model, matrix, places).float()
        found = _states(model, [ids[:3], ids], np.array([2, 6]))[2:].float()
    tolerance = 1e-4 if model.dtype == torch.float32 else 5e-2
    return bool((found - expected).norm() <= tolerance * expected.norm())


def _states(model: Any, ids: Sequence[Ids], scored: Rows) -> torch.Tensor:
    import torch

    from curation.scores.decoder_kernels import add_and_norm, attend, gate

    network, layers = model.model, model.model.layers
    lengths = np.array([len(row) - 1 for row in ids])
    ends = np.cumsum(lengths)
    # a position predicts the token after it: once the last token is gone, those that do are the last
    predicts = [np.arange(end - some, end) for end, some in zip(ends, scored, strict=True)]
    predict = torch.from_numpy(np.concatenate(predicts))
    tokens = torch.from_numpy(np.concatenate([row[:-1] for row in ids]).astype(np.int64))
    states = torch.nn.functional.embedding(tokens, network.embed_tokens.weight).float()
    cos, sin = network.rotary_emb(states[:1], torch.arange(int(lengths.max()))[None])
    turns = [turn[0].contiguous().numpy() for turn in (cos, sin)]

    def room(rows: int, *products: Any) -> list[torch.Tensor]:
        return [torch.empty(rows, product.out_features, dtype=model.dtype) for product in products]

    attention, mlp = layers[0].self_attn, layers[0].mlp
    queries, keys, values = room(len(states), attention.q_proj, attention.k_proj, attention.v_proj)
    gates, ups, added, normed = room(_STRIP, mlp.gate_proj, mlp.up_proj, mlp.down_proj, mlp.down_proj)
    (found,) = room(len(predict), mlp.down_proj)

    def norm(part: slice, rows: int, norm: Any) -> torch.Tensor:
        """Add to the states of a strip what a product has left in `added`, and return their norm."""
        weight, out = norm.weight.float().numpy(), normed[:rows]
        add_and_norm(states[part].numpy(), _array(added[:rows]), weight, norm.variance_epsilon, _array(out))
        return out

    def look(part: slice, given: torch.Tensor, attention: Any) -> None:
        _multiply(given, attention.q_proj, queries[part])
        _multiply(given, attention.k_proj, keys[part])
        _multiply(given, attention.v_proj, values[part])

    added.zero_()
    for part, rows in _strips(len(states)):
        look(part, norm(part, rows, layers[0].input_layernorm), layers[0].self_attn)
    for layer, following in zip(layers, [*layers[1:], None], strict=True):
        attend(
            _array(queries), _array(keys), _array(values), ends, turns[0], turns[1], layer.self_attn.scaling
        )
        if following is None:
            states, queries = states[predict], queries[predict]
        for part, rows in _strips(len(states)):
            _multiply(queries[part], layer.self_attn.o_proj, added[:rows])
            given = norm(part, rows, layer.post_attention_layernorm)
            _multiply(given, layer.mlp.gate_proj, gates[:rows])
            _multiply(given, layer.mlp.up_proj, ups[:rows])
            gate(_array(gates[:rows]), _array(ups[:rows]))
            _multiply(gates[:rows], layer.mlp.down_proj, added[:rows])
            if following is None:
                found[part] = norm(part, rows, network.norm)
            else:
                look(part, norm(part, rows, following.input_layernorm), following.self_attn)
    return found


def _strips(rows: int) -> list[tuple[slice, int]]:
    """Slices of rows, and the rows of each."""
    starts = range(0, rows, _STRIP)
    return [(slice(start, start + _STRIP), min(_STRIP, rows - start)) for start in starts]


def _multiply(given: torch.Tensor, product: Any, found: torch.Tensor) -> None:
    """The product (rows, outputs) of a linear layer, written to `found`."""
    import torch

    weight = product.weight.t()
    if product.bias is None:
        torch.mm(given, weight, out=found)
    else:
        torch.addmm(product.bias, given, weight, out=found)


def _array(tensor: torch.Tensor) -> Any:
    """A tensor as the compiled loops take it: float32, or the bits of a bfloat16."""
    import torch

    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()
