"""Where a training stands, kept in a file: what a killed one goes on from.

Belongs here: writing such a file whole or not at all, and reading it if it is of the very training that
asks. Does not belong here: what a training must remember (`fitting`, `classifier`).
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def keep(file: Path | None, training: str, tensors: dict[str, torch.Tensor], about: dict[str, Any]) -> None:
    """Write tensors, and what else is to be remembered (JSON), in place of the file; nothing without one.

    `training` is a digest of all that decides how the training goes on.
    """
    from safetensors.torch import save_file

    if file is None:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}")
    whole = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    save_file(whole, temporary, {"training": training, "about": json.dumps(about)})
    os.replace(temporary, file)


def kept(file: Path | None, training: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
    """What `keep` wrote; None where there is no file, it is torn, or it is of another training."""
    from safetensors import SafetensorError, safe_open

    if file is None or not file.exists():
        return None
    try:
        with safe_open(file, "pt") as stored:
            about = stored.metadata()
            if about["training"] != training:
                return None
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (no mapping)
            return tensors, json.loads(about["about"])
    except (SafetensorError, KeyError, TypeError, ValueError, OSError):
        return None
