"""Quick checks, a few seconds: python -m pytest test_models.py (needs the requirements)."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import attacks
import attacks_held_out
import augment
import export
import hashes
import views
import widen
from families import CHAINABLE, FAMILIES, HELD_OUT, TRAINED
from loss import contrastive
from metrics import figures
from network import folded, forward_folded, frozen_front, normalise_pixels
from unfold import unfold


HERE = Path(__file__).resolve().parent


def picture(seed=0, size=128):
    return export.parity_image(size, seed)


def test_parity_file_matches_the_shipped_weights():
    tensors = load_file(HERE / "doppel-t.safetensors")
    parity = load_file(HERE / "parity.safetensors")
    for size in (96, 160):
        got = forward_folded(tensors, parity[f"input_{size}"].float())
        assert (got - parity[f"embedding_{size}"]).abs().max() < 1e-5


def test_metadata_states_the_input_contract():
    with safe_open(HERE / "doppel-t.safetensors", "pt") as f:
        m = f.metadata()
    assert m["arch"] == "doppel-t" and int(m["dim"]) == 256 and int(m["input_size"]) == 160
    assert json.loads(m["mean"]) == [0.5] * 3 and json.loads(m["std"]) == [0.25] * 3


def test_folding_changes_nothing():
    net = export.random_network("doppel-t", 3)
    x = normalise_pixels(np.stack([picture(1), picture(2)]))
    with torch.no_grad():
        assert (net(x) - forward_folded(folded(net), x)).abs().max() < 1e-5


def test_unfolding_keeps_the_cosines():
    tensors = load_file(HERE / "doppel-t.safetensors")
    x = normalise_pixels(np.stack([picture(s, 96) for s in range(24)]))
    net = unfold(HERE / "doppel-t.safetensors", "doppel-t", x)
    net.out_bn.reset_running_stats()  # it centres on these pictures, which the exported network does not
    with torch.no_grad():
        expected, got = forward_folded(tensors, x), net(x)
    assert (expected @ expected.T - got @ got.T).abs().max() < 1e-3
    assert (folded(net)["stem.weight"] - tensors["stem.weight"].float()).abs().max() < 1e-4


def test_a_widened_network_computes_the_same(monkeypatch):
    net = export.random_network("doppel-t", 5)
    x = normalise_pixels(np.stack([picture(1, 96), picture(2, 96)]))
    with torch.no_grad():
        small = folded(net)
        expected = forward_folded(small, x)
        noisy = forward_folded(widen.widen(small, "doppel-t", "doppel-s", 1), x)
        monkeypatch.setattr(widen, "NOISE", 0.0)
        exact = forward_folded(widen.widen(small, "doppel-t", "doppel-s", 1), x)
    assert (exact - expected).abs().max() < 1e-4
    assert (noisy * expected).sum(1).min() > 0.9


def test_the_frozen_front_is_what_the_network_computes():
    net = export.random_network("doppel-t", 3)
    u8 = np.stack([picture(1, 96), picture(2, 96)])
    with torch.no_grad():
        expected = net.stage1(net.stem(normalise_pixels(u8)))
        got = frozen_front(net)(u8).float()
    assert (got - expected).abs().mean() < 0.02 * expected.abs().mean()


def test_loss_prefers_matching_views():
    torch.manual_seed(0)
    z = torch.nn.functional.normalize(torch.randn(8, 256), dim=1)
    good, f = contrastive(torch.cat([z, z]))
    bad, _ = contrastive(torch.cat([z, z.roll(1, 0)]))
    assert good < bad and f["top1"] == 1.0


@pytest.mark.parametrize("name", FAMILIES)
def test_every_attack_draws_the_same_picture_from_the_same_seed(name):
    for k in range(3):
        one, two = (attacks.apply(name, picture(), k, np.random.default_rng(4), [picture(5, 200)]) for _ in range(2))
        assert one.dtype == np.uint8 and one.shape[2] == 3
        assert np.array_equal(one, two)


def test_held_out_families_are_unknown_to_training():
    assert len(TRAINED) >= 18 and len(HELD_OUT) >= 6 and not set(TRAINED) & set(HELD_OUT)
    assert set(CHAINABLE) <= set(TRAINED)
    for name in HELD_OUT:
        assert hasattr(attacks_held_out, name)
        assert not hasattr(augment, name) and name not in views.MIX and name not in views.FOCUS


def test_views_have_the_asked_size():
    pool = [picture(i, 150) for i in range(4)]
    art, rng = augment.Art(pool, count=4), np.random.default_rng(0)
    for view in (views.moderate, views.hard, views.focused, views.chained):
        for _ in range(60):
            v = view(pool[0], rng, art, 96)
            assert v.shape == (96, 96, 3) and v.dtype == np.uint8


def test_pdq_survives_recompression_and_mirroring():
    img = picture(3, 256)
    ref, _ = hashes.pdq(img)
    close, _ = hashes.pdq(attacks.encode(img, 60))
    mirrored, _ = hashes.pdq(np.ascontiguousarray(img[:, ::-1]))
    other, _ = hashes.pdq(picture(9, 256))
    distance = lambda a, b: hashes.hamming(a, b[:1]).min()
    assert distance(close[:1], ref) <= 30 and distance(mirrored, ref) <= 30 < distance(other, ref)


def test_figures_of_a_perfect_ranking():
    scores = np.eye(40, dtype=np.float32)
    truth = np.where(np.arange(40) < 30, np.arange(40), -1)
    scores[30:] = 0
    f = figures(scores, truth)
    assert f["muap"] == pytest.approx(1.0) and f["recall_at_1"] == 1.0 and f["recall_at_p90"] == 1.0
