"""The two-level classifier against its parts and closed forms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.export import Dim, export
from torchvision import models as tv

from covidct.errors import BatchError, UsageError
from covidct.explain import GradCAM
from covidct.functional import case_features
from covidct.models import SliceClassifier, TwoLevelClassifier

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

SIZE = 40


def network(**changes: object) -> TwoLevelClassifier:
    """A small network in evaluation mode."""
    torch.manual_seed(0)
    arguments: dict[str, Any] = {"backbone": "resnet18", "slice_size": 64, "slices_per_chunk": 3, **changes}
    made = TwoLevelClassifier(**arguments).eval()
    slices = torch.nn.functional.interpolate(scans(1, 16)[0].transpose(0, 1), (64, 64), mode="bilinear")
    with torch.no_grad():
        for one in made.slice_classifiers():  # so that the slices' probabilities are unlike
            features = one.features(slices)
            one.head.weight.mul_(2 / (features @ one.head.weight.T).std(0)[:, None])
            one.head.bias.copy_(-(features @ one.head.weight.T).mean(0))
    return made


def scans(batch: int = 2, depth: int = 7) -> Tensor:
    generator = torch.Generator().manual_seed(depth)
    bright = torch.rand(batch, 1, depth, 1, 1, generator=generator)
    return bright * torch.rand(batch, 1, depth, SIZE, SIZE, generator=generator)


@pytest.fixture(scope="module")
def net() -> TwoLevelClassifier:
    return network()


def test_parameter_counts() -> None:
    made = TwoLevelClassifier(folds=2)
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in made.named_children()}
    resnet = tv.ResNet50_Weights.IMAGENET1K_V1.meta["num_params"] - 1000 * 2049 + 3 * 2049
    assert count == {
        "level1": resnet,
        "level1_folds": 2 * resnet,
        "level2": 201 * 64 + 64 + 64 * 3 + 3,
    }


def test_logits_are_the_levels_one_after_the_other(net: TwoLevelClassifier) -> None:
    image = scans()
    with torch.no_grad():
        found = net(image)
        for number, volume in enumerate(image):
            slices = torch.nn.functional.interpolate(volume.transpose(0, 1), (64, 64), mode="bilinear")
            prob = torch.stack([net.level1(one[None])[0].softmax(0) for one in slices])
            torch.testing.assert_close(found["slice_prob"][number], prob, rtol=0, atol=1e-4)
            first, last = (part for part in net.level2 if isinstance(part, torch.nn.Linear))
            hidden = (first.weight @ case_features(prob[None])[0] + first.bias).clamp(min=0)
            logits = last.weight @ hidden + last.bias
            torch.testing.assert_close(found["logits"][number], logits, rtol=0, atol=1e-4)
    assert float(found["slice_prob"].std(1).max()) > 0.1  # the slices are told apart


def test_every_slice_twice_changes_little(net: TwoLevelClassifier) -> None:
    image = scans(1, 30)
    image = image[:, :, image[0, 0].mean((1, 2)).argsort()]  # neighbours are alike, as in a scan
    with torch.no_grad():
        once, twice = net(image), net(image.repeat_interleave(2, 2))
    torch.testing.assert_close(twice["slice_prob"], once["slice_prob"].repeat_interleave(2, 1), rtol=0, atol=5e-5)
    moved = (twice["logits"] - once["logits"]).abs().max()
    with torch.no_grad():
        assert moved < 0.05 * (net(image[:, :, :8])["logits"] - once["logits"]).abs().max()


def test_padding_changes_nothing_and_costs_nothing(net: TwoLevelClassifier) -> None:
    image, real = scans(), torch.ones(2, 7, dtype=torch.bool)
    real[1, 4:] = False
    seen: list[int] = []
    hook = net.level1.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    with torch.no_grad():
        together = net(image.masked_fill(~real[:, None, :, None, None], 0.7), real)
        assert sum(seen) == 11
        for number, depth in enumerate((7, 4)):
            alone = net(image[number : number + 1, :, :depth])
            torch.testing.assert_close(together["logits"][number], alone["logits"][0], rtol=0, atol=5e-5)
            torch.testing.assert_close(
                together["slice_prob"][number, :depth], alone["slice_prob"][0], rtol=0, atol=5e-5
            )
    hook.remove()
    assert not together["slice_prob"][1, 4:].any()


def test_chunks_do_not_change_the_result() -> None:
    image = scans()
    with torch.no_grad():
        first, second = (network(slices_per_chunk=n)(image)["logits"] for n in (1, 100))
    torch.testing.assert_close(first, second, rtol=0, atol=5e-5)


def test_each_volume_passes_the_network_of_its_fold() -> None:
    net, image = network(folds=2), scans(3)
    real = torch.ones(3, 7, dtype=torch.bool)
    real[0, 5:] = False
    with torch.no_grad():
        found = net.slice_probabilities(image, real, fold=torch.tensor([1, 0, 1]))
        for number, fold in enumerate((1, 0, 1)):
            own = network(folds=2)
            own.level1 = own.slice_classifiers()[1 + fold]
            expected = own.slice_probabilities(image[number : number + 1], real[number : number + 1])
            torch.testing.assert_close(found[number], expected[0], rtol=0, atol=5e-5)
        assert not torch.allclose(found[:, :4], net.slice_probabilities(image, real)[:, :4], atol=1e-3)


def test_level_2_stays_in_float32_under_autocast(net: TwoLevelClassifier) -> None:
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = net(scans())
        assert found["logits"].dtype == found["slice_prob"].dtype == torch.float32
        assert net.case_logits(found["slice_prob"].bfloat16()).dtype == torch.float32


def test_dense_path_exports_with_any_batch_and_depth(net: TwoLevelClassifier) -> None:
    axes = {0: Dim("batch", max=64), 2: Dim("depth", max=1024)}
    program = export(net, (scans(),), dynamic_shapes=(axes,)).module()
    with torch.no_grad():
        for batch, depth in ((1, 3), (3, 11)):
            image = scans(batch, depth)
            torch.testing.assert_close(program(image), net(image), rtol=0, atol=5e-5)


def test_grad_cam_looks_through_both_levels(net: TwoLevelClassifier) -> None:
    image, real = scans(), torch.ones(2, 7, dtype=torch.bool)
    real[1, 4:] = False
    found = GradCAM(net)((image, real), 1)
    assert found.maps.shape == (2, 7, 2, 2)
    assert not found.maps[1, 4:].any()
    plain = GradCAM(net)(image[:1], 1)
    torch.testing.assert_close(found.maps[:1], plain.maps, rtol=1e-3, atol=1e-6)
    assert found.maps.any()


def test_training_passes_all_slices_together_and_moves_the_statistics() -> None:
    net = network(folds=2).train()
    seen: list[int] = []
    hook = net.level1.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    torch.autograd.backward(net(scans())["logits"].square().sum())
    hook.remove()
    assert seen == [14]
    assert all(p.grad is not None and p.grad.any() for p in net.level1.parameters())
    assert all(p.grad is None for p in net.level1_folds.parameters())


def test_backbone_weights_go_to_all_networks(tmp_path: Path) -> None:
    torch.manual_seed(3)
    published = tv.resnet18(weights=None)
    torch.save(published.state_dict(), tmp_path / "resnet18.pth")
    net = network(folds=2, weights=str(tmp_path / "resnet18.pth"))
    heads = []
    for one in net.slice_classifiers():
        assert isinstance(one, SliceClassifier)
        for name, tensor in one.trunk.network.named_parameters():
            assert tensor.equal(published.get_parameter(name))
        heads.append(one.head.weight)
    assert not heads[0].equal(heads[1])


@pytest.mark.parametrize(
    "arguments",
    [
        {"positions": 0},
        {"top_slices": 2.5},
        {"hidden": 0},
        {"slice_size": 0},
        {"slices_per_chunk": 0},
        {"folds": 1},
        {"folds": -1},
        {"dropout": 1.0},
        {"num_classes": 1},
        {"backbone": "vgg"},
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(arguments))):
        TwoLevelClassifier(**{"backbone": "resnet18", **arguments})


def test_wrong_batches_are_refused(net: TwoLevelClassifier) -> None:
    with pytest.raises(BatchError, match="1 or 3"):
        net(torch.rand(1, 2, 3, SIZE, SIZE))
    with pytest.raises(BatchError, match="slice_mask"):
        net(scans(), torch.ones(2, 3, dtype=torch.bool))
    with pytest.raises(BatchError, match="no real slice"):
        net(scans(), torch.zeros(2, 7, dtype=torch.bool))
