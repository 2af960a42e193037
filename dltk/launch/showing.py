"""What W&B shows in its own types of a finished run: predictions, confusions, what was written, alignments, filters.

Few and small, so that it costs seconds: some dozens of rows, pictures of at most 128 pixels. `dltk draw`, `evaluate
--report` and `compare --html` show more.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from dltk.compare.claims import claim_of
from dltk.data.datamodule import DataModule
from dltk.data.dataset import keys_of
from dltk.launch.aligned import align
from dltk.launch.described import describe
from dltk.launch.evaluation import Evaluated
from dltk.run.claim import verdict
from dltk.run.folder import RunFolder
from dltk.tasks.captioning import Captioned, Captioning
from dltk.tasks.classification import Classification
from dltk.tasks.decoding import Attentive
from dltk.tasks.task import Task
from dltk.tasks.transcription import Transcribed, Transcription
from dltk.tasks.translation import Translated, Translation

# Shapes: n samples, k classes; c channels, h rows, w columns; s source tokens, t tokens of the translation.

WRONG, RIGHT = 24, 12  # predictions in the table: the worst mistakes, and the first that are right
CLASSES = 40  # of a confusion matrix at most
SENTENCES, ALIGNMENTS = 40, 4
FILTERS = 256
SIDE = 128  # pixels of a picture at most
LEAST = 64  # … and at least: smaller ones are enlarged, their pixels kept sharp
ACROSS = 8  # of them in a line
SQUARE = 12  # pixels of one weight of an alignment

Thing = dict[str, Any]


def things(folder: RunFolder, data: DataModule, found: Evaluated) -> list[Thing]:
    """What a run's last evaluation shows, as `Tracker.show` takes it.

    Args:
        folder: the run.
        data: its data.
        found: the evaluation, of all processes.
    """
    task, split = found.task, str(found.answer["split"])
    part = data.part(split)
    shown: list[Thing] = []
    if isinstance(task, Classification) and found.samples["scores"].ndim == 2:
        shown += _classified(found.samples, part, split, str(found.answer["protocol"]))
    tables = written(task, part, split, SENTENCES, worst=True)
    rows = tables[0]["rows"] if tables else []
    shown += tables
    if rows and isinstance(task, Translation) and isinstance(task.model, Attentive):
        sentences = [row[1] for row in rows if row[1].strip()]
        images = [_alignment(folder, task, sentence) for sentence in sentences[:ALIGNMENTS]]
        shown.append({"name": "alignments", "kind": "images", "images": images})
    if rows and isinstance(task, Captioning) and task.looks:
        numbers = _numbers(part, split)
        images = [_attention(folder, task, _image_of(part, numbers, row[0])) for row in rows[:ALIGNMENTS]]
        shown.append({"name": "attention", "kind": "images", "images": images})
    return shown + filters_of(task.model)


def summary(folder: RunFolder, answer: Mapping[str, Any]) -> dict[str, Any]:
    """What stands beside a finished run: what its evaluation measured, and what its claim says to it alone."""
    claim, metrics = claim_of(folder), answer["metrics"]
    told = {**metrics, "evaluation/step": answer["checkpoint"], "evaluation/samples": answer["samples"]}
    if claim is not None and isinstance(metrics.get(claim.metric), int | float):
        told["claim"] = verdict([metrics[claim.metric]], claim).line
    return told


# Classes ------------------------------------------------------------------------------------------------------------


def _classified(samples: Mapping[str, NDArray[Any]], part: Any, split: str, protocol: str) -> list[Thing]:
    targets, scores = samples["targets"], samples["scores"]  # (n,), (n, k)
    shares = torch.from_numpy(scores).double().softmax(1).numpy()
    order = np.argsort(shares[np.arange(len(targets)), targets], kind="stable")  # the least of the right class first
    wrong, right = (order[(scores[order].argmax(1) == targets[order]) == same] for same in (False, True))
    chosen = np.concatenate([wrong[:WRONG], right[:RIGHT]])
    counts = np.zeros((scores.shape[1], scores.shape[1]), np.int64)
    np.add.at(counts, (targets, scores.argmax(1)), 1)
    table = predictions({name: values[chosen] for name, values in samples.items()}, part, split)
    return [table, *confusion(counts, part, f"{split}, {protocol}")]


def predictions(samples: Mapping[str, NDArray[Any]], part: Any, split: str) -> Thing:
    """A row for each sample, in their order, of their keys, targets (n,) and scores (n, k)."""
    keys, targets = samples["keys"], samples["targets"]
    shares = torch.from_numpy(samples["scores"]).double().softmax(1).numpy()
    names = _class_names(part, shares.shape[1])
    numbers = _numbers(part, split)
    rows = []
    for at, chosen in enumerate(shares.argmax(1).tolist()):
        image = part[numbers[str(keys[at])]].get("image")
        picture = [{"png": _png(image)}] if image is not None and np.ndim(image) == 3 else [None]
        said = [names[chosen], round(float(shares[at, chosen]), 4), names[targets[at]]]
        rows.append([str(keys[at]), *picture, *said, round(float(shares[at, targets[at]]), 4)])
    columns = ["key", "picture", "said", "probability", "right", "probability of the right one"]
    return {"name": "predictions", "kind": "table", "columns": columns, "rows": rows}


def confusion(counts: NDArray[np.int64], part: Any, title: str) -> list[Thing]:
    """How often each class (a row of the k × k counts) was taken for each; nothing of many classes."""
    if len(counts) > CLASSES:
        return []
    about = {"classes": _class_names(part, len(counts)), "counts": counts.tolist(), "title": title}
    return [{"name": "confusion", "kind": "confusion", **about}]


def _class_names(part: Any, k: int) -> list[str]:
    known = [str(name) for name in getattr(part, "classes", ())]
    return known if len(known) == k else [str(number) for number in range(k)]


# What networks write ------------------------------------------------------------------------------------------------


def written(task: Task, part: Any, split: str, count: int, *, worst: bool = False) -> list[Thing]:
    """A table of what was written of the part evaluated last: nothing where nothing was.

    Args:
        task: of the network.
        part: the part.
        split: its name.
        count: rows at most.
        worst: those that are none of the references first; else in the order of their keys.
    """
    order: list[Any] = []
    if isinstance(task, Translation | Captioning):
        order = task.written
    elif isinstance(task, Transcription):
        order = task.transcribed
    if worst:
        order = sorted(order, key=lambda one: bool(one.exact))
    if not order:
        return []
    if isinstance(task, Translation):
        return [_translations(task, order[:count], part, split)]
    if isinstance(task, Captioning):
        return [_captions(order[:count], part, split)]
    return [_transcripts(order[:count])]


def _translations(task: Translation, every: Sequence[Translated], part: Any, split: str) -> Thing:
    vocabulary, _ = task.required_vocabularies()
    numbers = _numbers(part, split)
    rows = []
    for one in every:
        source = vocabulary.decode([int(token) for token in part[numbers[one.key]]["source"]])
        rows.append([one.key, source, one.reference, one.hypothesis, one.exact])
    columns = ["key", "source", "reference", "translation", "exact"]
    return {"name": "translations", "kind": "table", "columns": columns, "rows": rows}


def _captions(every: Sequence[Captioned], part: Any, split: str) -> Thing:
    judged = any(one.verdict is not None for one in every)
    numbers = _numbers(part, split)
    rows = []
    for one in every:
        picture = {"png": _png(_image_of(part, numbers, one.key))}
        said = [one.key, picture, one.hypothesis, "\n".join(one.references), one.exact]
        rows.append([*said, *([bool(one.verdict and one.verdict.true)] if judged else [])])
    columns = ["key", "picture", "caption", "references", "exact", *(["true"] if judged else [])]
    return {"name": "captions", "kind": "table", "columns": columns, "rows": rows}


def _transcripts(every: Sequence[Transcribed]) -> Thing:
    rows = [[one.key, one.reference, one.hypothesis, one.exact] for one in every]
    columns = ["key", "reference", "transcript", "exact"]
    return {"name": "transcripts", "kind": "table", "columns": columns, "rows": rows}


def _alignment(folder: RunFolder, task: Translation, sentence: str) -> Thing:
    """A row for each token of the translation, a column for each of the source; white where a weight is 1."""
    found = align(folder, task, sentence, 1)
    grey = (255 * found.weights.clip(0, 1)).astype(np.uint8)  # (t, s)
    image = Image.fromarray(grey).resize((SQUARE * grey.shape[1], SQUARE * grey.shape[0]), Image.Resampling.NEAREST)
    caption = f"across: {' '.join(found.source)} | down: {' '.join(found.target)}"
    return {"png": _encoded(image), "caption": caption}


def _attention(folder: RunFolder, task: Captioning, image: NDArray[np.uint8]) -> Thing:
    """The picture (c, h, w) and, for each word of its caption, where the network looked, in lines of eight."""
    pixels = torch.from_numpy(image)
    found = describe(folder, task, pixels, 1)
    panels = [_of_a_size(Image.fromarray((255 * panel).astype(np.uint8))) for panel in found.panels(pixels)]
    (width, height), across = panels[0].size, min(ACROSS, len(panels))
    sheet = Image.new("RGB", (across * width, -(-len(panels) // across) * height), "white")
    for at, panel in enumerate(panels):
        sheet.paste(panel, (at % across * width, at // across * height))
    return {"png": _encoded(sheet), "caption": " ".join(found.words)}


def _numbers(part: Any, split: str) -> dict[str, int]:
    """Where in a part each key is."""
    return {key: number for number, key in enumerate(keys_of(part, split))}


# Pictures -----------------------------------------------------------------------------------------------------------


def _image_of(part: Any, numbers: Mapping[str, int], key: str) -> NDArray[np.uint8]:
    """A sample's picture (c, h, w)."""
    image: NDArray[np.uint8] = np.asarray(part[numbers[key]]["image"])
    return image


def filters_of(model: nn.Module) -> list[Thing]:
    """A sheet of the first layer's filters, where they look at pixels."""
    filters = first_filters(model)
    if filters is None:
        return []
    caption = f"the first layer's filters, {filters.shape[0]} of {filters.shape[2]} × {filters.shape[3]}"
    return [{"name": "filters", "kind": "images", "images": [_picture(_sheet(filters), caption)]}]


def first_filters(model: nn.Module) -> torch.Tensor | None:
    """The weights (n, c, h, w) of the first convolution, where it looks at grey or coloured pixels; else None."""
    layer = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    if layer is None or layer.in_channels not in (1, 3) or layer.kernel_size == (1, 1):
        return None
    return layer.weight.detach().float().cpu()[:FILTERS]


def _sheet(filters: torch.Tensor) -> torch.Tensor:
    """Filters side by side (3, h, w), each on its own scale."""
    from torchvision.utils import make_grid  # type: ignore[import-untyped]  # 1 s to import

    across = max(1, round(len(filters) ** 0.5))
    factor = max(1, 32 // filters.shape[-1])
    large = filters.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    sheet: torch.Tensor = make_grid(large, nrow=across, normalize=True, scale_each=True, padding=2)
    return sheet


def _picture(image: Any, caption: str) -> Thing:
    return {"png": _png(image, small=False), "caption": caption}


def _png(image: Any, *, small: bool = True) -> str:
    """An image (c, h, w), bytes or any numbers, as a PNG in base64."""
    pixels = np.moveaxis(np.asarray(image), 0, 2)  # (h, w, c)
    pixels = pixels if pixels.shape[2] == 3 else pixels[..., :1]
    if pixels.dtype != np.uint8:
        span = float(pixels.max() - pixels.min()) or 1.0
        pixels = (255 * (pixels - pixels.min()) / span).astype(np.uint8)
    picture = Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels)
    return _encoded(_of_a_size(picture) if small else picture)


def _of_a_size(picture: Image.Image) -> Image.Image:
    """Neither too large for a row of a table nor too small to be seen."""
    factor = LEAST // max(picture.size)
    if factor > 1:
        picture = picture.resize((factor * picture.width, factor * picture.height), Image.Resampling.NEAREST)
    picture.thumbnail((SIDE, SIDE))
    return picture


def _encoded(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
