"""Quick checks, half a minute: python -m pytest test_models.py (needs the requirements)."""

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
import normalisation
import parallel
import train
import train_gpu
import views
import widen
from families import CHAINABLE, FAMILIES, HELD_OUT, TRAINED
from loss import contrastive
from metrics import figures
from network import DIM, Network, folded, forward_folded, frozen_front, normalise_pixels
from pool import PROCEDURAL, REAL, SYNTHETIC
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


def scores_of_mixtures(name):
    """Normalised scores of pairs mixed from rows 0, 100, 200, 300 of a shipped bank and the two after each."""
    path = HERE / ("bank.safetensors" if name == "doppel-t" else f"{name}/bank.safetensors")
    with safe_open(path, "np") as f:
        bank, said = f.get_tensor("bank").astype(np.float32) * f.get_tensor("scale")[:, None], f.metadata()
    kind = normalisation.FORMULAS["linear" if said["format_version"] == "1" else said["formula"]]
    score = kind(**{n: int(said[n]) if n == "top_k" else float(said[n]) for n in kind._fields})
    unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)
    a, b, c = (bank[np.arange(0, 400, 100) + i] for i in range(3))
    other = np.float32((0.0, 0.1, 0.5, 1.0))[:, None]  # the first pair is a likeness of .9999
    q, r = unit(a + b), unit(a + (1 - other) * b + other * c + np.float32(0.01) * c)
    near = (normalisation.nearness(z, bank, score.top_k) for z in (q, r))
    return np.diag(score(q @ r.T, *near))


# the same numbers are in src/dedup/normalisation.rs
@pytest.mark.parametrize("name, expected", [
    ("doppel-t", (2.1424, 1.5614, 0.228, -0.3516)), ("doppel-s", (2.1339, 1.4816, 0.2352, -0.377))])
def test_normalised_scores_of_the_shipped_banks(name, expected):
    assert np.abs(scores_of_mixtures(name) - expected).max() < 1e-3


def test_the_logarithmic_score_keeps_what_is_nearly_the_same_on_top():
    score = normalisation.Logarithmic(beta=9.0, gamma=3.0, top_k=20, weight=0.35)
    ordinary, distinct = np.float32([0.3, 0.2]), np.float32([0.25])
    out = score(np.float32([[0.999], [0.88]]), ordinary, distinct)
    assert out[0, 0] > out[1, 0]
    linear = normalisation.Linear(2.5, 20)(np.float32([[0.92], [0.88]]), ordinary, distinct)
    assert linear[0, 0] < linear[1, 0]


def tiny_pool(folder):
    """A pool of 60 small pictures of all kinds."""
    folder.mkdir()
    rows, data = [], b""
    for i in range(60):
        kind = (REAL, PROCEDURAL, SYNTHETIC)[i // 24] if i < 48 else SYNTHETIC
        rows.append((len(data), 48, 48, kind, i // 3 if kind == SYNTHETIC else -1))
        data += picture(i, 48).tobytes()
    np.save(folder / "index.npy", np.array(rows, np.int64))
    (folder / "pool.bin").write_bytes(data)
    return folder


def tiny_run(pool, folder, *options):
    """Checkpoint and log of 800 views, with look-alikes mined in the middle."""
    folder.mkdir()
    args = train.arguments(["--cache", str(pool), "--run", str(folder), "--processes", "1", "--views", "800",
                            "--mine-share", "0.5", *options])
    weights = sum(p.numel() for p in Network(args.arch).parameters())
    train.run(0, parallel.Exchange(1, 16, DIM, weights, torch.multiprocessing.get_context("spawn")), args)
    state = torch.load(folder / "last.pt", weights_only=True)
    return state, [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_a_run_by_views_repeats(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "COLD", train.COLD._replace(phases=((0.5, 32, 8), (1.01, 48, 8))))
    pool = tiny_pool(tmp_path / "pool")
    one, log = tiny_run(pool, tmp_path / "one")
    two, again = tiny_run(pool, tmp_path / "two")
    other, _ = tiny_run(pool, tmp_path / "other", "--entropy", "0")
    assert one["views"] == two["views"] == 800 and one["step"] == 50
    assert (tmp_path / "one" / "neighbours.npy").exists()
    assert [(r["nce"], r["lr"], r["size"]) for r in log] == [(r["nce"], r["lr"], r["size"]) for r in again] and log[-1]["size"] == 48
    same = lambda a, b: all(torch.equal(v, b["ema"][k]) for k, v in a["ema"].items())
    assert same(one, two) and not same(one, other)


def test_networks_train_side_by_side_and_resume(tmp_path):
    cache, folder = tiny_pool(tmp_path / "pool"), tmp_path / "run"
    once = ["--cache", str(cache), "--run", str(folder), "--device", "cpu", "--workers", "1",
            "--pairs", "8", "--sizes", "[[0.5, 32], [1, 48]]", "--total", "1000", "--mine-s", "0", "--distil", "1"]
    step = {}
    for seconds in ("4", "5"):  # the second goes on where the first ended
        train_gpu.run(train_gpu.arguments([*once, "--seconds", seconds]))
        for arch in ("doppel-t", "doppel-s"):
            net, state = export.load_network(folder / f"{arch}.pt")
            assert state["step"] > step.get(arch, 0) and all(torch.isfinite(p).all() for p in net.parameters())
            step[arch] = state["step"]
    assert step["doppel-t"] == step["doppel-s"] and (folder / "neighbours.npy").exists()


def test_what_a_teacher_says_is_learned_but_for_the_diagonal():
    unit = lambda seed: torch.nn.functional.normalize(torch.randn(6, 8, generator=torch.Generator().manual_seed(seed)), dim=1)
    taught, teacher = unit(1).requires_grad_(), unit(2)
    assert abs(float(train_gpu.divergence(teacher, teacher))) < 1e-6
    before = float(train_gpu.divergence(taught.detach(), teacher))
    opt = torch.optim.SGD([taught], lr=0.02)
    for _ in range(200):
        opt.zero_grad()
        train_gpu.divergence(torch.nn.functional.normalize(taught, dim=1), teacher).backward()
        opt.step()
    learned = torch.nn.functional.normalize(taught.detach(), dim=1)
    assert float(train_gpu.divergence(learned, teacher)) < 0.2 * before
    # a turn of all embeddings leaves every likeness as it is
    turn = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(3)))[0]
    assert abs(float(train_gpu.divergence(teacher @ turn, teacher))) < 1e-4


def test_the_schedule_follows_the_arguments():
    given = lambda *options: train.schedule_of(train.arguments([*options]))
    assert given() == train.COLD and given("--init", "x.safetensors") == train.WARM
    assert given("--size", "96").phases == ((1.01, 96, 128),) and given("--size", "160").phases == ((1.01, 160, 96),)
    assert given("--size", "96")[1:] == train.COLD[1:]
    with pytest.raises(SystemExit):
        train.arguments(["--views", "100", "--until", "12:00"])
