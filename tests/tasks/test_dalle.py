"""DALL-E on runs of its own: what it takes over, its losses by hand, guidance, candidates, completion, and what it refuses."""

import json
import shutil
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from PIL import Image

from genjax import data, sampling, training
from genjax.data.text_rows import text_rows
from genjax.errors import ConfigError, DataError, RequestError
from genjax.models.transformer import stack_blocks
from genjax.sampling import encode
from genjax.sampling.run import run_task
from genjax.tasks.dalle import DALLETaskConfig
from genjax.tasks.dalle_requests import DALLERequest, read_texts
from genjax.training.run_config import structure_run
from genjax.training.setup import make_plan
from tests.dalle_runs import MODEL, SHAPES, STAGE, config, dalle


@pytest.fixture(scope="session")
def written(dalle_runs):
    """A DALL-E of two stacks."""
    stacks = {"num_layers": 1, "num_heads": 2, "embed_dim": 16, "init_factor": 3.0}
    training.train(config(dalle(dalle_runs, form="two_stacks", model=stacks, prompts=())), dalle_runs / "written")
    return dalle_runs / "written"


@pytest.fixture(scope="session")
def another(tmp_path_factory):
    """Another first stage."""
    folder = tmp_path_factory.mktemp("another") / "stage"
    training.train(config(STAGE) | {"seed": 2}, folder)
    return folder


def planned(settings, **places):
    """The task of a run that would begin."""
    return make_plan(structure_run(settings), **places).task


@pytest.fixture(scope="session")
def opened(dalle_runs):
    return sampling.open_run(dalle_runs / "drawn")


@pytest.fixture(scope="session")
def sampler(opened):
    return sampling.Sampler(opened[0])


def test_a_run_takes_over_the_networks_of_others(dalle_runs, opened):
    task, variables = opened
    _, stage = sampling.open_run(dalle_runs / "stage")
    _, ranker = sampling.open_run(dalle_runs / "ranker")
    jax.tree.map(np.testing.assert_array_equal, variables["first_stage"], stage["autoencoder"])
    jax.tree.map(np.testing.assert_array_equal, variables["ranker"], ranker["towers"])
    source = json.loads((dalle_runs / "drawn" / "adopted" / "first_stage" / "source.json").read_text())
    assert source["step"] == 2 and len(source["digest"]) == 12
    assert (task.sizes.rows, task.sizes.columns, task.sizes.codes) == (8, 8, 16)


def test_it_needs_them_no_more(dalle_runs, another, opened, tmp_path):
    """Sampling, and going on, where the first stage is gone; not where it is another one."""
    shutil.copytree(dalle_runs, tmp_path / "moved")
    folder = tmp_path / "moved"
    settings = config(dalle(folder), steps=3)
    stored = json.loads((folder / "drawn" / "config.json").read_text())
    stored["task"] |= {name: settings["task"][name] for name in ("first_stage", "ranker")}
    (folder / "drawn" / "config.json").write_text(json.dumps(stored))
    shutil.rmtree(folder / "ranker")
    task, variables = sampling.open_run(folder / "drawn")
    jax.tree.map(np.testing.assert_array_equal, variables, opened[1])
    assert training.train(settings, folder / "drawn").step == 3
    shutil.rmtree(folder / "stage")
    shutil.copytree(another, folder / "stage")
    with pytest.raises(ConfigError, match="stage is not what this run began with: step 2 has the digest"):
        training.train(config(dalle(folder), steps=4), folder / "drawn")


def test_digests_that_are_given_are_checked(dalle_runs, tmp_path):
    digest = json.loads((dalle_runs / "drawn" / "adopted" / "first_stage" / "source.json").read_text())["digest"]
    assert planned(config(dalle(dalle_runs, first_stage_digest=digest))).config.first_stage_digest == digest
    with pytest.raises(ConfigError, match=f"has the digest {digest}, but config.task.first_stage_digest says 0123"):
        training.train(config(dalle(dalle_runs, first_stage_digest="0123")), tmp_path / "wrong")
    assert not (tmp_path / "wrong" / "config.json").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"first_stage": "nowhere"}, "config.task.first_stage names nowhere, but there is no run; train it first"),
        ({"first_stage": ""}, "config.task.first_stage must name a run of task 'autoencoder' with one code for each place"),
        ({"ranker": "STAGE"}, "is no run of task 'contrastive'"),
        (
            {"model": MODEL | {"codes": 17}},
            "model.codes is 17, but the first stage .* makes 8x8 codes of 16; set it to 16",
        ),
        ({"model": MODEL | {"rows": 4}}, "config.task.model.rows is 4, but the first stage"),
        ({"text_weight": 1.0}, "config.task.text_weight is 1.0"),
    ],
)
def test_configs_that_cannot_be(dalle_runs, changes, message, tmp_path):
    changes = {name: str(dalle_runs / "stage") if value == "STAGE" else value for name, value in changes.items()}
    with pytest.raises(ConfigError, match=message):
        training.train(config(dalle(dalle_runs, **changes)), tmp_path / "run")


def test_images_of_another_size_than_the_first_stages(dalle_runs, tmp_path):
    wrong = config(dalle(dalle_runs)) | {"data": SHAPES | {"image_size": 48}}
    with pytest.raises(ConfigError, match="reads images of 32x32x3, and the data has 48x48x3"):
        training.train(wrong, tmp_path / "run")


# Training.


def test_the_loss_by_hand(opened):
    """Each token's nats by a softmax over its own vocabulary, from logits of whole sequences that are built here."""
    task, variables = opened
    c, batch = task.form.config, data.build(SHAPES, seed=1, cache_dir=None).train.batch(0)
    codes = task.first_stage.model.apply(variables["first_stage"], jnp.asarray(batch["image"] / 127.5 - 1, jnp.float32))[1].codes
    codes = np.asarray(codes).reshape(8, 64)
    texts = batch["tokens"].copy()
    for row in texts:
        end = 1 + list(row[1:]).index(task.info.tokenizer.eos_id)
        row[end + 1 :] = c.text_vocab + np.arange(end + 1, c.text_length)
    read = np.concatenate(
        [np.full((8, 1), c.text_vocab + c.text_length), texts, codes[:, :-1] + c.text_vocab + c.text_length + 1], 1
    )
    logits = np.asarray(task.form.model.apply(variables["dalle"], jnp.asarray(read)), np.float64)

    def nats(part, targets):
        part = part - part.max(-1, keepdims=True)
        shares = part - np.log(np.exp(part).sum(-1, keepdims=True))
        return -np.take_along_axis(shares, targets[..., None], -1).mean()

    text = nats(logits[:, : c.text_length, : c.text_vocab + c.text_length], texts)
    image = nats(logits[:, c.text_length :, c.text_vocab + c.text_length + 1 :], codes)
    sums = task.evaluate(variables, batch, jax.random.key(0))
    assert float(sums["text"][0] / sums["text"][1]) == pytest.approx(text, rel=1e-5)
    assert float(sums["image"][0] / sums["image"][1]) == pytest.approx(image, rel=1e-5)
    whole = replace(task, config=DALLETaskConfig(MODEL, text_dropout=0.0))
    loss, _ = whole.loss(variables, batch, jax.random.key(0))
    assert float(loss) == pytest.approx(text / 8 + image * 7 / 8, rel=1e-5)


def test_only_the_gpt_is_trained(opened):
    task, variables = opened
    batch = data.build(SHAPES, seed=1, cache_dir=None).train.batch(0)
    slopes = jax.grad(lambda v: task.loss(v, batch, jax.random.key(0))[0])(variables)
    assert any(np.any(leaf) for leaf in jax.tree.leaves(slopes["dalle"]))
    assert not any(np.any(leaf) for leaf in jax.tree.leaves({n: slopes[n] for n in ("first_stage", "ranker")}))
    (turn,) = task.turns
    assert turn.trains == ("dalle/params/*",)


# Sampling.


def logits_of(task, variables, prompt, codes, places):
    """Of the code at a place, after a prompt ("": none) and codes, read at once."""
    (start,), source = task.form.prompts(*read_texts([prompt], task))
    read = jnp.asarray(np.concatenate([start, codes[:places] + task.form.first_code])[None])
    texts = () if source is None else (jnp.asarray(source[0])[None],)
    return np.asarray(task.form.model.apply(variables["dalle"], *texts, read))[0, -1, task.form.first_code :]


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("form", ["one sequence", "two stacks"])
def test_the_likeliest_codes_are_those_of_guided_logits(opened, form, guidance, request):
    """Greedily, code for code: untold + scale * (told - untold)."""
    task, variables = opened if form == "one sequence" else sampling.open_run(request.getfixturevalue("written"))
    (drawn,) = sampling.sample(task, variables, [DALLERequest("a red circle", temperature=0.0, guidance=guidance)])
    codes = drawn.arrays["codes"].reshape(-1)
    for place in (0, 1, 20):
        told, untold = (logits_of(task, variables, prompt, codes, place) for prompt in ("a red circle", ""))
        assert codes[place] == (untold + guidance * (told - untold)).argmax()
    made = task.first_stage.model.apply(variables["first_stage"], codes.reshape(1, 8, 8), method="decode_codes")
    np.testing.assert_array_equal(drawn.value, task.first_stage.to_image(made)[0])


def test_scanned_layers_draw_the_same(opened):
    """Their weights are taken apart before."""
    task, variables = opened
    form = replace(task.form, config=replace(task.form.config, scan_layers=True))
    params = dict(variables["dalle"]["params"])
    stacked = {**variables, "dalle": {"params": params | {"gpt": stack_blocks(params["gpt"])}}}
    scanned = replace(task, form=form)
    assert "blocks" in stacked["dalle"]["params"]["gpt"]
    assert "blocks_0" in scanned.sampling_variables(stacked)["dalle"]["params"]["gpt"]
    wish = [DALLERequest("a red circle", temperature=0.0)]
    (one,), (other,) = sampling.sample(task, variables, wish), sampling.sample(scanned, stacked, wish)
    np.testing.assert_array_equal(one.arrays["codes"], other.arrays["codes"])


def test_the_best_candidates_are_shown(opened, sampler):
    task, variables = opened
    request = DALLERequest("two blue squares", num_samples=3, candidates=10)
    best = sampler(variables, [request])
    every = sampler(variables, [DALLERequest("two blue squares", num_samples=10)])
    scores = [artifact.metadata["score"] for artifact in every]
    assert [a.metadata["score"] for a in best] == sorted(scores, reverse=True)[:3]
    by_number = {artifact.metadata["sample"]: artifact for artifact in every}
    for artifact in best:
        np.testing.assert_array_equal(artifact.value, by_number[artifact.metadata["sample"]].value)
    # The score is that of the contrastive model itself.
    towers, ranker = {"towers": variables["ranker"]}, task.ranker
    mean, std = (np.asarray(numbers, np.float32) for numbers in (ranker.preprocessor.mean, ranker.preprocessor.std))
    images = (np.stack([a.value for a in every]).astype(np.float32) / 255 - mean) / std
    tokens = text_rows(ranker.info.tokenizer, ["two blue squares"], ranker.info.context_length)
    cosines = ranker.encode_images(towers, images) @ ranker.encode_texts(towers, tokens)[0]
    np.testing.assert_allclose(scores, 100 * cosines, atol=2e-3)


def test_completion_keeps_the_given_rows(opened, sampler, tmp_path):
    task, variables = opened
    image = data.build(SHAPES, seed=0, cache_dir=None).train.batch(0)["image"][0]
    Image.fromarray(image).save(tmp_path / "given.png")
    codes = np.asarray(task.codes_of(variables, jnp.asarray(image[None] / 127.5 - 1, jnp.float32))).reshape(8, 8)
    request = {"prompt": "a red circle", "image": str(tmp_path / "given.png")}
    before = sampler.compilations
    for keep in (3, 6):
        for artifact in sampler(variables, [DALLERequest(**request, keep_rows=keep, num_samples=3)]):
            np.testing.assert_array_equal(artifact.arrays["codes"][:keep], codes[:keep])
            np.testing.assert_array_equal(artifact.value[: 4 * keep], image[: 4 * keep])
    assert sampler.compilations == before + 1
    varied = sampler(variables, [DALLERequest(**request, vary=0.3, num_samples=3)])
    kept = [(artifact.arrays["codes"] == codes).mean() for artifact in varied]
    assert all(share > 0.55 for share in kept) and min(kept) < 1


def test_changing_what_is_asked_compiles_nothing(opened, sampler):
    _, variables = opened
    first = DALLERequest("a red circle", num_samples=4, candidates=8, guidance=2.0)
    sampler(variables, [first])
    before = sampler.compilations
    another = ({"guidance": 4.0}, {"temperature": 0.5}, {"top_k": 3}, {"prompt": "three black crosses"}, {"num_samples": 2})
    for changes in another:
        sampler(variables, [DALLERequest(**{**vars(first), **changes})])
    assert sampler.compilations == before


def test_the_same_is_drawn_where_a_bar_shows_it(opened, sampler, tmp_path, capsys):
    task, variables = opened
    given = data.build(SHAPES, seed=1, cache_dir=None).train.batch(0)["image"][0]
    Image.fromarray(given).save(tmp_path / "given.png")
    for request in (
        DALLERequest("a red circle", num_samples=2, candidates=4, guidance=2.0),
        DALLERequest("a red circle", num_samples=2, image=str(tmp_path / "given.png"), keep_rows=3),
    ):
        silent = sampler(variables, [request])
        shown = sampler(variables, [request], progress=True)
        assert "63/63" in capsys.readouterr().err
        for one, other in zip(silent, shown, strict=True):
            np.testing.assert_array_equal(one.arrays["codes"], other.arrays["codes"])
            assert abs(one.value.astype(int) - other.value).max() <= 1
            assert one.metadata == other.metadata


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": "red " * 40}, "has 42 tokens with its ends, but the model reads 24; shorten it"),
        ({"candidates": 2, "num_samples": 3}, "--candidates=2 are fewer than --num_samples=3"),
        ({"guidance": -1.0}, "--guidance=-1.0: it must be 0 or more"),
        ({"keep_rows": 8, "image": "x.png"}, "--keep_rows=8: images have 8 rows of codes; keep 1 to 7"),
        ({"image": "x.png"}, "an image is completed"),
        ({"keep_rows": 2, "image": "SMALL"}, "is 20x10 pixels; this model draws 32x32: resize it"),
        ({"keep_rows": 2, "image": "nowhere.png"}, "the image nowhere.png cannot be read: no such file"),
    ],
)
def test_requests_that_cannot_be(opened, changes, message, tmp_path):
    Image.new("RGB", (20, 10)).save(tmp_path / "small.png")
    changes = {name: str(tmp_path / "small.png") if value == "SMALL" else value for name, value in changes.items()}
    with pytest.raises(RequestError, match=message):
        opened[0].prepare([DALLERequest(**{"prompt": "a red circle", **changes})])


def test_codes_that_were_computed_before(dalle_runs, another, tmp_path):
    """The same losses as with encoding in every step; not with another first stage, or for other data."""
    assert encode.main([f"--workdir={dalle_runs / 'stage'}", f"--out={tmp_path / 'codes'}"]) == 0
    read = config(dalle(dalle_runs)) | {"data": SHAPES | {"codes": {"path": str(tmp_path / "codes")}}}
    training.train(read, tmp_path / "read")
    lines = [(folder / "metrics.jsonl").read_text().splitlines() for folder in (dalle_runs / "drawn", tmp_path / "read")]
    one, two = ([json.loads(line) for line in found] for found in lines)
    for name in ("loss", "held_out/image"):
        first, second = ([line[name] for line in found if name in line] for found in (one, two))
        assert first and first == pytest.approx(second, rel=1e-5)
    alone = planned(read | {"task": dalle(dalle_runs, first_stage="", ranker="")})
    with pytest.raises(RequestError, match="no first stage to draw them"):
        alone.prepare([DALLERequest("a red circle")])
    with pytest.raises(ConfigError, match="data.codes are of a first stage of digest"):
        planned(read | {"task": dalle(dalle_runs, first_stage=str(another))})
    with pytest.raises(DataError, match="are of other data than config.data"):
        planned(read | {"data": read["data"] | {"num_images": 65}})
    with pytest.raises(DataError, match="holds no codes"):
        planned(read | {"data": SHAPES | {"codes": {"path": str(tmp_path)}}})


def test_without_a_ranker_there_is_no_choice(dalle_runs, opened):
    task = replace(opened[0], ranker=None)
    with pytest.raises(RequestError, match="--candidates: this run has no ranker to choose by"):
        task.prepare([DALLERequest("a red circle", candidates=4)])
    assert nn.unbox(jax.eval_shape(lambda: task.init(jax.random.key(0)))).keys() == {"dalle", "first_stage"}
    assert run_task(dalle_runs / "drawn").ranker is not None
