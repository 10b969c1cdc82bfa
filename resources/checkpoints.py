"""Checkpoints of others: loading them safely, and where their numbers are computed.

Belongs here: what all models loaded through transformers have in common. Does not belong here: which
model it is and what it is for (`encoder`, `language_model`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from blake3 import blake3

from curation.errors import UserError

Precision = Literal["auto", "float32", "bfloat16"]


@contextmanager
def loading(what: str, where: str, allowed: str) -> Iterator[None]:
    """Turn whatever fails in the block into one line for the user.

    Raises
    ------
    UserError
        In place of any other error.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # files of others fail in any way, tokenizers even by a bare Exception
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[0] if lines else type(error).__name__
        raise UserError(f"cannot load {what}: {reason}", where=where, allowed=allowed) from error


def device() -> str:
    """`cuda` where there is a GPU, else `cpu`."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def dtype(precision: Precision, *, loaded: bool = True) -> Any:
    """The torch dtype that a precision means on this machine; a model trained here stays at 32 bits."""
    import torch

    if precision != "auto":
        return getattr(torch, precision)
    fast = loaded and (device() == "cuda" or multiplies_bfloat16())
    return torch.bfloat16 if fast else torch.float32


def multiplies_bfloat16() -> bool:
    """Whether the CPU has instructions that multiply bfloat16 numbers; without them these are slow."""
    import torch

    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16") or able.get("bf16"))


def version(place: str, model: Any) -> str:
    """What identifies the weights: the commit of a hub's repository, or a hash of a folder's files."""
    if commit := getattr(model.config, "_commit_hash", None):
        return str(commit)[:16]
    hasher = blake3()
    for file in sorted(Path(place).glob("*")):
        if file.suffix in {".safetensors", ".json", ".txt", ".model"}:
            hasher.update(file.name.encode())
            hasher.update_mmap(file)
    return hasher.hexdigest(length=8)
