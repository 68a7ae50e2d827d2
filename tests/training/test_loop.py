import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from hypothesis import given
from hypothesis import strategies as st
from refusals import refusal
from synthetic import CLASSES, make_dataset, training_params
from torch import nn
from torch.optim.swa_utils import AveragedModel

from stages.config.errors import UserError
from stages.model.checkpoint import CHECKPOINT_FILE, save_checkpoint
from stages.model.preprocess import preprocess
from stages.model.weights import read_state_dict
from stages.training import depthwise, loop
from stages.training.loop import LAST_GOOD_FILE, check_settings, image_size_of, train
from stages.training.resume import discard_state, state_file


class Net(nn.Sequential):
    """A small network with all that makes a run hard to repeat: batch norm and dropout."""

    def __init__(self, seed=0):
        torch.manual_seed(seed)
        super().__init__(
            nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 16, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten(),
            nn.Dropout(0.1), nn.Linear(144, len(CLASSES)))


class NotFiniteAt(Net):
    """Adds `number` to the first class's logit in training step `step`."""

    def __init__(self, step, number=float("nan")):
        super().__init__()
        self.step, self.number, self.steps = step, number, 0

    def forward(self, x):
        self.steps += self.training
        logits = super().forward(x)
        if self.steps == self.step:
            logits = logits + torch.tensor([self.number, 0, 0])
        return logits


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """The state of a run lies in the working directory."""
    monkeypatch.chdir(tmp_path)


def finished(dataset, params, run="run", seed=0):
    """Train to the end: the model, the bytes of its checkpoint, and the history."""
    model = Net(seed)
    history = train(model, dataset, params, run)
    save_checkpoint(CHECKPOINT_FILE, model, params.model, CLASSES)
    return SimpleNamespace(model=model.eval(), history=history, bytes=CHECKPOINT_FILE.read_bytes())


def interrupted(after_epoch, dataset, params, run="run"):
    """Train until a user stops it, once the state of `after_epoch` is kept."""
    original = loop.save_state

    def save_and_stop(run, state):
        original(run, state)
        if state["epoch"] == after_epoch:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "save_state", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            train(Net(), dataset, params, run)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """An uninterrupted run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("reference"))
        return finished(make_dataset(), training_params())


sizes = st.integers(8, 512)


@given(epochs=st.integers(1, 60), start=sizes, end=sizes)
def test_image_size_grows_within_bounds_to_the_full_size(epochs, start, end):
    path = [image_size_of(epoch, epochs, start, end) for epoch in range(1, epochs + 1)]
    assert path == sorted(path)
    assert min(start, end) <= path[0]
    assert path[-1] == end
    assert set(path[epochs - epochs // 3:]) <= {end}, "the last third is at the full size"


@pytest.mark.parametrize(("epochs", "start", "end", "expected"), [
    (7, 64, 192, [64, 96, 128, 160, 192, 192, 192]),
    (4, 32, 32, [32, 32, 32, 32]),
    (1, 32, 64, [64]),
    (2, 32, 64, [32, 64]),
    (3, 96, 64, [64, 64, 64])])
def test_image_size_by_hand(epochs, start, end, expected):
    assert [image_size_of(epoch, epochs, start, end)
            for epoch in range(1, epochs + 1)] == expected


def test_learns(reference):
    epochs = reference.history.epochs
    assert epochs[-1]["train.loss"] < epochs[0]["train.loss"]
    assert epochs[reference.history.best_epoch - 1]["val.accuracy"] > 0.9


def test_history_tells_what_was_done(reference, dataset):
    history, batch = reference.history, 16
    assert len(history.epochs) == len(history.seconds) == len(history.images) == 4
    assert history.images == [len(dataset.splits["train"]) // batch * batch] * 4
    assert [row["image_size"] for row in history.epochs] == [8, 8, 16, 16]
    assert not history.stopped_early


def test_ends_as_its_best_epoch(reference, dataset):
    """The model that is left has the accuracy and loss that the history has for that epoch."""
    batch = preprocess(torch.from_numpy(dataset.view("validation")[:]), 16,
                       *(training_params().model[key] for key in ("mean", "std")))
    with torch.no_grad():
        logits = reference.model(batch)
    labels = torch.from_numpy(dataset.labels_of("validation"))
    rows = reference.history.epochs
    best = rows[reference.history.best_epoch - 1]
    assert (logits.argmax(1) == labels).float().mean() == pytest.approx(best["val.accuracy"])
    assert nn.functional.cross_entropy(logits, labels).item() == pytest.approx(best["val.loss"],
                                                                              rel=1e-4)
    assert best["val.accuracy"] == max(row["val.accuracy"] for row in rows)


@pytest.mark.parametrize(("accuracies", "best"), [
    ([0.5, 0.9, 0.4, 0.4], 2), ([0.9, 0.8, 0.7, 0.6], 1), ([0.1, 0.2, 0.3, 0.4], 4)])
@pytest.mark.parametrize("stopped_after", [None, 3])
def test_an_earlier_best_epoch_is_what_is_left(dataset, monkeypatch, accuracies, best,
                                               stopped_after):
    """On scripted accuracies: the model ends as the averaged weights of the best epoch were."""
    kept = {}
    evaluations = iter(accuracies)
    monkeypatch.setattr(loop, "evaluate", lambda *args: (1.0, next(evaluations)))
    original = loop.save_state

    def save(run, state):
        kept[state["epoch"]] = {name.removeprefix("module."): value.clone()
                                for name, value in state["averaged"].items()}
        original(run, state)

    monkeypatch.setattr(loop, "save_state", save)
    if stopped_after:
        interrupted(stopped_after, dataset, training_params())
    model = Net()
    history = train(model, dataset, training_params(), "run")
    assert history.best_epoch == best
    assert all(torch.equal(value, kept[best][name]) for name, value in model.state_dict().items())
    assert not torch.equal(kept[1]["0.weight"], kept[4]["0.weight"])


@pytest.mark.parametrize("epochs", range(1, 7))
def test_any_number_of_steps_has_a_schedule(dataset, epochs):
    """One step an epoch; PyTorch's one cycle divides by zero at five."""
    few = replace(dataset, splits={**dataset.splits, "train": dataset.splits["train"][:16]})
    history = train(Net(), few, training_params(epochs=epochs), "run")
    assert len(history.epochs) == epochs


def test_two_runs_give_the_same_bytes(reference, dataset):
    again = finished(dataset, training_params())
    assert again.bytes == reference.bytes
    assert again.history.epochs == reference.history.epochs


def test_no_epoch_draws_as_one_of_a_neighbouring_seed(dataset, monkeypatch):
    drawn, augment = set(), loop.augment

    def spy(pictures, *, generator, **options):
        drawn.add(generator.initial_seed())
        return augment(pictures, generator=generator, **options)

    monkeypatch.setattr(loop, "augment", spy)
    for seed in (0, 1):
        finished(dataset, training_params(seed=seed, epochs=2), run=f"seed {seed}")
    assert len(drawn) == 4


@pytest.mark.parametrize("change", [{"seed": 1}, {"lr": 0.01}, {"ema_decay": 0.9},
                                    {"crop_padding": 0}, {"label_smoothing": 0.0},
                                    {"weight_decay": 0.5}, {"start_image_size": 16},
                                    {"cutout": 4}])
def test_every_setting_counts(reference, dataset, change):
    assert finished(dataset, training_params(**change)).bytes != reference.bytes


@pytest.mark.parametrize("after_epoch", [1, 2, 4])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(reference, dataset, monkeypatch,
                                                         after_epoch):
    interrupted(after_epoch, dataset, training_params())
    epochs = []
    original = loop.save_state
    monkeypatch.setattr(loop, "save_state", lambda run, state: (
        epochs.append(state["epoch"]), original(run, state)))
    torch.manual_seed(12345)  # what came before in the process has no say
    resumed = finished(dataset, training_params(), seed=7)
    assert epochs == list(range(after_epoch + 1, 5))
    assert resumed.bytes == reference.bytes
    assert resumed.history.epochs == reference.history.epochs


def test_another_run_does_not_go_on_from_its_state(reference, dataset):
    interrupted(2, dataset, training_params(lr=0.001), run="other parameters")
    assert finished(dataset, training_params()).bytes == reference.bytes


def test_early_stop_survives_an_interruption(dataset):
    """At a learning rate of nothing no epoch is a gain; the run stops after 1 + patience."""
    params = training_params(lr=1e-8, epochs=8, patience=2, start_image_size=16)
    interrupted(2, dataset, params)
    history = finished(dataset, params).history
    assert len(history.epochs) == 3
    assert history.stopped_early


@pytest.mark.parametrize("step", [1, 3])
@pytest.mark.parametrize(("number", "loss"), [(float("nan"), "nan"), (float("-inf"), "inf")])
def test_loss_that_is_not_finite(dataset, step, number, loss):
    with pytest.raises(UserError) as caught:
        train(NotFiniteAt(step, number), dataset, training_params(lr=0.02), "run")
    told = re.fullmatch(rf"loss is {loss} at step {step} of epoch 1 \(lr (\S+)\); lower train\.lr",
                        str(caught.value))
    assert told
    if step == 1:
        assert float(told[1]) == pytest.approx(0.02 / 25)  # where OneCycleLR begins
    else:
        assert 0.02 / 25 < float(told[1]) <= 0.02


def test_a_loss_that_ceases_to_be_finite_leaves_the_best_epoch(dataset):
    params = training_params(epochs=3)
    interrupted(1, dataset, params, "other")
    expected = torch.load(state_file("other"), weights_only=True)["best"]
    steps = len(dataset.splits["train"]) // params.train.batch_size
    with pytest.raises(UserError, match=rf"loss is nan at step 1 of epoch 2 .*; lower train\.lr; "
                                        rf"model\.weights={LAST_GOOD_FILE} goes on from the best "):
        train(NotFiniteAt(steps + 1), dataset, params, "run")
    kept = read_state_dict(LAST_GOOD_FILE)
    assert kept.keys() == expected.keys()
    assert all(torch.equal(kept[name], expected[name]) for name in kept)


def test_validation_loss_that_is_not_finite(dataset):
    class NanInEvaluation(Net):
        def forward(self, x):
            return super().forward(x) * (1 if self.training else float("nan"))

    with pytest.raises(UserError, match=r"validation loss is nan after epoch 1 \(lr \S+\); lower "
                                        r"train\.lr$"):
        train(NanInEvaluation(), dataset, training_params(epochs=2), "run")
    assert not LAST_GOOD_FILE.exists()


def test_batch_larger_than_the_split(dataset):
    count = len(dataset.splits["train"])
    train(Net(), dataset, training_params(batch_size=count, epochs=1), "run")
    with pytest.raises(UserError, match=rf"train\.batch_size: got {count + 1}, but the training "
                                        rf"split has {count} pictures"):
        train(Net(), dataset, training_params(batch_size=count + 1), "run")


@pytest.mark.parametrize(("batch_size", "told"), [
    (7, "must be a multiple of the 4 processes"), (4, "must be at least 8, two pictures for each"),
    (8, None)])
def test_batch_that_processes_share(dataset, batch_size, told):
    settings = training_params(batch_size=batch_size).train
    if told:
        assert told in refusal(check_settings, settings, dataset, 4)
    else:
        check_settings(settings, dataset, 4)


def test_cutout_must_fit_the_pictures(dataset):
    with pytest.raises(UserError, match=r"train\.cutout: got 13, may be at most 12"):
        train(Net(), dataset, training_params(cutout=13), "run")


@pytest.mark.parametrize(("crop_padding", "fits"), [(11, True), (12, False), (64, False)])
def test_crop_padding_must_fit_the_pictures(dataset, crop_padding, fits):
    params = training_params(crop_padding=crop_padding, epochs=1)
    if fits:
        train(Net(), dataset, params, "run")
    else:
        with pytest.raises(UserError, match=rf"train\.crop_padding: got {crop_padding}, may be at "
                                            r"most 11 for pictures of 12 pixels"):
            train(Net(), dataset, params, "run")


def test_bfloat16_learns_too(dataset, reference, monkeypatch):
    """Training runs in bfloat16; validation, and what is left, is float32."""
    monkeypatch.setattr(loop, "emulates_bfloat16", lambda: False)
    types, model = set(), Net()
    for layer in (3, 6):
        model[layer].register_forward_hook(lambda module, args, output: types.add(
            (module.groups, module.training, output.dtype)))
    history = train(model, dataset, training_params(precision="bf16"), "run")
    assert types == {(groups, training, torch.bfloat16 if training else torch.float32)
                     for groups in (1, 8) for training in (True, False)}
    assert {tensor.dtype for tensor in model.parameters()} == {torch.float32}
    assert history.epochs[history.best_epoch - 1]["val.accuracy"] > 0.9
    assert history.epochs != reference.history.epochs
    assert history.precision == "bf16"


def test_depthwise_weights_get_their_gradient_the_fast_way(dataset, monkeypatch):
    found, real = set(), depthwise.weight_gradient

    def counted(gradient, x, weight, *geometry):
        found.add(weight.shape)
        return real(gradient, x, weight, *geometry)

    monkeypatch.setattr(depthwise, "weight_gradient", counted)
    model = Net()
    train(model, dataset, training_params(epochs=1), "run")
    assert found == {model[3].weight.shape}


def test_bfloat16_that_would_be_emulated_is_float32_and_said_so(dataset, monkeypatch, caplog):
    monkeypatch.setattr(loop, "emulates_bfloat16", lambda: True)
    float32 = finished(dataset, training_params(epochs=1))
    discard_state("run")
    assert not caplog.messages
    AcceleratorState._reset_state(reset_partial_state=True)
    asked = finished(dataset, training_params(epochs=1, precision="bf16"))
    assert asked.bytes == float32.bytes
    assert asked.history.precision == "fp32"
    assert caplog.messages == [
        "train.precision: bf16 is emulated on this CPU, and slow; trains in fp32"]


def test_mirroring_is_taken_from_the_data_section(dataset, reference):
    """Left and right are classes here: mirrored pictures can't be told apart."""
    params = training_params()
    params.data.horizontal_flip = True
    history = train(Net(), dataset, params, "run").epochs
    assert np.max([row["train.accuracy"] for row in history]) < 0.8
    assert reference.history.epochs[-1]["train.accuracy"] > 0.9


class Indexed(nn.Module):
    """Picks its logits by a table of indices, as Swin does its biases."""

    def __init__(self):
        super().__init__()
        self.net = Net()
        self.register_buffer("table", torch.arange(400).flip(0))

    def forward(self, x):
        return self.net(x)[:, self.table[-len(CLASSES):]]


def test_tables_of_indices_are_not_averaged(dataset):
    model = Indexed()
    train(model, dataset, training_params(epochs=2, ema_decay=0.95), "run")
    assert torch.equal(model.table, torch.arange(400).flip(0))


def test_the_last_epoch_ends_no_run_early(dataset):
    history = finished(dataset, training_params(epochs=3, patience=1, min_delta=1.0)).history
    assert (len(history.epochs), history.stopped_early) == (2, True)
    params = training_params(epochs=2, patience=1, min_delta=1.0)
    history = finished(dataset, params, run="shorter").history
    assert (len(history.epochs), history.stopped_early) == (2, False)


def test_a_single_step_teaches(dataset):
    params = training_params(epochs=1, batch_size=len(dataset.splits["train"]), lr=0.1)
    model = finished(dataset, params).model
    assert (model[-1].weight - Net()[-1].weight).abs().max() > 1e-3


def test_frozen_parts_end_as_they_began_batch_norm_included(dataset):
    model = finished(dataset, training_params(frozen=["0", "1"], epochs=2)).model
    before, after = Net().state_dict(), model.state_dict()
    frozen = [name for name in before if name.startswith(("0.", "1."))]
    assert len(frozen) == 6
    assert all(torch.equal(before[name], after[name]) for name in frozen)
    assert not torch.equal(before["3.weight"], after["3.weight"])
    assert not torch.equal(before["4.running_mean"], after["4.running_mean"])


def test_a_rate_of_zero_leaves_a_model_as_it_came_batch_norm_included(dataset):
    after = finished(dataset, training_params(lr=0.0, epochs=1)).model.state_dict()
    assert any(name.endswith("running_mean") for name in after)
    assert all(torch.equal(value, after[name]) for name, value in Net().state_dict().items())


def test_what_is_left_is_the_moving_average_of_what_each_step_made(dataset, monkeypatch):
    """Weights, and the statistics of batch norm, by a recursion written out here."""
    decay, states = 0.9, []
    update = AveragedModel.update_parameters

    def spy(averaged, model):
        states.append({name: value.clone() for name, value in model.state_dict().items()})
        update(averaged, model)

    monkeypatch.setattr(AveragedModel, "update_parameters", spy)
    history = train(model := Net(), dataset, training_params(epochs=1, ema_decay=decay), "run")
    assert len(states) == sum(history.images) // 16
    expected = states[0]  # the first is copied
    for state in states[1:]:
        expected = {name: decay * value + (1 - decay) * state[name] if value.is_floating_point()
                    else value for name, value in expected.items()}
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, expected[name], msg=name)


def test_the_learning_rate_rises_to_its_peak_and_ends_near_nothing(dataset, monkeypatch):
    rates, step = [], torch.optim.AdamW.step

    def spy(optimizer, *arguments):
        rates.append(optimizer.param_groups[0]["lr"])
        return step(optimizer, *arguments)

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    params = training_params()
    train(Net(), dataset, params, "run")
    assert max(rates) == pytest.approx(params.train.lr, rel=0.1)
    assert rates[-1] == min(rates) < params.train.lr / 1e4


def test_validation_batches_are_no_larger_than_training_has_room_for(dataset, monkeypatch):
    seen, measure = set(), loop.preprocess

    def spy(pictures, *arguments):
        if not torch.is_grad_enabled():
            seen.add(len(pictures))
        return measure(pictures, *arguments)

    monkeypatch.setattr(loop, "preprocess", spy)
    train(Net(), dataset, training_params(epochs=1, batch_size=4), "run")
    assert max(seen) == 16


def test_a_run_that_goes_on_in_another_precision_says_so(dataset, monkeypatch, caplog):
    monkeypatch.setattr(loop, "emulates_bfloat16", lambda: False)
    params = training_params(precision="bf16")
    interrupted(2, dataset, params)
    monkeypatch.setattr(loop, "emulates_bfloat16", lambda: True)
    AcceleratorState._reset_state(reset_partial_state=True)
    assert finished(dataset, params).history.precision == "bf16, then fp32"
    assert "train.precision: was bf16 up to here, is fp32 on this machine" in caplog.text
