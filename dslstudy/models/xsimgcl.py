"""XSimGCL: LightGCN made robust by noise, and by telling nodes apart across layers (book: Backbones)."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from dslstudy.data.interactions import Interactions
from dslstudy.errors import InputError
from dslstudy.models.lightgcn import LightGCN


class XSimGCL(LightGCN):
    """A stack of R runs of XSimGCL (Yu et al., 2023, "XSimGCL", equations 7 to 10).

    In training every layer is moved by ``noise`` in a random direction of its own orthant. A table is the mean of
    layers 1 to ``layers``. The auxiliary loss asks each user (and item) of the batch to recognise itself, in the
    ``contrast_layer`` of the same noisy pass, among the batch's other users (items).

    Args:
        num_users: users U.
        num_items: items I.
        embedding_size: size d of a vector.
        generators: one random stream per run; start values and noise come from it.
        interactions: the training interactions: the graph.
        layers: how far information travels.
        noise: length of the random move, epsilon in the paper.
        contrast_layer: the layer that the final table is contrasted with, from 1.
        contrast_temperature: of InfoNCE, tau in the paper.
        contrast_weight: of InfoNCE beside the ranking loss, lambda in the paper.
        initial_scale: standard deviation of the initial entries; ``noise`` must be seen in relation to it.

    Raises:
        InputError: hyperparameters outside their ranges, or interactions with other sizes.
    """

    def __init__(
        self,
        *,
        num_users: int,
        num_items: int,
        embedding_size: int,
        generators: Sequence[torch.Generator],
        interactions: Interactions,
        layers: int = 3,
        noise: float = 0.1,
        contrast_layer: int = 1,
        contrast_temperature: float = 0.1,
        contrast_weight: float = 0.2,
        initial_scale: float = 0.1,
    ) -> None:
        super().__init__(
            num_users=num_users,
            num_items=num_items,
            embedding_size=embedding_size,
            generators=generators,
            interactions=interactions,
            layers=layers,
            initial_scale=initial_scale,
        )
        if contrast_layer not in range(1, self.layers + 1):
            raise InputError(f"contrast_layer must be a layer from 1 to {layers}, not {contrast_layer}")
        if noise < 0 or contrast_weight < 0 or contrast_temperature <= 0:
            raise InputError("noise and contrast_weight must be at least 0 and contrast_temperature above 0")
        self.noise, self.contrast_layer = noise, int(contrast_layer)
        self.contrast_temperature, self.contrast_weight = contrast_temperature, contrast_weight
        self.generators = list(generators)
        self._views: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None

    def forward(self) -> tuple[Tensor, Tensor]:
        """The tables that scores are computed from: (R, U, d), (R, I, d); noisy in training mode."""
        if not self.training:
            return self._pass(noisy=False)[0]
        self._views = self._pass(noisy=True)
        return self._views[0]

    @torch.no_grad()
    def inference_tables(self) -> tuple[Tensor, Tensor]:
        """The tables to evaluate, without noise and gradients: (R, U, d), (R, I, d)."""
        return self._pass(noisy=False)[0]

    def keep(self, runs: Sequence[int]) -> None:
        """Go on with some runs only; the random streams of the others go too."""
        super().keep(runs)
        self.generators = [self.generators[run] for run in runs]
        self._views = None

    def auxiliary_loss(self, users: Tensor, items: Tensor) -> Tensor:
        """Weighted InfoNCE between the final and the contrast layer of the latest forward pass.

        Args:
            users: (R, B) of the batch; repeated ones count once.
            items: (R, B).

        Returns:
            (R,) to be added to the mean ranking loss of the batch.

        Raises:
            InputError: there was no forward pass in training mode.
        """
        if self._views is None:
            raise InputError("auxiliary_loss contrasts the tables of a forward pass in training mode; call one first")
        (final_users, final_items), (contrast_users, contrast_items) = self._views
        return self.contrast_weight * (
            info_nce(final_users, contrast_users, users, self.contrast_temperature)
            + info_nce(final_items, contrast_items, items, self.contrast_temperature)
        )

    def _pass(self, *, noisy: bool) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Final tables and contrast tables."""
        layer, total = self.nodes(), 0
        for depth in range(1, self.layers + 1):
            layer = self.propagate(layer)
            if noisy:
                layer = layer + layer.sign() * self._random_directions(layer) * self.noise
            total = total + layer
            if depth == self.contrast_layer:
                contrast = layer
        return self.tables(total / self.layers), self.tables(contrast)

    def _random_directions(self, nodes: Tensor) -> Tensor:
        """Unit vectors with no negative entry, (U + I, R, d), each run's from its own stream."""
        rows, runs, size = nodes.shape
        if len(self.generators) != runs:
            raise InputError(f"{runs} runs but {len(self.generators)} random streams; call keep() when runs leave")
        draws = [torch.rand(rows, size, generator=stream, device=nodes.device) for stream in self.generators]
        return normalize(torch.stack(draws, dim=1), dim=-1)


def info_nce(anchors: Tensor, others: Tensor, ids: Tensor, temperature: float) -> Tensor:
    """InfoNCE (van den Oord et al., 2018) between two views of the rows that a batch touches.

    Args:
        anchors: (R, n, d) one view.
        others: (R, n, d) the other; a row's positive is itself, its negatives are the batch's other rows.
        ids: (R, B) rows; repeated ones count once.
        temperature: of the softmax over cosines.

    Returns:
        (R,) mean over the distinct rows.
    """
    if ids.device.type == "cpu":  # fewer rows are less work, and a run alone gives the same bits as in a stack
        runs = zip(anchors, others, ids, strict=True)
        return torch.cat([_info_nce(a[None], o[None], rows.unique()[None], temperature) for a, o, rows in runs])
    return _info_nce(anchors, others, ids, temperature)


def _info_nce(anchors: Tensor, others: Tensor, ids: Tensor, temperature: float) -> Tensor:
    # A GPU should not wait to hear how many distinct rows there are: sort, and mask repetitions.
    ids = ids.sort(dim=1).values
    distinct = torch.ones_like(ids, dtype=torch.bool)
    distinct[:, 1:] = ids[:, 1:] != ids[:, :-1]
    flat = ids + torch.arange(len(ids), device=ids.device)[:, None] * anchors.shape[1]
    anchor, other = (normalize(view.flatten(0, 1)[flat], dim=-1) for view in (anchors, others))
    # a repeated row is no candidate a second time; adding the mask inside the product spares a pass over (B, B)
    mask = torch.zeros_like(ids, dtype=anchor.dtype).masked_fill_(~distinct, -torch.inf)
    total = torch.baddbmm(mask[:, None, :], anchor / temperature, other.mT).logsumexp(dim=-1)
    positive = (anchor * other).sum(dim=-1) / temperature
    return torch.where(distinct, total - positive, 0).sum(dim=1) / distinct.sum(dim=1)
