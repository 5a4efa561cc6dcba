"""Half b of the wrong calls and command lines; the halves were drawn at random."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import torch
from torch import nn

import wellposed as wp

from . import things as t
from .cases import Cases

cases = Cases()
call, fine, user, command = cases.call, cases.fine, cases.user, cases.command

call("check model int", lambda: t.check(model=5), "model", "5|int")
call("check model str", lambda: t.check(model="net"), "model", "net|str")
call("check model None", lambda: t.check(model=None), "model", "None")
call("check model state dict", lambda: t.check(model=t.net().state_dict()), "model", "dict|OrderedDict")
call(
    "check model ModuleList",
    lambda: t.check(model=nn.ModuleList([t.net()])),
    "model|forward",
    "ModuleList|forward",
    "error|user",
)
call(
    "check model frozen",
    lambda: t.check(model=t.frozen()),
    "model|parameter|requires_grad",
    "frozen|requires_grad|train",
    "error|finding",
)
user("check model raises", lambda: t.check(model=t.Raising()), t.PlantedError)
call(
    "check model returns int",
    lambda: t.check(model=t.Returning(3)),
    "model|output",
    "int|3",
    "error|user|finding",
)
call(
    "check model returns empty tuple",
    lambda: t.check(model=t.Returning(())),
    "model|output",
    "tuple|empty|()",
    "error|user|finding",
)
call(
    "check model nan weights",
    lambda: t.check(model=t.with_nan_weights()),
    "model|weight|parameter|0.weight|loss|output",
    "nan|finite",
    "error|finding",
)
call(
    "check model late parameter",
    lambda: t.check(model=t.LateParameter()),
    "model|parameter|scale|forward",
    "scale|parameter|forward",
    "error|fine|finding",
)
call(
    "check model without init",
    lambda: t.check(model=t.Unready()),
    "model",
    "Unready|__init__|parameter",
    "error|user",
)
user("check backward raises", lambda: t.check(model=t.BackwardRaises()), t.PlantedError)
call(
    "check model complex",
    lambda: t.check(model=nn.Linear(4, 1, dtype=torch.complex64)),
    "model|output|loss|input|parameter",
    "complex|dtype",
    "error|user|finding",
)
fine("check list of batches", lambda: t.check(train=[t.xy(16), t.xy(16)]))
call("check loss str", lambda: t.check(loss="mse"), "loss", "mse|str")
call("check loss list", lambda: t.check(loss=[t.mse]), "loss", "list")
call("check loss class", lambda: t.check(loss=nn.MSELoss), "loss", "class|MSELoss|type", "error|user")
call("check loss returns str", lambda: t.check(loss=lambda o, y: "low"), "loss", "str|low")
call(
    "check loss inf",
    lambda: t.check(loss=lambda o, y: t.mse(o, y) + float("inf")),
    "loss",
    "inf|finite",
    "error|finding",
)
call("check loss takes one", lambda: t.check(loss=lambda o: o.mean()), "loss", "argument|takes", "error|user")
call(
    "check loss takes none",
    lambda: t.check(loss=lambda: torch.zeros(())),
    "loss",
    "argument|takes",
    "error|user",
)
call(
    "check loss on meta",
    lambda: t.check(loss=lambda o, y: torch.zeros((), device="meta", requires_grad=True)),
    "loss",
    "meta",
    "error|finding",
)
call("check train int", lambda: t.check(train=5), "train", "5|int")
call("check train path", lambda: t.check(train="train.csv"), "train", "str|train.csv")
call("check train Path", lambda: t.check(train=pathlib.Path("train.csv")), "train", "Path|train.csv")
call("check train None", lambda: t.check(train=None), "train|data", "None|without|no |need")
call("check train empty list", lambda: t.check(train=[]), "train", "empty|no batch|nothing|0 ")
call("check train empty tuple", lambda: t.check(train=()), "train", "empty|no batch|nothing|()|0 ")
call(
    "check train one row", lambda: t.check(train=t.xy(1)), "train|inputs|rows", "1|one", "error|fine|finding"
)
call("check train generator", lambda: t.check(train=t.generator()), "train", "generator|once")
call("check train iterator", lambda: t.check(train=iter([t.xy(), t.xy()])), "train", "iterator|once")
call("check train map", lambda: t.check(train=map(tuple, [t.xy()])), "train", "map|once|iterator")
call("check train file", lambda: t.check(train=t.open_file()), "train", "TextIOWrapper|file|str")
call("check train closed file", lambda: t.check(train=t.closed_file()), "train", "TextIOWrapper|file|closed")
call(
    "check train inputs alone",
    lambda: t.check(train=t.x()),
    "train|targets",
    "Tensor|targets|pair|(inputs, targets)|4",
    "error|user",
)
call("check train ints", lambda: t.check(train=[1, 2, 3]), "train|batch", "int|1")
call("check train strings", lambda: t.check(train=["a", "b"]), "train|batch", "str|a")
call("check train Nones", lambda: t.check(train=[None, None]), "train|batch", "None")
call(
    "check train class", lambda: t.check(train=torch.utils.data.DataLoader), "train", "class|DataLoader|type"
)
call(
    "check train objects",
    lambda: t.check(train=(np.array([object()] * 64), t.xy()[1])),
    "train|inputs",
    "object",
)
call(
    "check train string array",
    lambda: t.check(train=(np.array(["a"] * 64), t.xy()[1])),
    "train|inputs",
    "<U|str|text",
)
call(
    "check targets meta", lambda: t.check(train=(t.x(), t.xy()[1].to("meta"))), "train|targets|device", "meta"
)
call(
    "check train inf",
    lambda: t.check(train=(t.spoiled(float("inf")), t.xy()[1])),
    "train|inputs",
    "inf|finite",
    "error|finding",
)
call(
    "check labels too large",
    lambda: t.check(model=t.net(out=2), loss=t.ce, train=(t.x(), t.labelled()[1] + 7)),
    "targets|train|label",
    "7|8",
    "error|user|finding",
)
call(
    "check labels negative",
    lambda: t.check(model=t.net(out=2), loss=t.ce, train=(t.x(), t.labelled()[1] - 5)),
    "targets|train|label",
    "-5|-4|negative",
    "error|user|finding",
)
call(
    "check targets None",
    lambda: t.check(train=(t.x(), None)),
    "train|targets",
    "None|without targets",
    "error|user",
)
call("check triple of scalars", lambda: t.check(train=(1, 2, 3)), "train", "int|1|tuple")
user(
    "check dataset raises",
    lambda: t.check(train=torch.utils.data.DataLoader(t.RaisingDataset(), batch_size=8)),
    t.PlantedError,
)
user("check iteration raises", lambda: t.check(train=t.RaisingBatches()), t.PlantedError)
call(
    "check empty loader",
    lambda: t.check(train=t.empty_loader()),
    "train",
    "empty|no batch|nothing|no rows|0 ",
)
call("check validation str", lambda: t.check(validation="val"), "validation", "str|val")
call("check validation empty", lambda: t.check(validation=[]), "validation", "empty|no batch|nothing|0 ")
call("check validation generator", lambda: t.check(validation=t.generator()), "validation", "generator|once")
call(
    "check validation meta",
    lambda: t.check(validation=(t.x().to("meta"), t.xy()[1].to("meta"))),
    "validation|device",
    "meta",
)
call("check optimizer str", lambda: t.check(optimizer="adam"), "optimizer", "adam|str")
call("check optimizer parameters", lambda: t.check(optimizer=t.net().parameters()), "optimizer", "generator")
call("check optimizer model", lambda: t.check(optimizer=t.net()), "optimizer", "Sequential")
call(
    "check scheduler",
    lambda: t.check(optimizer=torch.optim.lr_scheduler.ConstantLR(t.adam(t.net()))),
    "optimizer",
    "ConstantLR",
)
call("check precision near", lambda: t.check(precision="fp61"), "precision", "fp61")
call("check precision int", lambda: t.check(precision=16), "precision", "16|int")
call("check precision dtype", lambda: t.check(precision=torch.float16), "precision", "float16|dtype")
call("check precision list", lambda: t.check(precision=["fp16"]), "precision", "list|['fp16']")
call(
    "check select empty list", lambda: t.check(select=[]), "select", "[]|empty|no rule|none", "error|finding"
)
call("check select mixed", lambda: t.check(select=["WP101", 5]), "select", "5|int")
call("check select with empty", lambda: t.check(select=["WP101", ""]), "select", "''|\"\"|empty")
call("check select None inside", lambda: t.check(select=[None]), "select", "None")
call("check select family misspelt", lambda: t.check(select="WP1O"), "select|rule", "WP1O")
call("check ignore mixed", lambda: t.check(ignore=("WP101", 1.5)), "ignore", "1.5|float")
fine("check ignore list", lambda: t.check(ignore=["WP1"]))
call("check limits int", lambda: t.check(limits=5), "limits", "5|int")
call("check limits str", lambda: t.check(limits="strict"), "limits", "strict|str")
call("check limits dict", lambda: t.check(limits={"noise": 3.0}), "limits", "dict")
call("check seed str", lambda: t.check(seed="0"), "seed", "'0'|str")
call("check seed float", lambda: t.check(seed=1.5), "seed", "1.5|float")
call("check seed None", lambda: t.check(seed=None), "seed", "None")
call("check seed nan", lambda: t.check(seed=float("nan")), "seed", "nan|float")
call("check seed generator", lambda: t.check(seed=torch.Generator()), "seed", "Generator")
call("check seed negative", lambda: t.check(seed=-1), "seed", "-1", "error|fine")
call("check progress str", lambda: t.check(progress="yes"), "progress", "yes|str")
call("check progress bool", lambda: t.check(progress=True), "progress", "True|bool")
call(
    "check progress raises", lambda: t.check(progress=t.planted), "", "", "user|passes", cause=t.PlantedError
)
call(
    "check progress arity",
    lambda: t.check(progress=lambda: None),
    "progress",
    "argument",
    "error|user|passes",
    cause=TypeError,
)
fine("check progress", lambda: t.check(progress=lambda words: None))
call(
    "check fourth positional",
    lambda: wp.check(t.net(), t.mse, t.xy(), t.xy()),
    "positional",
    "4",
    python=True,
)
call(
    "check Problem and precision",
    lambda: wp.check(t.problem(), precision="bf16"),
    "precision|Problem",
    "precision|Problem",
)
call("Problem model int", lambda: wp.check(t.problem(model=5)), "model", "5|int")
call("Problem loss str", lambda: wp.check(t.problem(loss="mse")), "loss", "mse|str")
call("Problem precision", lambda: wp.check(t.problem(precision="float16")), "precision", "float16")
call("Problem name list", lambda: str(wp.check(t.problem(name=["a"]))), "name", "list|['a']")
call(
    "Problem names bytes",
    lambda: wp.check(t.problem(feature_names=b"abcd")),
    "feature_names",
    "bytes|b'abcd'",
)
call("Problem names empty", lambda: wp.check(t.problem(feature_names=())), "feature_names", "()|empty|0")
call("Problem misspelt", lambda: wp.Problem(modle=t.net()), "modle", "unexpected", python=True)
call("Problem optimizer str", lambda: wp.check(t.problem(optimizer="sgd")), "optimizer", "sgd|str")
fine("Problem names", lambda: wp.check(t.problem(feature_names=("a", "b", "c", "d"))))
call("fix model class", lambda: t.fix(model=nn.Linear), "model", "class|type|Linear")
call(
    "fix late parameter",
    lambda: t.fix(model=t.LateParameter()),
    "model|parameter|scale|forward",
    "scale|parameter|forward",
    "error|fine|finding",
)
call("fix without loss", lambda: t.fix(loss=None), "loss", "None|without|no loss|need", "error|fine|finding")
call("fix without train", lambda: t.fix(train=None), "train|data", "None|without|no |need")
call("fix train generator", lambda: t.fix(train=t.generator()), "train", "generator|once")
call("fix loss str", lambda: t.fix(loss="mse"), "loss", "mse|str")
user("fix loss raises", lambda: t.fix(loss=t.planted), t.PlantedError)
call("fix loss tuple", lambda: t.fix(loss=lambda o, y: (t.mse(o, y),)), "loss", "tuple")
call("fix in_place str", lambda: t.fix(in_place="yes"), "in_place", "yes|str")
call("fix in_place int", lambda: t.fix(in_place=2), "in_place", "2|int")
call("fix in_place None", lambda: t.fix(in_place=None), "in_place", "None")
fine("fix in_place", lambda: t.fix(in_place=True))
call("fix seed None", lambda: t.fix(seed=None), "seed", "None")
call("fix optimizer str", lambda: t.fix(optimizer="adam"), "optimizer", "adam|str")
call("fix Problem and loss", lambda: wp.fix(t.problem(), t.mse), "loss|Problem", "loss|Problem")
call("fix keyword", lambda: t.fix(inplace=True), "inplace", "unexpected", python=True)
call("fix select", lambda: t.fix(select="WP1"), "select", "unexpected", python=True)
call("race before int", lambda: wp.race(5, t.problem()), "before", "5|int")
call("race after int", lambda: wp.race(t.problem(), 5), "after", "5|int")
call("race before str", lambda: wp.race("problem", t.problem()), "before", "str|problem")
call("race model alone", lambda: wp.race(t.problem(), t.net()), "after", "Sequential|Problem")
call("race empty tuple", lambda: wp.race((), t.problem()), "before", "tuple|()|empty|0")
call(
    "race no loss",
    lambda: wp.race(t.problem(loss=None), t.problem()),
    "before|loss",
    "None|without|no loss|loss|return",
    "error",
)
call("race steps negative", lambda: t.race(steps=-3), "steps", "-3")
call("race steps None", lambda: t.race(steps=None), "steps", "None")
call("race seeds zero", lambda: t.race(seeds=0), "seeds", "0")
call("race seeds negative", lambda: t.race(seeds=-1), "seeds", "-1")
call("race seeds float", lambda: t.race(seeds=2.5), "seeds", "2.5|float")
call("race seeds list", lambda: t.race(seeds=[0, 1, 2]), "seeds", "list|[0, 1, 2]")
call("race progress int", lambda: t.race(progress=5), "progress", "5|int")
call("race misspelt", lambda: t.race(step=5), "step", "unexpected", python=True)
user(
    "race loss raises",
    lambda: wp.race(t.problem(loss=t.planted), t.problem(), steps=5, seeds=2),
    t.PlantedError,
)
fine("race", lambda: t.race())
fine("race numpy steps", lambda: t.race(steps=np.int64(5), seeds=np.int32(2)))
call("Report from int", lambda: wp.Report.from_json(5), "report|text|JSON", "5|int")
call(
    "Report from empty", lambda: wp.Report.from_json(""), "report|JSON", "truncated|empty|''|column|char|JSON"
)
call(
    "Report from bad bytes",
    lambda: wp.Report.from_json(b"\xff\xfe\x00"),
    "report|JSON",
    "UTF|utf|byte|JSON|decode",
)
call(
    "Report from schema str",
    lambda: wp.Report.from_json(t.report_data(schema="one|str")),
    "schema|version|report",
    "one",
)
call(
    "Report from findings null",
    lambda: wp.Report.from_json(t.report_data(findings=None)),
    "findings|report",
    "None|null",
)
call("Report from passed int", lambda: wp.Report.from_json(t.report_data(passed=5)), "passed|report", "5|int")
call(
    "Report from skipped str",
    lambda: wp.Report.from_json(t.report_data(skipped="abc")),
    "skipped|report",
    "abc|str",
)
call("Report from dict", lambda: wp.Report.from_json(json.loads(t.report_data())), "report|text|JSON", "dict")
call(
    "Report from path", lambda: wp.Report.from_json(pathlib.Path("r.json")), "report|text|JSON", "Path|r.json"
)
call(
    "Report from deep", lambda: wp.Report.from_json("[" * 100_000), "report|JSON", "nest|deep|JSON|recursion"
)
call("Report addressed None", lambda: str(t.report().addressed(None)), "spec|problem", "None")
call(
    "Report addressed list", lambda: str(t.report().addressed(["a.py:b"])), "spec|problem", "list|['a.py:b']"
)
call("Report findings int", lambda: t.shown_report(findings=5), "findings", "5|int")
call(
    "Report findings of dicts",
    lambda: t.shown_report(findings=({"code": "WP101"},)),
    "findings",
    "dict|Finding",
)
call("Report passed int", lambda: t.shown_report(passed=5), "passed", "5|int")
call("Report misspelt", lambda: wp.Report(finding=()), "finding", "unexpected", python=True)
call("Finding nothing", lambda: wp.Finding(), "code", "missing", python=True)
call("Finding severity misspelt", lambda: t.shown_finding(severity="eror"), "severity", "eror")
call("Finding code int", lambda: t.shown_finding(code=101), "code", "101|int")
call("Finding confidence", lambda: t.shown_finding(confidence="sure"), "confidence", "sure")
call("Finding misspelt", lambda: t.finding(mesured=1.0), "mesured", "unexpected", python=True)
fine("Finding", lambda: t.shown_finding())
call("Severity None", lambda: wp.Severity(None), "Severity", "None", python=True)
call("SignalProfile nothing", lambda: wp.SignalProfile(), "layers", "missing", python=True)
call("SignalProfile layers int", lambda: str(wp.SignalProfile(layers=5)), "layers", "5|int")
call("explain int", lambda: wp.explain(5), "key|rule", "5|int")
call("explain None", lambda: wp.explain(None), "key|rule", "None")
call("explain empty", lambda: wp.explain(""), "key|rule", "''|\"\"|empty")
call("explain unknown", lambda: wp.explain("WP999"), "key|rule", "WP999")
call("explain bytes", lambda: wp.explain(b"WP101"), "key|rule", "bytes|b'WP101'")
call("explain blanks", lambda: wp.explain("   "), "key|rule", "'   '|empty|blank|   ")
call("explain escapes", lambda: wp.explain("\x1b[31mWP101"), "key|rule", "WP101")
call("explain bool", lambda: wp.explain(True), "key|rule", "True|bool")
call("explain two", lambda: wp.explain("WP101", "WP102"), "positional", "2", python=True)
fine("explain small letters", lambda: wp.explain("wp101"))
fine("explain family", lambda: wp.explain("data"))
call("Limits noise str", lambda: wp.Limits(noise="a"), "noise", "'a'|str")
call("Limits noise nan", lambda: wp.Limits(noise=float("nan")), "noise", "nan")
call("Limits noise None", lambda: wp.Limits(noise=None), "noise", "None")
call("Limits noise list", lambda: wp.Limits(noise=[1.0]), "noise", "list|[1.0]")
call("Limits noise complex", lambda: wp.Limits(noise=1j), "noise", "1j|complex")
call("Limits share above one", lambda: wp.Limits(dead_share=2.0), "dead_share", "2")
call("Limits chance negative", lambda: wp.Limits(shift_chance=-1e-4), "shift_chance", "-0.0001|-1e-04|-1e-4")
call("Limits number as str", lambda: wp.Limits(feature_spread="100"), "feature_spread", "100|str")
call("Limits nan elsewhere", lambda: wp.Limits(vanished=float("nan")), "vanished", "nan")
call("Limits misspelt", lambda: wp.Limits(noize=3.0), "noize", "unexpected", python=True)
fine("Limits", lambda: wp.Limits(noise=30, feature_spread=np.float64(50.0)))
fine("Limits numpy int", lambda: wp.Limits(noise=np.int64(30)))
call("gain int", lambda: wp.gain(5), "activation", "5|int")
call("gain None", lambda: wp.gain(None), "activation", "None")
call("gain class", lambda: wp.gain(nn.ReLU), "activation", "class|ReLU|type")
call("gain softmax", lambda: wp.gain(nn.Softmax(0)), "activation|Softmax", "Softmax|elementwise")
call(
    "gain explosive", lambda: wp.gain(lambda z: np.exp(z**2)), "activation|function", "infinite|finite|grows"
)
call("gain returns None", lambda: wp.gain(lambda z: None), "activation|function", "None")
call("gain returns str", lambda: wp.gain(lambda z: "z"), "activation|function", "str|'z'|<U")
call(
    "gain returns less",
    lambda: wp.gain(lambda z: z[:3]),
    "activation|function",
    "shape|(3|elementwise|3",
    "error|user",
)
call("gain list", lambda: wp.gain(["relu"]), "activation", "list|['relu']")
call("gain bytes", lambda: wp.gain(b"relu"), "activation", "bytes|b'relu'")
call(
    "gain misspelt",
    lambda: wp.gain(activaton="relu"),
    "activaton|activation",
    "unexpected|missing",
    python=True,
)
fine("gain numpy", lambda: wp.gain(np.tanh))
fine("gain module", lambda: wp.gain(nn.GELU()))
call("numgrad f int", lambda: wp.numerical_gradient(5, 1.0), "f", "5|int")
call("numgrad f None", lambda: wp.numerical_gradient(None, 1.0), "f", "None")
call("numgrad x str", lambda: wp.numerical_gradient(lambda v: v, "1"), "x", "'1'|str")
call("numgrad x None", lambda: wp.numerical_gradient(lambda v: 1.0, None), "x", "None")
call("numgrad x inf", lambda: wp.numerical_gradient(lambda v: v, float("inf")), "x", "inf|finite")
call("numgrad x empty list", lambda: wp.numerical_gradient(lambda v: 1.0, []), "x", "no float|empty|[]")
call("numgrad x empty dict", lambda: wp.numerical_gradient(lambda v: 1.0, {}), "x", "no float|empty|{}")
call(
    "numgrad x objects",
    lambda: wp.numerical_gradient(lambda v: 1.0, np.array([object()])),
    "x",
    "object|no float",
)
call(
    "numgrad x int tensor",
    lambda: wp.numerical_gradient(lambda v: v.sum(), torch.tensor([1, 2])),
    "x",
    "int|no float",
)
call(
    "numgrad x empty array",
    lambda: wp.numerical_gradient(lambda v: v.sum(), np.zeros(0)),
    "x",
    "empty|no |(0",
    "error|fine",
)
call("numgrad f gives None", lambda: wp.numerical_gradient(lambda v: None, 1.0), "f", "None")
call(
    "numgrad f gives vector",
    lambda: wp.numerical_gradient(lambda v: v, np.ones(3)),
    "f",
    "shape|(3,)|3|scalar",
)
call("numgrad f gives nan", lambda: wp.numerical_gradient(lambda v: float("nan"), 1.0), "f", "nan|finite")
call("numgrad f gives dict", lambda: wp.numerical_gradient(lambda v: {"a": v}, 1.0), "f", "dict")
call(
    "numgrad f gives empty",
    lambda: wp.numerical_gradient(lambda v: np.zeros(0), 1.0),
    "f",
    "shape|empty|(0,)|0",
)
user("numgrad f raises", lambda: wp.numerical_gradient(t.planted, 1.0), t.PlantedError)
call(
    "numgrad method near miss",
    lambda: wp.numerical_gradient(lambda v: v, 1.0, method="two-sidd"),
    "method",
    "two-sidd",
)
call("numgrad method int", lambda: wp.numerical_gradient(lambda v: v, 1.0, method=2), "method", "2|int")
call("numgrad method None", lambda: wp.numerical_gradient(lambda v: v, 1.0, method=None), "method", "None")
call("numgrad step nan", lambda: wp.numerical_gradient(lambda v: v, 1.0, step=float("nan")), "step", "nan")
call("numgrad step inf", lambda: wp.numerical_gradient(lambda v: v, 1.0, step=float("inf")), "step", "inf")
call("numgrad step str", lambda: wp.numerical_gradient(lambda v: v, 1.0, step="0.01"), "step", "0.01|str")
call("numgrad step bool", lambda: wp.numerical_gradient(lambda v: v, 1.0, step=True), "step", "True|bool")
call(
    "numgrad step complex", lambda: wp.numerical_gradient(lambda v: v, 1.0, step=0.1j), "step", "0.1j|complex"
)
call(
    "numgrad precision None",
    lambda: wp.numerical_gradient(lambda v: v, 1.0, precision=None),
    "precision",
    "None",
)
call(
    "numgrad precision dtype",
    lambda: wp.numerical_gradient(lambda v: v, 1.0, precision=np.float64),
    "precision",
    "float64|type|class",
)
call("numgrad without x", lambda: wp.numerical_gradient(lambda v: v), "x", "missing", python=True)
fine(
    "numgrad tensor", lambda: wp.numerical_gradient(lambda v: (v**2).sum(), torch.ones(2, requires_grad=True))
)
call("gradcheck f str", lambda: wp.check_gradients("f", torch.ones(2)), "f", "'f'|str")
call(
    "gradcheck str input",
    lambda: wp.check_gradients(lambda v: v, "x"),
    "input|differentiate",
    "str|'x'|no |nothing",
)
call(
    "gradcheck meta input",
    lambda: wp.check_gradients(lambda v: v.sum(), torch.ones(2, device="meta")),
    "v|input|device",
    "meta",
)
call(
    "gradcheck empty input",
    lambda: wp.check_gradients(lambda v: v.sum(), torch.zeros(0)),
    "input|differentiate",
    "empty|no |nothing|0",
    "error|finding|fine",
)
call(
    "gradcheck gradient str",
    lambda: wp.check_gradients(lambda v: float(np.sum(v**2)), np.ones(3), gradient="2v"),
    "gradient",
    "2v|str",
)
call(
    "gradcheck gradient nan",
    lambda: wp.check_gradients(lambda v: float(np.sum(v**2)), np.ones(3), gradient=np.full(3, np.nan)),
    "gradient",
    "nan|finite",
    "error|finding",
)
call(
    "gradcheck gradient too many",
    lambda: wp.check_gradients(lambda v: float(np.sum(v**2)), np.ones(3), gradient=(np.ones(3), np.ones(3))),
    "gradient",
    "2",
)
call(
    "gradcheck gradient complex",
    lambda: wp.check_gradients(lambda v: float(np.sum(v**2)), np.ones(3), gradient=2j * np.ones(3)),
    "gradient",
    "complex",
    "error|finding",
)
user(
    "gradcheck gradient raises",
    lambda: wp.check_gradients(lambda v: float(np.sum(v**2)), np.ones(3), gradient=t.planted),
    t.PlantedError,
)
call("gradcheck f gives str", lambda: wp.check_gradients(lambda v: "v", torch.ones(2)), "f|output", "str|'v'")
call(
    "gradcheck f gives empty tuple",
    lambda: wp.check_gradients(lambda v: (), torch.ones(2)),
    "f|output",
    "()|tuple|no |nothing",
)
call(
    "gradcheck f gives ints",
    lambda: wp.check_gradients(lambda v: v.long(), torch.ones(2)),
    "f|output",
    "int|float",
    "error|finding",
)
call(
    "gradcheck f detaches",
    lambda: wp.check_gradients(lambda v: (v**2).detach(), torch.ones(2)),
    "f|output|grad",
    "grad|detach|depend",
    "error|finding",
)
call("gradcheck mode int", lambda: wp.check_gradients(lambda v: v**2, torch.ones(2), mode=1), "mode", "1|int")
call(
    "gradcheck mode None",
    lambda: wp.check_gradients(lambda v: v**2, torch.ones(2), mode=None),
    "mode",
    "None",
)
call(
    "gradcheck mode list",
    lambda: wp.check_gradients(lambda v: v**2, torch.ones(2), mode=["reverse"]),
    "mode",
    "list|['reverse']",
)
call("gradcheck order 0", lambda: wp.check_gradients(lambda v: v**2, torch.ones(2), order=0), "order", "0")
call(
    "gradcheck order str",
    lambda: wp.check_gradients(lambda v: v**2, torch.ones(2), order="2"),
    "order",
    "'2'|str",
)
call(
    "gradcheck order float",
    lambda: wp.check_gradients(lambda v: v**2, torch.ones(2), order=1.5),
    "order",
    "1.5|float",
)
call(
    "gradcheck resolution str",
    lambda: wp.check_gradients(lambda v: v**2, torch.ones(2), resolution="0.01"),
    "resolution",
    "0.01|str",
)
call(
    "gradcheck resolution bool",
    lambda: wp.check_gradients(lambda v: v**2, torch.ones(2), resolution=True),
    "resolution",
    "True|bool",
)
call(
    "gradcheck replay int",
    lambda: wp.check_gradients(lambda v: v**2, torch.ones(2), replay=5),
    "replay",
    "5|int",
)
call(
    "gradcheck replay yes",
    lambda: wp.check_gradients(lambda v: v**2, torch.ones(2), replay="yes"),
    "replay",
    "yes",
)
call(
    "gradcheck seed str",
    lambda: wp.check_gradients(lambda v: v**2, torch.ones(2), seed="0"),
    "seed",
    "'0'|str",
)
call(
    "gradcheck tol",
    lambda: wp.check_gradients(lambda v: v**2, torch.ones(2), tol=0.1),
    "tol",
    "unexpected",
    python=True,
)
call(
    "gradcheck Problem without loss",
    lambda: wp.check_gradients(t.problem(loss=None)),
    "loss",
    "None|without|no loss|loss",
)
call(
    "gradcheck Problem without train",
    lambda: wp.check_gradients(t.problem(train=None)),
    "train",
    "None|without|no |train",
)
call(
    "gradcheck Problem and inputs",
    lambda: wp.check_gradients(t.problem(), t.x()),
    "input|Problem",
    "Problem|input",
)
call(
    "gradcheck Problem frozen",
    lambda: wp.check_gradients(t.problem(model=t.frozen())),
    "parameter|model|differentiate",
    "frozen|requires_grad|no |nothing",
    "error|finding",
)
call(
    "gradcheck module meta", lambda: wp.check_gradients(t.on_meta(), t.x()), "parameter|device|module", "meta"
)
call(
    "gradcheck complex loss of Problem",
    lambda: wp.check_gradients(t.problem(loss=lambda o, y: t.mse(o, y) * 1j)),
    "loss",
    "complex",
)
call(
    "gradcheck tuple loss of Problem",
    lambda: wp.check_gradients(t.problem(loss=lambda o, y: (t.mse(o, y), 1))),
    "loss",
    "tuple",
)
call(
    "gradcheck f changes input",
    lambda: wp.check_gradients(
        lambda v: float(v.__imul__(2).sum()), np.ones(3), gradient=lambda v: np.full(3, 2.0)
    ),
    "input|f",
    "change|write|read-only|in place|modif",
    "error|user|fine",
)
fine(
    "gradcheck NumPy",
    lambda: wp.check_gradients(lambda v: float(np.sum(v**2)), np.ones(3), gradient=lambda v: 2 * v),
)
call("Moments of int", lambda: wp.Moments.of(5), "data", "5|int|number")
call("Moments of None", lambda: wp.Moments.of(None), "data", "None")
call("Moments of str", lambda: wp.Moments.of("rows.csv"), "data", "str|rows.csv")
call("Moments of generator", lambda: wp.Moments.of(t.arrays()), "data", "generator|once")
call("Moments of complex", lambda: wp.Moments.of(t.table() * 1j), "data|array", "complex")
call("Moments of objects", lambda: wp.Moments.of(np.array([[object()]])), "data|array", "object")
call(
    "Moments of scalar array",
    lambda: wp.Moments.of(np.array(1.0)),
    "data|array",
    "number|()|0-d|scalar|dimension|shape",
)
call(
    "Moments of sparse",
    lambda: wp.Moments.of(torch.eye(3).to_sparse()),
    "data|tensor",
    "sparse",
    "error|fine",
)
call(
    "Moments of unequal batches",
    lambda: wp.Moments.of([np.ones((2, 3)), np.ones((2, 4))]),
    "batch|column|shape|data",
    "4",
)
call("Moments of set", lambda: wp.Moments.of({1.0, 2.0}), "data|batch", "number|set|float|1.0|2.0")
call("Moments axis 7", lambda: wp.Moments.of(t.table(), axis=7), "axis", "7")
call("Moments axis -9", lambda: wp.Moments.of(t.table(), axis=-9), "axis", "-9")
call("Moments axis twice", lambda: wp.Moments.of(t.table(), axis=(1, 1)), "axis", "(1, 1)|twice|1")
call("Moments axis strings", lambda: wp.Moments.of(t.table(), axis=("a",)), "axis", "'a'|str")
call("Moments mask shape", lambda: wp.Moments.of(t.table(), mask=np.ones(7, bool)), "mask", "7")
call(
    "Moments mask of batches",
    lambda: wp.Moments.of([t.table(), t.table()], mask=np.ones(50, bool)),
    "mask",
    "batch|list|array",
)
call("Moments covariance None", lambda: wp.Moments.of(t.table(), covariance=None), "covariance", "None")
call("Moments covariance int", lambda: wp.Moments.of(t.table(), covariance=5), "covariance", "5|int")
call("Moments or int", lambda: t.moments() | 5, "|Moments", "int", python=True)
call("Moments quantile 2", lambda: t.moments(quantiles=True).quantile(2.0), "q", "2")
call("Moments quantile negative", lambda: t.moments(quantiles=True).quantile(-0.1), "q", "-0.1")
call("Moments quantile nan", lambda: t.moments(quantiles=True).quantile(float("nan")), "q", "nan")
call("Moments quantile str", lambda: t.moments(quantiles=True).quantile("0.5"), "q", "0.5|str")
call("Moments quantile list", lambda: t.moments(quantiles=True).quantile([0.5]), "q", "list|[0.5]")
call("Moments empty negative", lambda: wp.Moments.empty(-1), "columns", "-1")
call("Moments empty str", lambda: wp.Moments.empty("3"), "columns", "'3'|str")
call("Moments empty float", lambda: wp.Moments.empty(1.5), "columns", "1.5|float")
call("Moments empty None", lambda: wp.Moments.empty(None), "columns", "None")
call("Moments empty bool", lambda: wp.Moments.empty(True), "columns", "True|bool")
call("Moments empty huge", lambda: wp.Moments.empty(10**15), "columns", "1000000000000000|large|memory")
call("Moments from empty", lambda: wp.Moments.from_json(""), "moments|JSON", "truncated|empty|JSON|char|''")
call("Moments from null", lambda: wp.Moments.from_json("null"), "moments|JSON", "null|None|damaged|not")
call(
    "Moments from dict",
    lambda: wp.Moments.from_json(json.loads(t.moments().to_json())),
    "text|moments|JSON",
    "dict",
)
fine("Moments numpy axis", lambda: wp.Moments.of(t.table(), axis=np.int64(1), covariance=np.bool_(True)))
fine("Moments empty", lambda: wp.Moments.empty(np.int64(3)))
call("fit None", lambda: wp.Normalizer.fit(None), "train|data", "None")
call(
    "fit missing in folder",
    lambda: wp.Normalizer.fit("nowhere/rows.csv"),
    "nowhere|train",
    "nowhere/rows.csv",
)
call(
    "fit empty folder",
    lambda: wp.Normalizer.fit(t.directory("nothing-here")),
    "nothing-here|train",
    "nothing-here|no file|empty",
)
call("fit pattern of none", lambda: wp.Normalizer.fit("none-*.csv"), "none-*.csv|train", "none-*.csv")
call("fit empty list", lambda: wp.Normalizer.fit([]), "train|data|list|batches", "empty|no |nothing|[]")
call(
    "fit scalar array",
    lambda: wp.Normalizer.fit(np.array(3.0)),
    "train|data|array",
    "number|()|0-d|scalar|dimension|shape",
)
call("fit generator", lambda: wp.Normalizer.fit(t.arrays()), "train|data", "generator|once")
call("fit open file", lambda: wp.Normalizer.fit(t.open_file()), "train|data|file", "TextIOWrapper|file|path")
call("fit set", lambda: wp.Normalizer.fit({1.0, 2.0}), "train|data|batch", "number|set|float|1.0|2.0")
call("fit function", lambda: wp.Normalizer.fit(t.table), "train|data", "function")
call(
    "fit frame of text",
    lambda: wp.Normalizer.fit(t.frame().astype(str)),
    "column|train|data|number",
    "no |number|text|str",
)
call("fit held out", lambda: wp.Normalizer.fit(t.held_out()), "split|train|data", "test")
user(
    "fit dataset raises",
    lambda: wp.Normalizer.fit(torch.utils.data.DataLoader(t.RaisingDataset())),
    t.PlantedError,
)
call("fit method near miss", lambda: wp.Normalizer.fit(t.table(), method="standrad"), "method", "standrad")
call("fit method None", lambda: wp.Normalizer.fit(t.table(), method=None), "method", "None")
call("fit method list", lambda: wp.Normalizer.fit(t.table(), method=["minmax"]), "method", "list|['minmax']")
call("fit of None", lambda: wp.Normalizer.fit(t.table(), of=None), "of", "None")
call("fit columns str", lambda: wp.Normalizer.fit(t.frame(), columns="ag"), "columns", "ag|str")
call("fit columns int", lambda: wp.Normalizer.fit(t.table(), columns=1), "columns", "1|int")
call("fit columns out of range", lambda: wp.Normalizer.fit(t.table(), columns=[9]), "columns|column", "9")
call(
    "fit columns near miss",
    lambda: wp.Normalizer.fit(t.frame(), columns=["incme"]),
    "columns|column",
    "incme",
)
call("fit columns empty", lambda: wp.Normalizer.fit(t.table(), columns=[]), "columns", "[]|empty|no ")
call(
    "fit columns twice",
    lambda: wp.Normalizer.fit(t.frame(), columns=["age", "age"]),
    "columns|column",
    "age|twice",
)
call(
    "fit columns None inside", lambda: wp.Normalizer.fit(t.frame(), columns=[None]), "columns|column", "None"
)
call(
    "fit columns dict",
    lambda: wp.Normalizer.fit(t.frame(), columns={"age": "minmax"}),
    "columns",
    "dict|{'age'",
)
call("fit columns bytes", lambda: wp.Normalizer.fit(t.frame(), columns=b"age"), "columns", "bytes|b'age'")
call("fit axis 0", lambda: wp.Normalizer.fit(t.table(), axis=0), "axis", "0")
call("fit axis list of lists", lambda: wp.Normalizer.fit(t.table(), axis=[[1]]), "axis", "list|[[1]]")
call("fit mask shape", lambda: wp.Normalizer.fit(t.table(), mask=np.ones((50, 9), bool)), "mask", "9")
call("fit mask str", lambda: wp.Normalizer.fit(t.table(), mask="yes"), "mask", "yes|str|<U3")
call("fit mask floats", lambda: wp.Normalizer.fit(t.table(), mask=np.full(50, 0.5)), "mask", "float|0.5")
call(
    "fit mask of file",
    lambda: wp.Normalizer.fit(t.csv(), mask=np.ones(50, bool)),
    "mask",
    "file|array|csv|path",
)
call("fit engine int", lambda: wp.Normalizer.fit(t.csv(), engine=5), "engine", "5|int")
call("fit engine of array", lambda: wp.Normalizer.fit(t.table(), engine="dask"), "engine", "dask|array|file")
call("fit split test", lambda: wp.Normalizer.fit(t.table(), split="test"), "split", "test")
call("fit split misspelt", lambda: wp.Normalizer.fit(t.table(), split="trian"), "split", "trian")
call("fit split float", lambda: wp.Normalizer.fit(t.table(), split=0.8), "split", "0.8|float")
call("fit split empty", lambda: wp.Normalizer.fit(t.table(), split=""), "split", "''|\"\"|empty")
call(
    "fit checkpoint of array",
    lambda: wp.Normalizer.fit(t.table(), checkpoint=t.here("c")),
    "checkpoint",
    "file|memory|array",
)
call(
    "fit checkpoint nowhere",
    lambda: wp.Normalizer.fit(t.csv(), checkpoint=t.here("nowhere/c")),
    "checkpoint",
    "nowhere",
)
call(
    "fit checkpoint is data",
    lambda: wp.Normalizer.fit(t.csv(), checkpoint=t.here("train-rows.csv")),
    "checkpoint",
    "train-rows.csv|data|read",
)
call(
    "fit checkpoint not ours",
    lambda: wp.Normalizer.fit(t.csv(), checkpoint=t.here("notes.txt", "notes\n")),
    "checkpoint",
    "notes.txt|not|notes",
)
call("fit progress int", lambda: wp.Normalizer.fit(t.csv(), progress=5), "progress", "5|int")
call("fit progress str", lambda: wp.Normalizer.fit(t.csv(), progress="bar"), "progress", "bar|str")
call(
    "fit misspelt", lambda: wp.Normalizer.fit(t.table(), mehtod="minmax"), "mehtod", "unexpected", python=True
)
fine("fit columns", lambda: wp.Normalizer.fit(t.frame(), columns=["age"], method="minmax"))
fine("fit columns tuple", lambda: wp.Normalizer.fit(t.table(), columns=(np.int64(0), np.int64(2))))
fine("fit csv", lambda: wp.Normalizer.fit(t.csv(), progress=lambda done, total, rows: None))
call("apply str", lambda: t.normalizer()("rows"), "x|data|input", "rows|str|<U4")
call("apply None", lambda: t.normalizer()(None), "x|data|input", "None")
call("apply strings", lambda: t.normalizer()(np.array([["a", "b", "c"]])), "x|data|number|array", "<U|str")
call(
    "apply three dimensions",
    lambda: t.normalizer()(np.ones((2, 5, 3))),
    "shape|dimension|axes|axis",
    "(2, 5, 3)|3",
)
call(
    "apply sparse", lambda: t.normalizer()(torch.eye(3).to_sparse()), "x|data|tensor", "sparse", "error|fine"
)
call("apply ragged", lambda: t.normalizer()([[1.0, 2.0, 3.0], [1.0]]), "x|data", "list|ragged|shape")
call(
    "apply text frame", lambda: t.named()(t.frame().astype(str)), "column|number|data", "age|str|text|object"
)
fine("apply one sample", lambda: t.normalizer()(np.zeros(3)))
call("inverse one column", lambda: t.normalizer().inverse(np.ones((2, 1))), "column|shape", "1")
call("inverse complex", lambda: t.normalizer().inverse(t.table() * 1j), "z|data|number|array|x", "complex")
call("label too large", lambda: t.normalizer().label(9), "column", "9")
call("label str", lambda: t.normalizer().label("age"), "column", "age|str")
call("label float", lambda: t.normalizer().label(1.5), "column", "1.5|float")
call("label None", lambda: t.normalizer().label(None), "column", "None")
fine("label", lambda: t.named().label(1))
fine("label numpy", lambda: t.named().label(np.int64(1)))
call("save one", lambda: t.normalizer().save(1), "path", "1|int")
call("save nowhere", lambda: t.normalizer().save("nowhere/norm.json"), "nowhere|path", "nowhere")
call("save empty", lambda: t.normalizer().save(""), "path", "''|\"\"|empty")
call("save full disk", lambda: t.normalizer().save("/dev/full"), "/dev/full|path", "/dev/full|space")
call("save file handle", lambda: t.normalizer().save(t.closed_file()), "path", "TextIOWrapper|file")
call("save list", lambda: t.normalizer().save(["norm.json"]), "path", "list|['norm.json']")
fine("save", lambda: t.normalizer().save("norm.json"))
call("load None", lambda: wp.Normalizer.load(None), "path", "None")
call("load bool", lambda: wp.Normalizer.load(True), "path", "True|bool")
call("load missing", lambda: wp.Normalizer.load("no-norm.json"), "no-norm.json|path", "no-norm.json")
call(
    "load empty file",
    lambda: wp.Normalizer.load(t.here("empty.json", "")),
    "empty.json",
    "empty|JSON|truncated|char",
)
call(
    "load report",
    lambda: wp.Normalizer.load(t.here("r.json", t.report().to_json())),
    "r.json",
    "report|not|schema|kind|normalizer",
)
call("fold None", lambda: t.normalizer().fold_into(None), "model", "None")
call("fold class", lambda: t.normalizer().fold_into(nn.Linear), "model", "class|Linear|type")
call("fold other width", lambda: t.normalizer().fold_into(nn.Linear(7, 2)), "model|layer|column|input", "7")
call("fold example int", lambda: t.normalizer().fold_into(nn.Linear(3, 2), example=5), "example", "5|int")
call(
    "fold misspelt",
    lambda: t.normalizer().fold_into(nn.Linear(3, 2), exmaple=1),
    "exmaple",
    "unexpected",
    python=True,
)
call(
    "fold state dict",
    lambda: t.normalizer().fold_into(nn.Linear(3, 2).state_dict()),
    "model",
    "dict|OrderedDict",
)
fine("fold", lambda: t.normalizer().fold_into(nn.Linear(3, 2)))
call("onnx dtype near miss", lambda: t.normalizer().to_onnx(dtype="float23"), "dtype", "float23")
call("onnx dtype int", lambda: t.normalizer().to_onnx(dtype=32), "dtype", "32|int")
call("onnx dtype complex", lambda: t.normalizer().to_onnx(dtype="complex64"), "dtype", "complex64")
fine("onnx", lambda: t.normalizer().to_onnx("n.onnx"))
call("sql int", lambda: t.named().to_sql(5), "table", "5|int")
call("sql None", lambda: t.named().to_sql(None), "table", "None")
call("sql empty", lambda: t.named().to_sql(""), "table", "''|\"\"|empty")
call("sql empty list", lambda: t.named().to_sql([]), "table", "[]|empty")
call("sql bytes", lambda: t.named().to_sql(b"rows"), "table", "bytes|b'rows'")
call("sql dict", lambda: t.named().to_sql({}), "table", "dict|{}")
call("sql dialect near miss", lambda: t.named().to_sql("rows", dialect="duckdbb"), "dialect", "duckdbb")
call("sql dialect int", lambda: t.named().to_sql("rows", dialect=5), "dialect", "5|int")
fine("sql", lambda: t.named().to_sql(("schema", "rows"), dialect="ansi"))
call("polars without names", lambda: t.normalizer().to_polars(), "name|column", "name")
call("to_sklearn argument", lambda: t.normalizer().to_sklearn(5), "positional", "2", python=True)
call(
    "torch module more columns",
    lambda: t.normalizer().to_torch()(torch.ones(2, 9)),
    "column|shape|input",
    "9",
)
call(
    "jax function one column",
    lambda: t.normalizer().to_jax()(np.ones((2, 1), "f4")),
    "column|shape|input",
    "1",
)
call(
    "jax function more columns",
    lambda: t.normalizer().to_jax()(np.ones((2, 9), "f4")),
    "column|shape|input",
    "9",
)
call("drift int", lambda: t.normalizer().drift(5), "data", "5|int|number")
call("drift None", lambda: t.normalizer().drift(None), "data", "None")
call("drift more columns", lambda: t.normalizer().drift(np.ones((20, 9))), "column|shape", "9")
call("drift one column", lambda: t.normalizer().drift(np.ones((20, 1))), "column|shape", "1")
call("drift no rows", lambda: t.normalizer().drift(np.zeros((0, 3))), "data|rows", "empty|no rows|0|nothing")
call(
    "drift strings", lambda: t.normalizer().drift(np.array([["a", "b", "c"]])), "data|number|array", "<U|str"
)
call("drift complex", lambda: t.normalizer().drift(t.table() * 1j), "data|number|array", "complex")
call("drift missing file", lambda: t.named().drift("no-rows.csv"), "no-rows.csv|data", "no-rows.csv")
call("drift missing column", lambda: t.named().drift(t.frame()[["age", "income"]]), "column", "height")
call("drift array for names", lambda: t.named().drift(np.ones((20, 9))), "column|shape", "9")
call("signals model None", lambda: t.signals(model=None), "model", "None")
call("signals model class", lambda: t.signals(model=nn.Linear), "model", "class|Linear|type")
call("signals model meta", lambda: t.signals(model=t.on_meta()), "model|parameter|device|meta", "meta")
call(
    "signals model lazy",
    lambda: t.signals(model=t.lazy()),
    "model|lazy|parameter",
    "lazy|uninitialized",
    "error|fine",
)
call("signals loss complex", lambda: t.signals(loss=lambda o, y: t.mse(o, y) * 1j), "loss", "complex")
call(
    "signals loss detached",
    lambda: t.signals(loss=lambda o, y: t.mse(o, y).detach()),
    "loss",
    "detach|grad|graph",
)
call("signals train generator", lambda: t.signals(train=t.generator()), "train", "generator|once")
call("signals train empty", lambda: t.signals(train=[]), "train", "empty|no |nothing|0 ")
call("signals seed float", lambda: t.signals(seed=1.5), "seed", "1.5|float")
call("signals seed str", lambda: t.signals(seed="1"), "seed", "'1'|str")
call("signals misspelt", lambda: t.signals(optimzer=None), "optimzer", "unexpected", python=True)
call("init model class", lambda: wp.initialize(nn.Linear), "model", "class|Linear|type")
call("init model function", lambda: wp.initialize(lambda v: v), "model", "function|lambda")
call("init model meta", lambda: wp.initialize(t.on_meta(), t.x()), "model|parameter|device", "meta")
call("init inputs objects", lambda: wp.initialize(t.net(), np.array([[None] * 4] * 8)), "inputs", "object")
call("init inputs meta", lambda: wp.initialize(t.net(), t.x().to("meta")), "inputs|device", "meta")
call("init scheme None", lambda: wp.initialize(t.net(), scheme=None), "scheme", "None")
call("init scheme empty", lambda: wp.initialize(t.net(), scheme=""), "scheme", "''|\"\"|empty")
call("init scheme list", lambda: wp.initialize(t.net(), scheme=["he"]), "scheme", "list|['he']")
call("init seed str", lambda: wp.initialize(t.net(), seed="a"), "seed", "'a'|str")
call("init targets alone", lambda: wp.initialize(t.net(), t.x(), targets=t.xy()[1]), "targets|loss", "loss")
call(
    "init loss tuple",
    lambda: wp.initialize(t.net(), t.x(), loss=lambda o, y: (o.mean(), 1), targets=t.xy()[1]),
    "loss",
    "tuple",
)
call(
    "init loss None back",
    lambda: wp.initialize(t.net(), t.x(), loss=lambda o, y: None, targets=t.xy()[1]),
    "loss",
    "None",
)
call(
    "init loss complex",
    lambda: wp.initialize(t.net(), t.x(), loss=lambda o, y: o.mean() * 1j, targets=t.xy()[1]),
    "loss",
    "complex",
)
call(
    "init loss vector",
    lambda: wp.initialize(t.net(), t.x(), loss=lambda o, y: o - y, targets=t.xy()[1]),
    "loss",
    "shape|scalar|element",
)
call(
    "init loss raises",
    lambda: wp.initialize(t.net(), t.x(), loss=t.planted, targets=t.xy()[1]),
    "",
    "",
    "user|passes",
    cause=t.PlantedError,
)
call(
    "init targets mismatched",
    lambda: wp.initialize(t.net(), t.x(64), loss=t.mse, targets=torch.zeros(60, 1)),
    "targets|inputs",
    "60",
)
call("init targets str", lambda: wp.initialize(t.net(), t.x(), loss=t.mse, targets="y"), "targets", "str|'y'")
fine("init", lambda: wp.initialize(t.net(), t.x(), scheme="he", seed=np.int64(2)))
command("cli unknown command", "wellposed chek train.py:problem", 2, "chek")
command("cli unknown short option", "wellposed check train.py:problem -z", 2, "-z")
command("cli two problems", "wellposed check train.py:problem train.py:triple", 2, "train.py:triple|argument")
command("cli empty name", "wellposed check train.py:", 2, "train.py:|name")
command("cli empty file", "wellposed check :problem", 2, ":problem")
command("cli colon", "wellposed check :", 2, ":")
command("cli empty problem", "wellposed check ''", 2, "''|empty|train.py:problem")
command("cli missing file", "wellposed check tarin.py:problem", 2, "tarin.py")
command("cli two colons", "wellposed check train.py:problem:more", 2, "train.py:problem:more|more")
command("cli not an identifier", "wellposed check 'train.py:a b'", 2, "a b")
command("cli directory", "wellposed check data:problem", 2, "data")
command("cli directory slash", "wellposed check data/:problem", 2, "data")
command("cli not Python", "wellposed check notes.txt:problem", 2, "notes.txt")
command("cli text", "wellposed check train.py:text", 2, "str|text")
command("cli pair", "wellposed check train.py:pair", 2, "pair|tuple|2|train")
command("cli returns number", "wellposed check train.py:gives_number", 2, "gives_number|int|5")
command("cli needs arguments", "wellposed check train.py:needs", 2, "needs|argument")
command("cli format empty", "wellposed check train.py:problem --format=", 2, "--format")
command("cli seed text", "wellposed check train.py:problem --seed a", 2, "--seed|seed")
command("cli seed missing", "wellposed check train.py:problem --seed", 2, "--seed")
command("cli select unknown", "wellposed check train.py:problem --select WP999", 2, "WP999")
command("cli ignore empty", "wellposed check train.py:problem --ignore ''", 2, "ignore|empty|''")
command("cli explain unknown", "wellposed explain WP999", 2, "WP999")
command("cli init scheme", "wellposed init train.py:problem --scheme glorto", 2, "glorto")
command("cli gradcheck mode", "wellposed gradcheck train.py:square --mode revers", 2, "revers")
command("cli gradcheck resolution", "wellposed gradcheck train.py:square --resolution 0", 2, "resolution|0")
command("cli crash in function", "wellposed check train.py:crash", 3)
command("cli crash in loss", "wellposed check train.py:crashing", 3)
command("cli missing import of theirs", "wellposed check broken.py:problem", (2, 3), "nothing_of_that_name")
command("cli crash with json", "wellposed check train.py:crash --format json", 3)
command("cli signals crash", "wellposed signals train.py:crashing", 3)
command("cli -o the program", "wellposed check train.py:problem -o train.py", 2, "train.py", keeps="train.py")
command("cli -o script", "wellposed check train.py:problem -o script", 2, "script", keeps="script")
command(
    "cli -o link to program",
    "ln -s train.py out.json; wellposed check train.py:problem -o out.json",
    2,
    "train.py|out.json",
    keeps="train.py",
)
command("cli -o nowhere", "wellposed check train.py:problem -o nowhere/report.json", 2, "nowhere")
command("cli -o missing value", "wellposed check train.py:problem -o", 2, "-o|output")
command("cli -o in file", "wellposed check train.py:problem -o notes.txt/report.json", 2, "notes.txt")
command(
    "cli -o html",
    "wellposed check train.py:problem -o report.html; code=$?; [ -e report.html ] && ! grep -qi '<html' report.html && exit 98; exit $code",
    (0, 1, 2),
    "html|json",
)
command(
    "cli -o read-only folder",
    "mkdir shut; chmod 555 shut; wellposed check train.py:problem -o shut/report.json",
    2,
    "shut",
    powerless=True,
)
command(
    "cli -o normalizer for report",
    "wellposed check train.py:problem -o norm.json",
    2,
    "norm.json",
    keeps="norm.json",
)
command(
    "cli fix -o text file", "wellposed fix train.py:scaled -o notes.txt", 2, "notes.txt", keeps="notes.txt"
)
command("cli fit -o program", "wellposed normalize fit rows.csv -o train.py", 2, "train.py", keeps="train.py")
command(
    "cli fit -o report",
    "wellposed normalize fit rows.csv -o report.json",
    2,
    "report.json",
    keeps="report.json",
)
command("cli fit -o directory", "wellposed normalize fit rows.csv -o data", 2, "data")
command("cli fit -o nowhere", "wellposed normalize fit rows.csv -o nowhere/n.json", 2, "nowhere")
command(
    "cli fit checkpoint notes",
    "wellposed normalize fit rows.csv -o n.json --checkpoint notes.txt",
    2,
    "notes.txt",
    keeps="notes.txt",
)
command(
    "cli fit checkpoint is output",
    "wellposed normalize fit rows.csv -o n.json --checkpoint n.json",
    2,
    "n.json|checkpoint",
)
command(
    "cli apply -o its data",
    "wellposed normalize apply norm.json rows.csv -o rows.csv",
    2,
    "rows.csv",
    keeps="rows.csv",
)
command(
    "cli apply -o its statistics",
    "wellposed normalize apply norm.json rows.csv -o norm.json",
    2,
    "norm.json",
    keeps="norm.json",
)
command("cli fit no data", "wellposed normalize fit -o n.json", 2, "DATA|argument")
command("cli fit missing", "wellposed normalize fit rosw.csv -o n.json", 2, "rosw.csv")
command("cli fit method", "wellposed normalize fit rows.csv -o n.json --method standrad", 2, "standrad")
command("cli fit engine", "wellposed normalize fit rows.csv -o n.json --engine dusk", 2, "dusk")
command("cli fit axis 9", "wellposed normalize fit rows.npy -o n.json --axis 9", 2, "9")
command("cli fit split test", "wellposed normalize fit rows.csv -o n.json --split test", 2, "test")
command("cli fit split misspelt", "wellposed normalize fit rows.csv -o n.json --split trian", 2, "trian")
command("cli fit column misspelt", "wellposed normalize fit rows.csv -o n.json --columns incme", 2, "incme")
command(
    "cli fit columns empty", "wellposed normalize fit rows.csv -o n.json --columns ''", 2, "columns|empty|''"
)
command("cli fit text", "wellposed normalize fit notes.txt -o n.json", 2, "notes.txt")
command("cli fit program", "wellposed normalize fit train.py -o n.json", 2, "train.py")
command("cli show csv", "wellposed normalize show rows.csv", 2, "rows.csv")
command("cli show empty", "wellposed normalize show empty.json", 2, "empty.json")
command("cli drift no data", "wellposed normalize drift norm.json", 2, "DATA|argument")
command("cli report normalizer", "wellposed report norm.json", 2, "norm.json")
command("cli report empty", "wellposed report empty.json", 2, "empty.json")
command("cli stdout closed", "wellposed rules >&-", (0, 1, 2, 141))
command("cli stdout closed check", "wellposed check train.py:problem >&-", (0, 1, 2))
command("cli stderr closed error", "wellposed check nothing.py:x 2>&-", 2)
command("cli all closed", "wellposed normalize show norm.json <&- >&- 2>&-", (0, 1, 2))
command("cli reader closes", "set +o pipefail; wellposed rules | head -1; exit ${PIPESTATUS[0]}", (0, 141))
command("cli stdout full", "wellposed rules > /dev/full", (1, 2))
command("cli stdout full json", "wellposed check train.py:problem --format json > /dev/full", (1, 2))
command("cli stderr full", "wellposed check nothing.py:x 2> /dev/full", 2)
command("cli dumb terminal", "wellposed check train.py:problem", (0, 1), environment={"TERM": "dumb"})
command("cli no columns", "wellposed rules", 0, environment={"COLUMNS": "0"})
command(
    "cli latin",
    "wellposed normalize show norm.json",
    0,
    environment={"LC_ALL": "C", "PYTHONIOENCODING": "latin-1"},
)
command(
    "cli json alone",
    "wellposed check train.py:problem --format json > o.json; code=$?; python -c 'import json; json.load(open(\"o.json\"))' || exit 97; exit $code",
    (0, 1),
)
command("cli triple", "wellposed check train.py:triple", (0, 1))
command("cli gradcheck", "wellposed gradcheck train.py:square", 0)
command(
    "cli fit", "wellposed normalize fit rows.csv -o n.json && wellposed normalize show n.json", 0, shows="age"
)
command("cli report", "wellposed report report.json", (0, 1))
