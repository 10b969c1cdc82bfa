"""Perplexity and instruction-following difficulty (IFD), from losses that were measured before.

Belongs here: the arithmetic, and nothing but it. Does not belong here: measuring the losses
(`language_model`) or deciding what is too difficult (the stage that judges scores).
"""

from __future__ import annotations

import polars as pl

#: A loss below this (nats a token) is nought: nothing can be divided by it.
_NOUGHT = 1e-9


def perplexity(loss: pl.Expr) -> pl.Expr:
    """Perplexity of a mean negative log-likelihood in nats a token: exp(loss)."""
    return loss.exp()


def ifd(loss_conditional: pl.Expr, loss_alone: pl.Expr) -> pl.Expr:
    """IFD as a ratio of losses: mean NLL of the answer given its prompt, over that of the answer alone.

    Below 1 the prompt helps to predict the answer, the less the harder it is to follow; from 1 on it
    does not help at all. Null where the answer alone costs nothing.

    References
    ----------
    Li et al., From Quantity to Quality, NAACL 2024 (arXiv 2308.12032).
    """
    return pl.when(loss_alone > _NOUGHT).then(loss_conditional / loss_alone)


def ifd_ppl(loss_conditional: pl.Expr, loss_alone: pl.Expr) -> pl.Expr:
    """IFD as a ratio of perplexities: exp(loss_conditional - loss_alone). It ranks differently from `ifd`.

    References
    ----------
    Li et al., Superfiltering, ACL 2024 (arXiv 2402.00530).
    """
    return (loss_conditional - loss_alone).exp()


def with_difficulty(losses: pl.DataFrame) -> pl.DataFrame:
    """Add `ppl`, `ifd` and `ifd_ppl` to a frame with `loss_conditional` and `loss_alone`; null stays null."""
    conditional, alone = pl.col("loss_conditional"), pl.col("loss_alone")
    return losses.with_columns(
        ppl=perplexity(conditional), ifd=ifd(conditional, alone), ifd_ppl=ifd_ppl(conditional, alone)
    )
