"""``SelfTransDenseNet``: momentum contrast (MoCo) of slices, the pre-training of Self-Trans."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Literal

import torch
from torch import distributed, nn
from torch.nn import functional as F
from torch.optim.swa_utils import get_ema_multi_avg_fn

from covidct.errors import BatchError, UsageError
from covidct.layers import Attention
from covidct.models.contrastive_weights import is_checkpoint, read_contrastive
from covidct.models.trunk import Trunk
from covidct.weights import load_state, weights_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = ("SelfTransDenseNet",)


class SelfTransDenseNet(nn.Module):
    """Two encoders of one make, the second a slow mean of the first, and a queue of the second's keys.

    Self-Trans (He et al. 2020; D000, appendix A.1) pre-trains DenseNet-169 by momentum contrast (MoCo, He et al. 2020)
    and fine-tunes it. A training step, which :class:`covidct.tasks.SelfTransTask` makes::

        out = network(views, step=step)  # query and key of the two views
        loss = InfoNCELoss(0.2)(out["query"], out["key"], network.queue.clone())
        network.enqueue(out["key"])
        ...  # backward pass and a step of the optimizer
        network.update_key()

    Key shuffling: within a batch, batch normalisation lets a network tell by the statistics which key belongs to which
    query. So the keys of all processes are normalised in groups of other images than the queries are. MoCo shuffles
    between GPUs; ``bn_groups`` gives the same groups in one process. Permutations follow from the step alone, so all
    processes draw the same one and a resumed training goes on as it was.

    The queue is a ring: any number of keys goes in, over its end and from its start, and the oldest go out, so batches
    need not divide it (the published code demands it). Under several processes keys of all of them enter, in the order
    in which one process would have them, so that every process has the same queue; they must have equally many.

    Attributes:
        query: encoder that learns; its ``trunk`` is what fine-tuning takes.
        key: its slow mean, without gradient.
        queue: (K, dim) float32 buffer of unit vectors; random ones at the start, as published.
        pointer: () int64 buffer, row of the queue that the next key overwrites.

    Args:
        backbone: of :class:`covidct.models.Trunk`; DenseNet-169 is the document's.
        version: ``"v1"``: linear projection; ``"v2"``: projection by a hidden layer as wide as the features and ReLU.
        dim: of the projection (MoCo: 128).
        queue_size: K, number of keys kept. MoCo has 65,536 for a million images; for small data 512 to 4096, and no
            more than the data has images (recommendation).
        momentum: m of ``key = m key + (1 - m) query`` (MoCo: 0.999).
        bn_groups: groups of the batch over all processes that batch normalisation sees apart, each of two images at
            least; the reference trained on four GPUs.
        attention: as in :class:`covidct.models.Trunk`.
        mean: of one or three channels, in [0, 1]; None is ImageNet's.
        std: of one or three channels, above 0; None is ImageNet's.
        weights: loaded at once by :meth:`load_backbone`; None is random initialisation.

    Raises:
        UsageError: for a value out of range, an unknown backbone or version.
        WeightsError: when ``weights`` cannot be had.
    """

    queue: Tensor
    pointer: Tensor

    def __init__(
        self,
        *,
        backbone: str = "densenet169",
        version: Literal["v1", "v2"] = "v2",
        dim: int = 128,
        queue_size: int = 1024,
        momentum: float = 0.999,
        bn_groups: int = 4,
        attention: Attention | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        weights: str | None = None,
    ) -> None:
        """Build both encoders, alike, and a queue of random unit vectors."""
        super().__init__()
        least = {"dim": dim, "queue_size": queue_size, "bn_groups": bn_groups}
        wrong = {name: value for name, value in least.items() if type(value) is not int or value < 1}
        if wrong or not 0 <= momentum <= 1 or version not in ("v1", "v2"):
            raise UsageError(
                f"version={version!r}, momentum={momentum}, {', '.join(f'{k}={v}' for k, v in least.items())} is not "
                "usable: give 'v1' or 'v2', a momentum from 0 to 1, and whole numbers of at least 1."
            )
        self.version, self.dim = version, dim
        self.momentum, self.bn_groups = momentum, bn_groups
        self.query = _Encoder(Trunk(backbone, attention=attention, mean=mean, std=std), dim, hidden=version == "v2")
        self.key = copy.deepcopy(self.query).requires_grad_(requires_grad=False)
        self.register_buffer("queue", F.normalize(torch.randn(queue_size, dim), dim=1))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))
        if weights is not None:
            self.load_backbone(weights)

    @property
    def width(self) -> int:
        """F, number of features of :meth:`encode`."""
        width: int = self.query.trunk.width
        return width

    def load_backbone(self, weights: str) -> None:
        """Start both encoders from trained weights; the queue stays as it is, since it holds keys of other images.

        Args:
            weights: torchvision weights of the trunk, by name or path, or a ``.ckpt`` file of
                :class:`covidct.tasks.SelfTransTask`, whose query encoder is taken with its projection: the published
                way from one data set to the next.

        Raises:
            UsageError: when the backbone has no weights of that name.
            WeightsError: when they cannot be had, do not fit, or are of another backbone, attention or normalisation.
        """
        weights = weights_path(weights)
        self.query.trunk.load_published(weights)
        if is_checkpoint(weights):
            load_state(self.query.head, read_contrastive(weights).head, source=weights)
        self.key.load_state_dict(self.query.state_dict())

    def forward(self, views: Tensor, *, step: int = 0) -> dict[str, Tensor]:
        """Project both views; changes neither the queue nor the key encoder's weights.

        Args:
            views: (B, 2, C, H, W) float32 in [0, 1], C = 1 or 3.
            step: in training, decides the permutation of key shuffling; must be the same on all processes.

        Returns:
            ``query`` (B, dim) of the first views with a gradient, ``key`` (B, dim) of the second views without; float32
            unit vectors.

        Raises:
            BatchError: for another shape, or in training when batch normalisation would see one value per channel.
        """
        if views.ndim != 5 or views.shape[1] != 2 or views.shape[2] not in (1, 3):
            raise BatchError(f"'views' must be (B, 2, 1 or 3, H, W), its shape is {tuple(views.shape)}.")
        key = self._keys(views[:, 1], step)  # first: nothing of it is kept for the backward pass
        return {"query": self._grouped(self.query, views[:, 0]), "key": key}

    def encode(self, images: Tensor) -> Tensor:
        """Features of images, as fine-tuning has them: the query encoder's, before the projection.

        Args:
            images: (N, C, H, W) float32 in [0, 1], C = 1 or 3.

        Returns:
            (N, F) in the dtype of the network.
        """
        features: Tensor = self.query.trunk(images)
        return features

    @torch.no_grad()
    def update_key(self) -> None:
        """Move the key encoder towards the query encoder: call it after each step of the optimizer."""
        average = get_ema_multi_avg_fn(self.momentum)  # type: ignore[no-untyped-call]
        average(list(self.key.parameters()), list(self.query.parameters()), None)

    @torch.no_grad()
    def enqueue(self, key: Tensor) -> None:
        """Put the keys of a batch, of all processes, into the queue in the place of the oldest.

        Args:
            key: (B, dim) float32, of this process.
        """
        keys = _gather(key.detach()).transpose(0, 1).reshape(-1, key.shape[1])  # sample by sample, not by process
        size = len(self.queue)
        places = (self.pointer + torch.arange(len(keys), device=key.device)) % size
        self.queue[places[-size:]] = keys[-size:].to(self.queue.dtype)
        self.pointer.copy_((self.pointer + len(keys)) % size)

    @torch.no_grad()
    def _keys(self, images: Tensor, step: int) -> Tensor:
        """Keys of this process's images, in training normalised among others than their queries."""
        if not self.training:
            return self._grouped(self.key, images)
        count, rank = len(images), _rank()
        everyone = _gather(images).flatten(0, 1)
        order = torch.randperm(len(everyone), generator=torch.Generator().manual_seed(step)).to(images.device)
        mine = everyone[order[rank * count : (rank + 1) * count]]
        shuffled = _gather(self._grouped(self.key, mine)).flatten(0, 1)
        return shuffled[order.argsort()[rank * count : (rank + 1) * count]]

    def _grouped(self, encoder: _Encoder, images: Tensor) -> Tensor:
        """Projections, in training group by group."""
        most = self.bn_groups // _processes() if self.training else 1
        groups = max(1, min(most, len(images) // 2))
        return torch.cat([encoder(group) for group in images.tensor_split(groups)])


class _Encoder(nn.Module):
    """A trunk and a projection to unit vectors."""

    def __init__(self, trunk: Trunk, dim: int, *, hidden: bool) -> None:
        super().__init__()
        self.trunk = trunk
        last = nn.Linear(trunk.width, dim)
        self.head = nn.Sequential(nn.Linear(trunk.width, trunk.width), nn.ReLU(), last) if hidden else last

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) to (N, dim) float32 unit vectors."""
        projected: Tensor = self.head(self.trunk(images))
        return F.normalize(projected.float(), dim=1)


def _processes() -> int:
    """Number of processes that train together."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def _rank() -> int:
    """Number of this process."""
    return distributed.get_rank() if _processes() > 1 else 0


def _gather(tensor: Tensor) -> Tensor:
    """(P, *shape): the tensors of all P processes, in their order."""
    if _processes() == 1:
        return tensor[None]
    found = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(_processes())]
    distributed.all_gather(found, tensor.contiguous())
    return torch.stack(found)
