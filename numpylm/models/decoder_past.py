"""DecoderPast: what a decoder with an encoder keeps between two tokens of a generation."""

from typing import NamedTuple

from numpylm.nn.kv_cache import KVCache
from numpylm.nn.module import Array


class DecoderPast(NamedTuple):
    """What generation keeps between two tokens: of each text so far, and of its source.

    A row is a text. Several rows may continue one source, as in beam search: R rows, B sources, R / B rows for each.
    """

    written: list[KVCache]  # for each decoder block, the keys and values of the tokens so far: (R, H, T, D)
    sources: list[tuple[Array, Array]]  # for each decoder block, those of the memory: (B, S, C)
    source_mask: Array | None  # (B, 1, 1, S)

    def select(self, rows: Array, sources: Array) -> "DecoderPast":
        """A copy with these rows and these sources, in this order; both may repeat."""
        written = [cache.select(rows) for cache in self.written]
        kept = [(k[sources], v[sources]) for k, v in self.sources]
        return DecoderPast(written, kept, None if self.source_mask is None else self.source_mask[sources])

    def reorder(self, rows: Array) -> None:
        """Make row i a copy of what row ``rows[i]`` was, in place; it must belong to the same source."""
        for cache in self.written:
            cache.reorder(rows)
