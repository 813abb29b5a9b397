"""lib/models.py: loading, end tokens, the learning rate, and checkpoints that are whole."""

import random
import shutil
from types import SimpleNamespace

from lib import models

import pytest
import torch
import transformers
from conftest import read
from random_models import MODELS, make_model

# ── Loading ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_have_the_precision_of_their_file(tiny, tmp_path, dtype):
    model, tokenizer = models.load_policy(str(tiny))
    model.config.dtype = dtype
    models.save_checkpoint(model, tokenizer, str(tmp_path / "model"))
    model, _ = models.load_policy(str(tmp_path / "model"))
    assert {p.dtype for p in model.parameters()} == {dtype}
    assert not model.training


def test_a_classifier_says_whether_its_head_was_trained(tiny, tmp_path):
    model, has_head = models.load_classifier(str(tiny))
    assert not has_head
    assert model.num_labels == 1
    model.save_pretrained(tmp_path)
    trained, has_head = models.load_classifier(str(tmp_path))
    assert has_head
    assert torch.equal(trained.score.weight, model.score.weight)


def test_a_verifier_is_no_policy(tiny, tmp_path, refused):
    """Its file has no head for tokens. A random one would write noise, without a word."""
    tokenizer = models.load_tokenizer(str(tiny))
    model, _ = models.load_classifier(str(tiny))
    path = str(tmp_path / "verifier")
    models.save_checkpoint(model, tokenizer, path)
    refused(lambda: models.load_policy(path), "verifier", "policy")


def test_a_model_behind_a_login_is_not_called_unknown(refused, monkeypatch):
    def from_pretrained(path, **_):
        raise OSError("You are trying to access a gated repo.\nMake sure to have access to it.")

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", from_pretrained)
    refused(lambda: models.load_tokenizer("meta/llama"), "meta/llama", "gated repo")


def test_a_path_is_not_asked_for_at_the_hub(tmp_path, refused, monkeypatch):
    """Without a network the hub's client tries for a minute."""
    asked = []
    kind = type("Kind", (), dict(from_pretrained=lambda path: asked.append(path)))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    for path in ("runs/policy", "./policy", "../policy", "/no/policy", "a/b/policy", "policy/", ""):
        refused(lambda path=path: models.from_pretrained(kind, path, "model"), "no such folder")
    assert asked == []

    # What can be a hub name is; and a folder is read.
    for path in ("gpt2", "Qwen/Qwen2.5", "runs"):
        models.from_pretrained(kind, path, "model")
    assert asked == ["gpt2", "Qwen/Qwen2.5", "runs"]


def test_what_does_not_load_is_refused(tiny, tmp_path, refused):
    none = str(tmp_path / "none")
    refused(lambda: models.load_tokenizer(none), none, "no tokenizer", "no such folder")
    refused(lambda: models.load_classifier(none), none, "no model", "no such folder")

    weightless = shutil.copytree(tiny, tmp_path / "weightless")
    (weightless / "model.safetensors").unlink()
    refused(lambda: models.load_policy(str(weightless)), weightless, "no model")

    bare = shutil.copytree(tiny, tmp_path / "bare")
    (bare / "chat_template.jinja").unlink()
    refused(lambda: models.load_tokenizer(str(bare)), bare, "chat template")


@pytest.mark.parametrize(
    "configured, eos, expected",
    [
        ([128001, 128008, 128009], 128009, [128001, 128008, 128009]),  # Llama has three
        (107, 1, [1, 107]),  # Gemma's is not the tokenizer's
        (None, 2, [2]),
        (2, None, [2]),
    ],
)
def test_the_tokens_that_end_an_answer(configured, eos, expected):
    model = SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=configured))
    tokenizer = SimpleNamespace(eos_token_id=eos)
    assert models.stop_ids(model, tokenizer) == expected


@pytest.mark.parametrize("family", MODELS)
def test_each_family_ends_with_its_own_token_and_knows_its_context(tmp_path, family):
    make_model(tmp_path, family, ["x"], context=512)
    model, tokenizer = models.load_policy(str(tmp_path))
    _, end = MODELS[family]
    assert tokenizer.convert_tokens_to_ids(end) in models.stop_ids(model, tokenizer)
    assert models.context_length(model) == 512


# ── Memory and arithmetic ────────────────────────────────────────────────────────────────────────


def test_a_device_that_is_too_small_is_one_line(refused):
    def fill():
        with models.enough_memory("8 rows; lower --batch-size"):
            raise torch.OutOfMemoryError("Tried to allocate 2 GiB")

    refused(fill, "out of memory", "8 rows; lower --batch-size")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_arithmetic_on_a_cpu_is_that_of_the_file(dtype):
    """Weights in float32, as in training, that came from a file of the one or the other."""
    model = SimpleNamespace(device=torch.device("cpu"), config=SimpleNamespace(dtype=dtype))
    with models.mixed_precision(model):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == dtype


# ── Training ─────────────────────────────────────────────────────────────────────────────────────


def test_the_learning_rate_by_hand():
    # 20 steps: 2 up, 18 down, and none of them at rate 0.
    shares = [models.warm_up(step, 20) for step in range(20)]
    assert shares[:3] == [0.5, 1.0, 1.0]
    assert shares[3] == pytest.approx(17 / 18)
    assert shares[-1] == pytest.approx(1 / 18)
    assert min(shares) > 0


@pytest.mark.parametrize("steps", [1, 2, 9])
def test_a_short_training_starts_at_the_peak(steps):
    assert models.warm_up(0, steps) == 1.0
    assert models.warm_up(steps - 1, steps) > 0


def test_the_optimizer_follows_the_schedule():
    model = torch.nn.Linear(1, 1, bias=False)
    optimizer, schedule = models.make_optimizer(model, peak=0.1, steps=20)
    rates = []
    for _ in range(20):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([0.1 * models.warm_up(step, 20) for step in range(20)])


def test_a_step_by_hand(refused):
    """A gradient of norm 5 is clipped to 1, one of norm 0.5 is not. Then both are gone."""
    model = torch.nn.Linear(2, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (step + 1))
    torch.nn.init.zeros_(model.weight)
    model.weight.grad = torch.tensor([[3.0, 4.0]])
    models.take_step(model, optimizer, schedule)
    assert model.weight.tolist()[0] == pytest.approx([-0.6, -0.8], abs=1e-6)
    assert model.weight.grad is None

    # At the second step the rate is half.
    model.weight.grad = torch.tensor([[0.3, -0.4]])
    models.take_step(model, optimizer, schedule)
    assert model.weight.tolist()[0] == pytest.approx([-0.75, -0.6], abs=1e-6)

    before = model.weight.tolist()
    model.weight.grad = torch.tensor([[float("inf"), 0.0]])
    refused(lambda: models.take_step(model, optimizer, schedule), "not a number", "--lr")
    assert model.weight.tolist() == before


# ── Saving ───────────────────────────────────────────────────────────────────────────────────────


def test_a_checkpoint_replaces_a_checkpoint_as_a_whole(tiny, tmp_path):
    path = str(tmp_path / "m")
    model, tokenizer = models.load_policy(str(tiny))
    models.save_checkpoint(model, tokenizer, path, [dict(loss=0.5)])
    (tmp_path / "m/left over").touch()
    models.check_target(path, str(tiny))
    models.save_checkpoint(model, tokenizer, path)
    assert not (tmp_path / "m/left over").exists()
    assert not (tmp_path / "m/metrics.jsonl").exists()
    assert not (tmp_path / "m.part").exists()

    # An ordinary checkpoint: the library loads it without us.
    loaded = transformers.AutoModelForCausalLM.from_pretrained(path)
    for name, weight in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weight)
    assert transformers.AutoTokenizer.from_pretrained(path).chat_template


def test_metrics_lie_beside_the_weights(tiny, tmp_path):
    model, tokenizer = models.load_policy(str(tiny))
    models.save_checkpoint(model, tokenizer, str(tmp_path / "m"), [dict(epoch=1), dict(epoch=2)])
    assert read(tmp_path / "m/metrics.jsonl") == [dict(epoch=1), dict(epoch=2)]


def test_only_a_checkpoint_may_be_replaced(tiny, tmp_path, refused):
    (tmp_path / "steps.jsonl").touch()
    refused(lambda: models.check_target(str(tmp_path), str(tiny)), tmp_path, "no checkpoint")
    file = tmp_path / "steps.jsonl"
    refused(lambda: models.check_target(str(file), str(tiny)), file, "no checkpoint")
    (tmp_path / "empty").mkdir()
    for free in (tmp_path / "new", tmp_path / "empty", tiny):
        models.check_target(str(free), str(tiny))


def test_a_checkpoint_needs_as_much_disk_as_its_base(tiny, tmp_path, refused, monkeypatch):
    size = sum(file.stat().st_size for file in tiny.iterdir())
    usage = models.shutil.disk_usage(tmp_path)
    path = str(tmp_path / "new")
    monkeypatch.setattr(models.shutil, "disk_usage", lambda _: usage._replace(free=size - 1))
    refused(lambda: models.check_target(path, str(tiny)), path, "MB of disk", "make room")
    monkeypatch.setattr(models.shutil, "disk_usage", lambda _: usage._replace(free=size))
    models.check_target(path, str(tiny))
    models.check_target(path, "Qwen/Qwen2.5-0.5B")


@pytest.mark.parametrize("error", [OSError(28, "No space"), RuntimeError("I/O error: full\n.")])
def test_a_checkpoint_that_does_not_fit_is_one_line(tiny, tmp_path, refused, monkeypatch, error):
    model, tokenizer = models.load_policy(str(tiny))

    def save(folder):
        (tmp_path / "m.part").mkdir()
        raise error

    monkeypatch.setattr(model, "save_pretrained", save)
    path = str(tmp_path / "m")
    refused(lambda: models.save_checkpoint(model, tokenizer, path), path, "cannot be written")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_checkpoint_is_refused(tiny, tmp_path, refused):
    """A bit anywhere, a file cut off or missing: 100 of them."""
    model, tokenizer = models.load_policy(str(tiny))
    models.save_checkpoint(model, tokenizer, str(tmp_path / "m"))
    models.load_policy(str(tmp_path / "m"))
    rng = random.Random(0)
    names = sorted(path.name for path in (tmp_path / "m").iterdir())
    assert "model.safetensors" in names and "SHA256SUMS" in names
    for _ in range(100):
        file = tmp_path / "m" / rng.choice(names)
        whole = file.read_bytes()
        place = rng.randrange(len(whole) - 1)
        flipped = (
            whole[:place] + bytes([whole[place] ^ (1 << rng.randrange(8))]) + whole[place + 1 :]
        )
        if rng.random() < 0.3 and file.name != "SHA256SUMS":
            flipped = whole[:place]
        file.write_bytes(flipped)
        refused(lambda: models.load_policy(str(tmp_path / "m")), tmp_path / "m", "SHA256SUMS")
        file.write_bytes(whole)
    (tmp_path / "m/tokenizer.json").unlink()
    refused(lambda: models.load_policy(str(tmp_path / "m")), "tokenizer.json is damaged")

    # Whoever changes a file on purpose deletes the sums.
    shutil.copy(tiny / "tokenizer.json", tmp_path / "m")
    (tmp_path / "m/generation_config.json").write_text('{"do_sample": true, "eos_token_id": 1}')
    (tmp_path / "m/SHA256SUMS").unlink()
    models.load_policy(str(tmp_path / "m"))
