"""Half a of the wrong calls and command lines; the halves were drawn at random."""

from __future__ import annotations

import pathlib

import numpy as np
import torch
from torch import nn

import wellposed as wp

from . import things as t
from .cases import Cases

cases = Cases()
call, fine, user, command = cases.call, cases.fine, cases.user, cases.command

call("check model class", lambda: t.check(model=nn.Linear), "model", "class|type|Linear")
call("check model list", lambda: t.check(model=[t.net()]), "model", "list")
call("check model tensor", lambda: t.check(model=torch.zeros(4)), "model", "Tensor")
call("check model array", lambda: t.check(model=np.zeros(4)), "model", "ndarray|array")
call("check model optimizer", lambda: t.check(model=t.adam(t.net())), "model", "Adam")
call("check model path", lambda: t.check(model=pathlib.Path("net.pt")), "model", "Path|net.pt")
call(
    "check model without parameters",
    lambda: t.check(model=nn.Sequential(nn.Flatten(), nn.Tanh())),
    "model|parameter",
    "parameter|no ",
    "error|finding",
)
call(
    "check model lazy",
    lambda: t.check(model=t.lazy()),
    "model|lazy|parameter",
    "lazy|Lazy|uninitialized|Uninitialized",
    "error|fine|finding",
)
call("check model on meta", lambda: t.check(model=t.on_meta()), "model|parameter|device|meta", "meta")
call(
    "check model returns None",
    lambda: t.check(model=t.Returning(None)),
    "model|output",
    "None",
    "error|user|finding",
)
call(
    "check model returns str",
    lambda: t.check(model=t.Returning("out")),
    "model|output",
    "str|out",
    "error|user|finding",
)
fine("check plain", lambda: t.check())
fine("check loader", lambda: t.check(train=t.loader()))
call("check loss int", lambda: t.check(loss=5), "loss", "5|int")
call("check loss tensor", lambda: t.check(loss=torch.tensor(1.0)), "loss", "Tensor")
user("check loss raises", lambda: t.check(loss=t.planted), t.PlantedError)
call("check loss returns tuple", lambda: t.check(loss=lambda o, y: (t.mse(o, y), o)), "loss", "tuple|2")
call(
    "check loss returns complex", lambda: t.check(loss=lambda o, y: t.mse(o, y) * (1 + 1j)), "loss", "complex"
)
call(
    "check loss not scalar",
    lambda: t.check(loss=nn.MSELoss(reduction="none")),
    "loss",
    "shape|elements|scalar",
)
call(
    "check loss detached",
    lambda: t.check(loss=lambda o, y: t.mse(o, y).detach()),
    "loss",
    "detach|grad|graph|no gradient",
    "error|finding",
)
call("check loss returns float", lambda: t.check(loss=lambda o, y: t.mse(o, y).item()), "loss", "float")
call("check loss returns int", lambda: t.check(loss=lambda o, y: 5), "loss", "int|5")
call("check loss returns None", lambda: t.check(loss=lambda o, y: None), "loss", "None")
call(
    "check loss returns dict", lambda: t.check(loss=lambda o, y: {"total": t.mse(o, y)}), "loss", "dict|total"
)
call(
    "check loss returns array",
    lambda: t.check(loss=lambda o, y: t.mse(o, y).detach().numpy()),
    "loss",
    "ndarray|array|float32",
)
call(
    "check loss nan",
    lambda: t.check(loss=lambda o, y: t.mse(o, y) * float("nan")),
    "loss",
    "nan|finite",
    "error|finding",
)
call(
    "check loss returns bool tensor",
    lambda: t.check(loss=lambda o, y: (o > y).all()),
    "loss",
    "bool",
    "error|finding",
)
call(
    "check loss returns int tensor",
    lambda: t.check(loss=lambda o, y: (o > y).sum()),
    "loss",
    "int|integer",
    "error|finding",
)
call(
    "check loss empty tensor",
    lambda: t.check(loss=lambda o, y: o[:0]),
    "loss",
    "shape|elements|scalar|empty|(0",
)
call(
    "check train no rows",
    lambda: t.check(train=(torch.zeros(0, 4), torch.zeros(0, 1))),
    "train|inputs",
    "empty|no rows|0|no sample",
)
call(
    "check train mismatched",
    lambda: t.check(train=(t.x(64), torch.zeros(60, 1))),
    "train|inputs|targets|rows",
    "60",
)
call("check train function", lambda: t.check(train=t.xy), "train", "function|xy")
call(
    "check train complex",
    lambda: t.check(train=(t.x() * 1j, t.xy()[1])),
    "train|inputs",
    "complex",
    "error|user",
)
call(
    "check train integers",
    lambda: t.check(train=(t.x().long(), t.xy()[1])),
    "train|inputs",
    "int|Long|dtype",
    "error|user",
)
call(
    "check train bool",
    lambda: t.check(train=(t.x() > 0, t.xy()[1])),
    "train|inputs",
    "bool|dtype",
    "error|user",
)
call(
    "check train sparse",
    lambda: t.check(train=(t.x().to_sparse(), t.xy()[1])),
    "train|inputs",
    "sparse",
    "error|user|fine|finding",
)
call("check train meta", lambda: t.check(train=(t.x().to("meta"), t.xy()[1])), "train|inputs|device", "meta")
call(
    "check train both meta",
    lambda: t.check(train=(t.x().to("meta"), t.xy()[1].to("meta"))),
    "train|inputs|targets|device",
    "meta",
)
call(
    "check train nan",
    lambda: t.check(train=(t.spoiled(float("nan")), t.xy()[1])),
    "train|inputs",
    "nan|finite",
    "error|finding",
)
call(
    "check targets nan",
    lambda: t.check(train=(t.x(), t.xy()[1] * float("nan"))),
    "train|targets",
    "nan|finite",
    "error|finding",
)
call(
    "check train other width",
    lambda: t.check(train=(t.x(64, 7), t.xy()[1])),
    "train|inputs",
    "7",
    "error|user",
)
call(
    "check labels float",
    lambda: t.check(model=t.net(out=2), loss=t.ce, train=(t.x(), t.labelled()[1].float())),
    "targets|train|loss",
    "float",
    "error|user|finding",
)
call("check targets str", lambda: t.check(train=(t.x(), "y")), "train|targets", "str|y")
call("check targets int", lambda: t.check(train=(t.x(), 5)), "train|targets", "int|5", "error|user")
user("check collate raises", lambda: t.check(train=t.loader(collate_fn=t.planted)), t.PlantedError)
call(
    "check scalar tensors",
    lambda: t.check(train=(torch.tensor(1.0), torch.tensor(2.0))),
    "train|inputs",
    "scalar|()|0-d|dimension|shape|no rows",
)
call("check validation int", lambda: t.check(validation=5), "validation", "5|int")
call(
    "check validation no rows",
    lambda: t.check(validation=(torch.zeros(0, 4), torch.zeros(0, 1))),
    "validation",
    "empty|no rows|0|no sample",
)
call(
    "check validation mismatched",
    lambda: t.check(validation=(t.x(64), torch.zeros(60, 1))),
    "validation|inputs|targets",
    "60",
)
call(
    "check validation other width",
    lambda: t.check(validation=(t.x(64, 7), t.xy()[1])),
    "validation",
    "7",
    "error|user|finding",
)
call("check validation Nones", lambda: t.check(validation=[None]), "validation|batch", "None")
fine("check validation", lambda: t.check(validation=t.xy(32)))
call("check optimizer int", lambda: t.check(optimizer=5), "optimizer", "5|int")
call("check optimizer class", lambda: t.check(optimizer=torch.optim.Adam), "optimizer", "class|Adam|type")
call("check optimizer dict", lambda: t.check(optimizer={"lr": 0.1}), "optimizer", "dict")
call("check optimizer rate", lambda: t.check(optimizer=1e-3), "optimizer", "0.001|1e-3|float")
call("check optimizer list of ints", lambda: t.check(optimizer=[5, 6]), "optimizer", "list|int|5")
call(
    "check optimizer of another model",
    lambda: t.check(optimizer=t.adam(t.net())),
    "optimizer",
    "parameter|model",
    "error|finding",
)
call("check precision empty", lambda: t.check(precision=""), "precision", "''|\"\"|empty")
call("check precision bool", lambda: t.check(precision=True), "precision", "True|bool")
fine("check precision bf16", lambda: t.check(precision="bf16"))
call("check select int", lambda: t.check(select=5), "select", "5|int")
call("check select float", lambda: t.check(select=1.5), "select", "1.5|float")
call("check select bool", lambda: t.check(select=True), "select", "True|bool")
call("check select empty str", lambda: t.check(select=""), "select", "''|\"\"|empty")
call("check select unknown", lambda: t.check(select="WP999"), "select|rule", "WP999")
call("check select near miss", lambda: t.check(select="inptu-scale"), "select|rule", "inptu-scale")
call("check select object", lambda: t.check(select=object()), "select", "object")
call("check select bytes", lambda: t.check(select=b"WP1"), "select", "bytes|b'WP1'")
call("check select blanks", lambda: t.check(select="  "), "select", "'  '|empty|blank")
call("check ignore int", lambda: t.check(ignore=5), "ignore", "5|int")
call("check ignore empty str", lambda: t.check(ignore=""), "ignore", "''|\"\"|empty")
call("check ignore unknown", lambda: t.check(ignore="WP999"), "ignore|rule", "WP999")
call("check ignore near miss", lambda: t.check(ignore="dead-unit"), "ignore|rule", "dead-unit")
call("check ignore None inside", lambda: t.check(ignore=[None]), "ignore", "None")
call(
    "check ignore all of select",
    lambda: t.check(select="WP101", ignore="WP101"),
    "select|ignore",
    "WP101|no rule|nothing",
    "error|finding",
)
fine("check select tuple", lambda: t.check(select=("WP1", "WP501")))
fine("check select prefix", lambda: t.check(select="WP2"))
call("check limits class", lambda: t.check(limits=wp.Limits), "limits", "class|type|Limits")
fine("check limits", lambda: t.check(limits=wp.Limits(noise=20.0)))
call("check seed list", lambda: t.check(seed=[0]), "seed", "[0]|list")
call("check seed bool", lambda: t.check(seed=True), "seed", "True|bool")
call(
    "check seed huge",
    lambda: t.check(seed=2**100),
    "seed",
    "1267650600228229401496703205376|2**|64|large",
    "error|fine",
)
fine("check seed numpy", lambda: t.check(seed=np.int64(3)))
call("check progress int", lambda: t.check(progress=5), "progress", "5|int")
call("check progress list", lambda: t.check(progress=[]), "progress", "[]|list")
call("check keyword validaton", lambda: t.check(validaton=t.xy()), "validaton", "unexpected", python=True)
call(
    "check keyword optimiser",
    lambda: t.check(optimiser=t.adam(t.net())),
    "optimiser",
    "unexpected",
    python=True,
)
call("check keyword sede", lambda: t.check(sede=1), "sede", "unexpected", python=True)
call("check keyword exclude", lambda: t.check(exclude="WP1"), "exclude", "unexpected", python=True)
call("check nothing", lambda: wp.check(), "model", "missing", python=True)
call("check Problem and loss", lambda: wp.check(t.problem(), t.mse), "loss|Problem", "loss|Problem")
call("check Problem and train", lambda: wp.check(t.problem(), train=t.xy()), "train|Problem", "train|Problem")
call(
    "check Problem and optimizer",
    lambda: wp.check(t.problem(), optimizer=t.adam(t.net())),
    "optimizer|Problem",
    "optimizer|Problem",
)
call(
    "check Problem and validation",
    lambda: wp.check(t.problem(), validation=t.xy()),
    "validation|Problem",
    "validation|Problem",
)
call("check Problem class", lambda: wp.check(wp.Problem), "model|Problem", "class|type|Problem")
call("Problem name int", lambda: str(wp.check(t.problem(name=5))), "name", "5|int")
call("Problem names str", lambda: wp.check(t.problem(feature_names="abcd")), "feature_names", "abcd|str")
call("Problem names int", lambda: wp.check(t.problem(feature_names=4)), "feature_names", "4|int")
call("Problem names too few", lambda: wp.check(t.problem(feature_names=("a", "b"))), "feature_names", "2")
call(
    "Problem names too many", lambda: wp.check(t.problem(feature_names=tuple("abcdef"))), "feature_names", "6"
)
call(
    "Problem names mixed",
    lambda: wp.check(t.problem(feature_names=("a", 5, "c", "d"))),
    "feature_names",
    "5|int",
)
call(
    "Problem names None inside",
    lambda: wp.check(t.problem(feature_names=("a", None, "c", "d"))),
    "feature_names",
    "None",
)
call("Problem positional", lambda: wp.Problem(t.net()), "positional", "2", python=True)
call("Problem without model", lambda: wp.Problem(loss=t.mse), "model", "missing", python=True)
call(
    "Problem features misspelt",
    lambda: t.problem(features_names=("a",)),
    "features_names",
    "unexpected",
    python=True,
)
call("Problem validation int", lambda: wp.check(t.problem(validation=7)), "validation", "7|int")
fine("Problem names list", lambda: wp.check(t.problem(feature_names=["a", "b", "c", "d"])))
call("fix model int", lambda: t.fix(model=5), "model", "5|int")
call(
    "fix model frozen",
    lambda: t.fix(model=t.frozen()),
    "model|parameter|requires_grad",
    "frozen|requires_grad|train",
    "error|finding",
)
call("fix model meta", lambda: t.fix(model=t.on_meta()), "model|parameter|device|meta", "meta")
call(
    "fix model lazy",
    lambda: t.fix(model=t.lazy()),
    "model|lazy|parameter",
    "lazy|Lazy|uninitialized|Uninitialized",
    "error|fine|finding",
)
call("fix loss complex", lambda: t.fix(loss=lambda o, y: t.mse(o, y) * 1j), "loss", "complex")
call("fix in_place model", lambda: t.fix(in_place=t.net()), "in_place", "Sequential")
call("fix seed str", lambda: t.fix(seed="a"), "seed", "'a'|str")
call("fix seed float", lambda: t.fix(seed=0.5), "seed", "0.5|float")
call("fix progress int", lambda: t.fix(progress=5), "progress", "5|int")
call("fix progress bool", lambda: t.fix(progress=True), "progress", "True|bool")
call("fix validation str", lambda: t.fix(validation="v"), "validation", "str|v")
fine("fix", lambda: t.fix())
call("race after None", lambda: wp.race(t.problem(), None), "after", "None")
call("race tuple of two", lambda: wp.race(t.problem(), (t.net(), t.mse)), "after", "tuple|2")
call("race one argument", lambda: wp.race(t.problem()), "after", "missing", python=True)
call(
    "race no train",
    lambda: wp.race(t.problem(), t.problem(train=None)),
    "after|train",
    "None|without|no |train",
)
call(
    "race frozen",
    lambda: wp.race(t.problem(model=t.frozen()), t.problem()),
    "before|parameter|model",
    "frozen|requires_grad|train",
)
call(
    "race one row",
    lambda: wp.race(t.problem(train=t.xy(1)), t.problem(train=t.xy(1)), steps=5, seeds=2),
    "train|rows|validation|held-out",
    "1|one",
    "error|fine",
)
call("race steps float", lambda: t.race(steps=1.5), "steps", "1.5|float")
call("race steps zero", lambda: t.race(steps=0), "steps", "0")
call("race steps str", lambda: t.race(steps="200"), "steps", "200|str")
call("race steps nan", lambda: t.race(steps=float("nan")), "steps", "nan|float")
call("race steps inf", lambda: t.race(steps=float("inf")), "steps", "inf|float")
call("race steps bool", lambda: t.race(steps=True), "steps", "True|bool")
call("race steps list", lambda: t.race(steps=[5]), "steps", "list|[5]")
call("race seeds str", lambda: t.race(seeds="5"), "seeds", "'5'|str")
call("race seeds None", lambda: t.race(seeds=None), "seeds", "None")
call("race seeds bool", lambda: t.race(seeds=True), "seeds", "True|bool")
call("race progress str", lambda: t.race(progress="bar"), "progress", "bar|str")
call("race progress raises", lambda: t.race(progress=t.planted), "", "", "user|passes", cause=t.PlantedError)
call("race seed", lambda: t.race(seed=5), "seed", "unexpected", python=True)
user(
    "race model raises",
    lambda: wp.race(t.problem(), t.problem(model=t.Raising()), steps=5, seeds=2),
    t.PlantedError,
)
call("Report from None", lambda: wp.Report.from_json(None), "report|text|JSON", "None")
call(
    "Report from object",
    lambda: wp.Report.from_json("{}"),
    "report",
    "{}|schema|missing|empty|findings|without",
)
call("Report from array", lambda: wp.Report.from_json("[]"), "report", "lacks|[]|list|array")
call("Report from null", lambda: wp.Report.from_json("null"), "report", "lacks|null|None")
call("Report from number", lambda: wp.Report.from_json("5"), "report", "lacks|5|int|number")
call(
    "Report from cut",
    lambda: wp.Report.from_json(t.report().to_json()[:-40]),
    "report|JSON",
    "JSON|truncated|line|char|delimiter",
)
call(
    "Report from schema 999",
    lambda: wp.Report.from_json(t.report_data(schema=999)),
    "schema|version|report",
    "999",
)
call(
    "Report from findings int",
    lambda: wp.Report.from_json(t.report_data(findings=5)),
    "findings|report",
    "5|int",
)
call(
    "Report from findings strings",
    lambda: wp.Report.from_json(t.report_data(findings=["a"])),
    "findings|report",
    "'a'|str|a",
)
call(
    "Report from finding empty",
    lambda: wp.Report.from_json(t.report_data(findings=[{}])),
    "findings|report|code",
    "code|missing|{}",
)
call("Report from list", lambda: wp.Report.from_json([1]), "report|text|JSON", "list|[1]")
call(
    "Report from extra text",
    lambda: wp.Report.from_json(t.report_data() + "}"),
    "report|JSON",
    "JSON|Extra|extra",
)
call(
    "Report from normalizer",
    lambda: wp.Report.from_json(t.saved().read_text()),
    "report",
    "normalizer|schema|missing|findings|wellposed",
)
fine("Report back", lambda: wp.Report.from_json(t.report().to_json()))
fine("Report back bytes", lambda: wp.Report.from_json(t.report().to_json().encode()))
call("Report addressed int", lambda: str(t.report().addressed(5)), "spec|problem", "5|int")
call("Report raise arguments", lambda: t.report().raise_for_findings(5), "positional", "2", python=True)
call("Report to_json keyword", lambda: t.report().to_json(indent=2), "indent", "unexpected", python=True)
call("Report findings str", lambda: t.shown_report(findings="abc"), "findings", "abc|str")
call("Finding severity int", lambda: t.shown_finding(severity=3), "severity", "3|int")
call("Finding severity None", lambda: t.shown_finding(severity=None), "severity", "None")
call("Finding measured str", lambda: t.shown_finding(measured="big"), "measured", "big|str")
call("Finding limit list", lambda: t.shown_finding(limit=[1.0]), "limit", "list|[1.0]")
call("Finding where None", lambda: t.shown_finding(where=None), "where", "None")
fine("Finding numpy number", lambda: t.shown_finding(measured=np.float64(2.5)))
call("Severity misspelt", lambda: wp.Severity("eror"), "Severity", "eror", python=True)
call("Severity int", lambda: wp.Severity(5), "Severity", "5", python=True)
fine("Severity", lambda: wp.Severity("error"))
call("GradientCheck nothing", lambda: wp.GradientCheck(), "verdict", "missing", python=True)
call("SignalProfile misspelt", lambda: wp.SignalProfile(layer=()), "layer", "unexpected", python=True)
call(
    "explain near miss", lambda: wp.explain("feature-scale-imbalence"), "key|rule", "feature-scale-imbalence"
)
call("explain list", lambda: wp.explain(["WP101"]), "key|rule", "list|['WP101']")
call("explain huge", lambda: wp.explain(t.huge), "key|rule", "xxx")
call("Limits noise negative", lambda: wp.Limits(noise=-1.0), "noise", "-1")
call("Limits noise bool", lambda: wp.Limits(noise=True), "noise", "True|bool")
call("Limits share negative", lambda: wp.Limits(saturated_share=-0.5), "saturated_share", "-0.5")
call("Limits chance above one", lambda: wp.Limits(leak_chance=1.5), "leak_chance", "1.5")
call("Limits array", lambda: wp.Limits(exploded=np.array([1.0, 2.0])), "exploded", "array|ndarray|[1. 2.]")
call("Limits dict", lambda: wp.Limits(eval_gap={}), "eval_gap", "dict|{}")
call("Limits positional", lambda: wp.Limits(3.0), "positional", "2", python=True)
call("gain empty", lambda: wp.gain(""), "activation", "''|\"\"|empty")
call("gain near miss", lambda: wp.gain("gelru"), "activation", "gelru")
call("gain constant", lambda: wp.gain(lambda z: 0 * z + 1), "activation|function", "constant")
call(
    "gain random",
    lambda: wp.gain(lambda z: z + np.random.default_rng().normal(size=np.shape(z))),
    "activation|function",
    "random|differ|determin|twice|elementwise",
)
user("gain raises", lambda: wp.gain(t.planted), t.PlantedError)
call("gain takes none", lambda: wp.gain(lambda: 1.0), "activation|function", "argument", "error|user")
call("gain complex", lambda: wp.gain(lambda z: z * 1j), "activation|function", "complex", "error|user")
call("gain nan", lambda: wp.gain(lambda z: z * float("nan")), "activation|function", "nan|finite")
call("gain huge name", lambda: wp.gain(t.huge), "activation", "xxx")
call("gain two", lambda: wp.gain("relu", 1), "positional", "2", python=True)
call("numgrad f str", lambda: wp.numerical_gradient("t**2", 1.0), "f", "t**2|str")
call("numgrad x nan", lambda: wp.numerical_gradient(lambda v: v, float("nan")), "x", "nan|finite")
call("numgrad x bool", lambda: wp.numerical_gradient(lambda v: v * 1.0, True), "x", "bool|True")
call(
    "numgrad x strings", lambda: wp.numerical_gradient(lambda v: 1.0, np.array(["a"])), "x", "<U|str|no float"
)
call(
    "numgrad x integers",
    lambda: wp.numerical_gradient(lambda v: float(v.sum()), np.array([1, 2])),
    "x",
    "int|no float",
)
call(
    "numgrad x meta",
    lambda: wp.numerical_gradient(lambda v: v.sum(), torch.zeros(2, device="meta")),
    "x",
    "meta",
)
call(
    "numgrad x sparse",
    lambda: wp.numerical_gradient(lambda v: v.to_dense().sum(), torch.eye(2).to_sparse()),
    "x",
    "sparse",
    "error|fine",
)
call(
    "numgrad x generator",
    lambda: wp.numerical_gradient(lambda v: 1.0, (v for v in [1.0])),
    "x",
    "generator|no float",
)
call("numgrad x set", lambda: wp.numerical_gradient(lambda v: 1.0, {1.0}), "x", "set|no float")
call(
    "numgrad x nan inside",
    lambda: wp.numerical_gradient(lambda v: v.sum(), np.array([1.0, np.nan])),
    "x",
    "nan|finite",
)
call("numgrad f gives str", lambda: wp.numerical_gradient(lambda v: "1", 1.0), "f", "<U1|str|'1'")
call("numgrad f gives complex", lambda: wp.numerical_gradient(lambda v: v * 1j, 1.0), "f", "complex")
call("numgrad f gives inf", lambda: wp.numerical_gradient(lambda v: float("inf"), 1.0), "f", "inf|finite")
call("numgrad f gives tuple", lambda: wp.numerical_gradient(lambda v: (v, v), 1.0), "f", "tuple|2")
call("numgrad f takes none", lambda: wp.numerical_gradient(lambda: 1.0, 1.0), "f", "argument", "error|user")
call("numgrad f takes two", lambda: wp.numerical_gradient(lambda a, b: a, 1.0), "f", "argument", "error|user")
call(
    "numgrad f class",
    lambda: wp.numerical_gradient(nn.Linear, 1.0),
    "f",
    "class|Linear|argument",
    "error|user",
)
call(
    "numgrad method empty",
    lambda: wp.numerical_gradient(lambda v: v, 1.0, method=""),
    "method",
    "''|\"\"|empty",
)
call(
    "numgrad method list",
    lambda: wp.numerical_gradient(lambda v: v, 1.0, method=["auto"]),
    "method",
    "list|['auto']",
)
call("numgrad step zero", lambda: wp.numerical_gradient(lambda v: v, 1.0, step=0.0), "step", "0")
call("numgrad step negative", lambda: wp.numerical_gradient(lambda v: v, 1.0, step=-0.1), "step", "-0.1")
call("numgrad step list", lambda: wp.numerical_gradient(lambda v: v, 1.0, step=[0.1]), "step", "list|[0.1]")
call(
    "numgrad precision near miss",
    lambda: wp.numerical_gradient(lambda v: v, 1.0, precision="float46"),
    "precision",
    "float46",
)
call(
    "numgrad precision int",
    lambda: wp.numerical_gradient(lambda v: v, 1.0, precision=64),
    "precision",
    "64|int",
)
call(
    "numgrad changes x",
    lambda: wp.numerical_gradient(lambda v: float(v.__iadd__(1.0).sum()), np.ones(3)),
    "x|f",
    "change|write|read-only|in place|modif",
    "error|user",
)
call(
    "numgrad misspelt",
    lambda: wp.numerical_gradient(lambda v: v, 1.0, stepp=0.1),
    "stepp",
    "unexpected",
    python=True,
)
call(
    "numgrad eps", lambda: wp.numerical_gradient(lambda v: v, 1.0, eps=0.1), "eps", "unexpected", python=True
)
call("numgrad swapped", lambda: wp.numerical_gradient(1.0, lambda v: v), "f|x", "float|1.0|function")
fine(
    "numgrad numpy scalar",
    lambda: wp.numerical_gradient(lambda v: v**2, np.float64(1.0), step=np.float64(0.01)),
)
call("gradcheck f int", lambda: wp.check_gradients(5, np.ones(2)), "f", "5|int")
call("gradcheck f None", lambda: wp.check_gradients(None, np.ones(2)), "f", "None")
call(
    "gradcheck f class",
    lambda: wp.check_gradients(nn.Linear, torch.ones(2)),
    "f",
    "class|Linear|type",
    "error|user",
)
call("gradcheck no inputs", lambda: wp.check_gradients(lambda v: v), "input", "no |none|nothing|without|()")
call(
    "gradcheck NumPy without gradient",
    lambda: wp.check_gradients(lambda v: float(np.sum(v**2)), np.ones(3)),
    "gradient",
    "gradient",
)
call(
    "gradcheck int tensors",
    lambda: wp.check_gradients(lambda v: v * 2, torch.tensor([1, 2])),
    "input|differentiate",
    "int|no |nothing",
)
call(
    "gradcheck nan input",
    lambda: wp.check_gradients(lambda v: v.sum(), torch.tensor([1.0, float("nan")])),
    "input|v",
    "nan|finite",
)
call(
    "gradcheck inf input",
    lambda: wp.check_gradients(lambda v: v.sum(), torch.tensor([1.0, float("inf")])),
    "input|v",
    "inf|finite",
)
call(
    "gradcheck sparse input",
    lambda: wp.check_gradients(lambda v: v.to_dense().sum(), torch.eye(2).to_sparse()),
    "input|v",
    "sparse|Sparse",
    "error|fine",
)
call(
    "gradcheck gradient shape",
    lambda: wp.check_gradients(lambda v: float(np.sum(v**2)), np.ones(3), gradient=np.ones(4)),
    "gradient",
    "(4,)|4",
)
call(
    "gradcheck gradient int",
    lambda: wp.check_gradients(lambda v: float(np.sum(v**2)), np.ones(3), gradient=5),
    "gradient",
    "5|int|shape|()",
)
call(
    "gradcheck gradient strings",
    lambda: wp.check_gradients(lambda v: float(np.sum(v**2)), np.ones(3), gradient=np.array(["a", "b", "c"])),
    "gradient",
    "<U|str|ndarray",
)
call(
    "gradcheck gradient None back",
    lambda: wp.check_gradients(lambda v: float(np.sum(v**2)), np.ones(3), gradient=lambda v: None),
    "gradient",
    "None",
)
user("gradcheck f raises", lambda: wp.check_gradients(t.planted, torch.ones(2)), t.PlantedError)
user(
    "gradcheck backward raises",
    lambda: wp.check_gradients(t.RaisingBackward.apply, torch.ones(2)),
    t.PlantedError,
)
user("gradcheck module raises", lambda: wp.check_gradients(t.Raising(), t.x()), t.PlantedError)
call("gradcheck f gives None", lambda: wp.check_gradients(lambda v: None, torch.ones(2)), "f|output", "None")
call("gradcheck f gives int", lambda: wp.check_gradients(lambda v: 3, torch.ones(2)), "f|output", "int|3")
call(
    "gradcheck f gives nan",
    lambda: wp.check_gradients(lambda v: v * float("nan"), torch.ones(2)),
    "f|output",
    "nan|finite",
)
call(
    "gradcheck mode near miss",
    lambda: wp.check_gradients(lambda v: v**2, torch.ones(2), mode="revers"),
    "mode",
    "revers",
)
call(
    "gradcheck mode of NumPy",
    lambda: wp.check_gradients(
        lambda v: float(np.sum(v**2)), np.ones(3), gradient=lambda v: 2 * v, mode="forward"
    ),
    "mode",
    "forward",
)
call("gradcheck order 3", lambda: wp.check_gradients(lambda v: v**2, torch.ones(2), order=3), "order", "3")
call(
    "gradcheck order None",
    lambda: wp.check_gradients(lambda v: v**2, torch.ones(2), order=None),
    "order",
    "None",
)
call(
    "gradcheck order of NumPy",
    lambda: wp.check_gradients(lambda v: float(np.sum(v**2)), np.ones(3), gradient=lambda v: 2 * v, order=2),
    "order",
    "2",
)
call(
    "gradcheck resolution zero",
    lambda: wp.check_gradients(lambda v: v**2, torch.ones(2), resolution=0.0),
    "resolution",
    "0",
)
call(
    "gradcheck resolution negative",
    lambda: wp.check_gradients(lambda v: v**2, torch.ones(2), resolution=-0.1),
    "resolution",
    "-0.1",
)
call(
    "gradcheck resolution nan",
    lambda: wp.check_gradients(lambda v: v**2, torch.ones(2), resolution=float("nan")),
    "resolution",
    "nan",
)
call(
    "gradcheck resolution inf",
    lambda: wp.check_gradients(lambda v: v**2, torch.ones(2), resolution=float("inf")),
    "resolution",
    "inf",
)
call(
    "gradcheck resolution None",
    lambda: wp.check_gradients(lambda v: v**2, torch.ones(2), resolution=None),
    "resolution",
    "None",
)
call(
    "gradcheck replay near miss",
    lambda: wp.check_gradients(lambda v: v**2, torch.ones(2), replay="aut"),
    "replay",
    "aut",
)
call(
    "gradcheck replay None",
    lambda: wp.check_gradients(lambda v: v**2, torch.ones(2), replay=None),
    "replay",
    "None",
)
call(
    "gradcheck seed float",
    lambda: wp.check_gradients(lambda v: v**2, torch.ones(2), seed=1.5),
    "seed",
    "1.5|float",
)
call(
    "gradcheck seed None",
    lambda: wp.check_gradients(lambda v: v**2, torch.ones(2), seed=None),
    "seed",
    "None",
)
call(
    "gradcheck seed nan",
    lambda: wp.check_gradients(lambda v: v**2, torch.ones(2), seed=float("nan")),
    "seed",
    "nan|float",
)
call(
    "gradcheck misspelt",
    lambda: wp.check_gradients(lambda v: v**2, torch.ones(2), mod="reverse"),
    "mod",
    "unexpected",
    python=True,
)
call(
    "gradcheck module lazy",
    lambda: wp.check_gradients(t.lazy(), t.x()),
    "parameter|module|lazy|f",
    "lazy|uninitialized",
    "error|fine",
)
call("gradcheck module width", lambda: wp.check_gradients(t.net(), t.x(8, 7)), "input", "7", "error|user")
call(
    "gradcheck late parameter",
    lambda: wp.check_gradients(t.LateParameter(), t.x(8)),
    "parameter|scale|forward",
    "scale|parameter|forward",
    "error|fine|finding",
)
fine("gradcheck torch", lambda: wp.check_gradients(lambda v: v**2, torch.ones(2)))
fine(
    "gradcheck numpy options",
    lambda: wp.check_gradients(lambda v: v**2, torch.ones(2), resolution=np.float64(0.01), seed=np.int64(1)),
)
fine("gradcheck Problem", lambda: wp.check_gradients(t.problem()))
call(
    "Moments of no rows",
    lambda: wp.Moments.of(np.zeros((0, 3))),
    "data|rows",
    "empty|no rows|0|nothing",
    "error|fine",
)
call("Moments of empty list", lambda: wp.Moments.of([]), "data|list|batches", "empty|no |nothing|[]")
call("Moments of strings", lambda: wp.Moments.of(np.array([["a", "b"]])), "data|array", "<U|str|text")
call("Moments of meta", lambda: wp.Moments.of(torch.zeros(4, 3, device="meta")), "data|tensor|device", "meta")
call(
    "Moments of complex tensor",
    lambda: wp.Moments.of(torch.ones(3, 2, dtype=torch.complex64)),
    "data|tensor|array",
    "complex",
)
call(
    "Moments of dates",
    lambda: wp.Moments.of(np.array(["2020-01-01"], dtype="M8[D]")),
    "data|array",
    "datetime|M8|date",
)
call("Moments of list of strings", lambda: wp.Moments.of(["a", "b"]), "data|batch", "str|'a'|<U1")
call("Moments of Nones", lambda: wp.Moments.of([None]), "data|batch", "None")
call("Moments axis str", lambda: wp.Moments.of(t.table(), axis="1"), "axis", "'1'|str")
call("Moments axis float", lambda: wp.Moments.of(t.table(), axis=1.5), "axis", "1.5|float")
call("Moments axis 0", lambda: wp.Moments.of(t.table(), axis=0), "axis", "0")
call("Moments axis bool", lambda: wp.Moments.of(t.table(), axis=True), "axis", "True|bool")
call("Moments mask ints", lambda: wp.Moments.of(t.table(), mask=np.full(50, 3)), "mask", "int|3")
call("Moments mask str", lambda: wp.Moments.of(t.table(), mask="all"), "mask", "all|str|<U3")
call(
    "Moments mask hides all",
    lambda: wp.Moments.of(t.table(), mask=np.zeros(50, bool)),
    "mask|data|rows",
    "empty|no |nothing|0",
    "error|fine",
)
call("Moments covariance str", lambda: wp.Moments.of(t.table(), covariance="yes"), "covariance", "yes|str")
call("Moments quantiles str", lambda: wp.Moments.of(t.table(), quantiles="no"), "quantiles", "no|str")
call("Moments quantiles list", lambda: wp.Moments.of(t.table(), quantiles=[0.5]), "quantiles", "list|[0.5]")
call(
    "Moments misspelt",
    lambda: wp.Moments.of(t.table(), covarience=True),
    "covarience",
    "unexpected",
    python=True,
)
call(
    "Moments or other columns",
    lambda: t.moments() | wp.Moments.of(np.ones((2, 4))),
    "column|shape|Moments|merge",
    "4",
)
call("Moments quantile not asked", lambda: t.moments().quantile(0.5), "quantiles", "quantiles")
call("Moments quantile None", lambda: t.moments(quantiles=True).quantile(None), "q", "None")
call("Moments covariance not asked", lambda: t.moments().covariance, "covariance", "covariance")
call("Moments empty negative shape", lambda: wp.Moments.empty((2, -1)), "columns", "-1")
call("Moments from int", lambda: wp.Moments.from_json(5), "text|moments|JSON", "5|int")
call("Moments from None", lambda: wp.Moments.from_json(None), "text|moments|JSON", "None")
call(
    "Moments from object",
    lambda: wp.Moments.from_json("{}"),
    "moments|JSON",
    "{}|missing|version|empty|schema|count|not|damaged",
)
call(
    "Moments from cut",
    lambda: wp.Moments.from_json(t.moments().to_json()[:100]),
    "moments|JSON",
    "damaged|truncated|JSON|line|char",
)
call(
    "Moments from bad bytes",
    lambda: wp.Moments.from_json(b"\xff\x00"),
    "moments|JSON",
    "damaged|UTF|utf|byte|decode",
)
fine("Moments", lambda: wp.Moments.from_json(t.moments().to_json()) | t.moments())
call("fit int", lambda: wp.Normalizer.fit(5), "train|data", "5|int|number")
call("fit empty str", lambda: wp.Normalizer.fit(""), "train|path|file", "''|\"\"|empty")
call(
    "fit missing file",
    lambda: wp.Normalizer.fit("no-such-rows.csv"),
    "no-such-rows.csv|train",
    "no-such-rows.csv",
)
call(
    "fit unknown format",
    lambda: wp.Normalizer.fit(t.here("rows.xlsx", "a,b\n1,2\n")),
    "rows.xlsx|train",
    "xlsx",
)
call("fit no rows", lambda: wp.Normalizer.fit(np.zeros((0, 3))), "train|data|rows", "empty|no rows|0|nothing")
call(
    "fit all nan",
    lambda: wp.Normalizer.fit(np.full((5, 2), np.nan)),
    "column|data|train",
    "finite|nan|missing|0|1",
)
call("fit complex", lambda: wp.Normalizer.fit(t.table() * 1j), "train|data|array", "complex")
call("fit strings", lambda: wp.Normalizer.fit(np.array([["a"], ["b"]])), "train|data|array", "<U|str|text")
call(
    "fit objects", lambda: wp.Normalizer.fit(np.array([[object()], [object()]])), "train|data|array", "object"
)
call("fit iterator", lambda: wp.Normalizer.fit(iter([t.table()])), "train|data", "iterator|once")
call(
    "fit closed file",
    lambda: wp.Normalizer.fit(t.closed_file()),
    "train|data|file",
    "closed|TextIOWrapper|file|path",
)
call(
    "fit meta",
    lambda: wp.Normalizer.fit(torch.zeros(4, 3, device="meta")),
    "train|data|tensor|device",
    "meta",
)
call(
    "fit sparse",
    lambda: wp.Normalizer.fit(torch.eye(3).to_sparse()),
    "train|data|tensor",
    "sparse",
    "error|fine",
)
call("fit bytes", lambda: wp.Normalizer.fit(b"rows.csv"), "train|data", "bytes|b'rows.csv'")
call(
    "fit unequal batches",
    lambda: wp.Normalizer.fit([np.ones((2, 3)), np.ones((2, 4))]),
    "batch|column|shape|data|train",
    "4",
)
call("fit method int", lambda: wp.Normalizer.fit(t.table(), method=5), "method", "5|int")
call("fit method empty", lambda: wp.Normalizer.fit(t.table(), method=""), "method", "''|\"\"|empty")
call(
    "fit of near miss",
    lambda: wp.Normalizer.fit((t.table(), t.table()), of="target"),
    "of",
    "'target'|target",
)
call("fit of int", lambda: wp.Normalizer.fit((t.table(), t.table()), of=1), "of", "1|int")
call(
    "fit targets of array",
    lambda: wp.Normalizer.fit(t.table(), of="targets"),
    "of|targets",
    "targets|ndarray|array|pair",
)
call("fit columns chars", lambda: wp.Normalizer.fit(t.table(), columns="abc"), "columns", "abc|str")
call("fit columns far negative", lambda: wp.Normalizer.fit(t.table(), columns=[-9]), "columns|column", "-9")
call("fit columns float", lambda: wp.Normalizer.fit(t.table(), columns=[1.5]), "columns|column", "1.5|float")
call(
    "fit columns mixed",
    lambda: wp.Normalizer.fit(t.frame(), columns=["age", 1.5]),
    "columns|column",
    "1.5|float|mix",
)
call(
    "fit names too many",
    lambda: wp.Normalizer.fit(t.table(), columns=["a", "b", "c", "d"]),
    "columns|column",
    "4|'a'|'d'",
)
call("fit axis str", lambda: wp.Normalizer.fit(t.table(), axis="last"), "axis", "last|str")
call("fit axis float", lambda: wp.Normalizer.fit(t.table(), axis=1.0), "axis", "1.0|float")
call("fit axis 5", lambda: wp.Normalizer.fit(t.table(), axis=5), "axis", "5")
call(
    "fit mask of frame",
    lambda: wp.Normalizer.fit(t.frame(), mask=np.ones(7, bool)),
    "mask",
    "frame|array|7|table",
)
call("fit engine near miss", lambda: wp.Normalizer.fit(t.csv(), engine="dusk"), "engine", "dusk")
call("fit engine empty", lambda: wp.Normalizer.fit(t.csv(), engine=""), "engine", "''|\"\"|empty")
call("fit split int", lambda: wp.Normalizer.fit(t.table(), split=5), "split", "5|int")
call("fit split bool", lambda: wp.Normalizer.fit(t.table(), split=True), "split", "True|bool")
call("fit source int", lambda: wp.Normalizer.fit(t.table(), source=5), "source", "5|int")
call("fit source list", lambda: wp.Normalizer.fit(t.table(), source=["a"]), "source", "list|['a']")
call("fit checkpoint int", lambda: wp.Normalizer.fit(t.csv(), checkpoint=5), "checkpoint", "5|int")
call(
    "fit checkpoint directory",
    lambda: wp.Normalizer.fit(t.csv(), checkpoint=t.directory("place")),
    "checkpoint",
    "directory|folder|place",
)
call("fit progress bool", lambda: wp.Normalizer.fit(t.table(), progress=True), "progress", "True|bool")
call("fit two positional", lambda: wp.Normalizer.fit(t.table(), t.table()), "positional", "3", python=True)
call("fit nothing", lambda: wp.Normalizer.fit(), "train", "missing", python=True)
fine("fit pair", lambda: wp.Normalizer.fit((t.table(), t.table()), of="targets", split="train"))
call("Normalizer nothing", lambda: wp.Normalizer(), "method", "missing", python=True)
call("Normalizer array", lambda: wp.Normalizer(t.table()), "positional", "2", python=True)
call("apply int", lambda: t.normalizer()(5), "x|data|input", "5|int|number|scalar|()")
call("apply more columns", lambda: t.normalizer()(np.ones((2, 9))), "column|shape", "9")
call("apply one column", lambda: t.normalizer()(np.ones((2, 1))), "column|shape", "1")
call("apply one column tensor", lambda: t.normalizer()(torch.ones(2, 1)), "column|shape", "1")
call("apply complex", lambda: t.normalizer()(t.table() * 1j), "x|data|number|array", "complex")
call("apply objects", lambda: t.normalizer()(np.array([[object()] * 3])), "x|data|number|array", "object")
call(
    "apply scalar array",
    lambda: t.normalizer()(np.array(1.0)),
    "shape|dimension|x|data|column",
    "number|()|0|scalar",
)
call("apply missing column", lambda: t.named()(t.frame()[["age", "income"]]), "column", "height")
call(
    "apply meta",
    lambda: t.normalizer()(torch.zeros(2, 3, device="meta")),
    "x|data|tensor|device",
    "meta",
    "error|fine",
)
call("apply dict", lambda: t.normalizer()({"x": t.table()}), "x|data", "dict")
call("apply generator", lambda: t.normalizer()(t.arrays()), "x|data", "generator")
call("apply nothing", lambda: t.normalizer()(), "x", "missing", python=True)
fine("apply", lambda: t.normalizer()(np.ones((2, 3), "f4")))
fine("apply no rows", lambda: t.normalizer()(np.zeros((0, 3))))
call("inverse int", lambda: t.normalizer().inverse(5), "z|data|input|x", "5|int|number|scalar|()")
call("inverse None", lambda: t.normalizer().inverse(None), "z|data|input|x", "None")
call("inverse more columns", lambda: t.normalizer().inverse(np.ones((2, 9))), "column|shape", "9")
call(
    "inverse strings",
    lambda: t.normalizer().inverse(np.array([["a", "b", "c"]])),
    "z|data|number|array|x",
    "<U|str",
)
call("inverse str", lambda: t.normalizer().inverse("rows"), "z|data|input|x", "rows|str|<U4")
fine("inverse", lambda: t.normalizer().inverse(np.ones((2, 3))))
call("label far negative", lambda: t.normalizer().label(-9), "column", "-9")
call("label named too large", lambda: t.named().label(9), "column", "9")
call("save int", lambda: t.normalizer().save(5), "path", "5|int")
call("save True", lambda: t.normalizer().save(True), "path", "True|bool")
call("save None", lambda: t.normalizer().save(None), "path", "None")
call(
    "save directory",
    lambda: t.normalizer().save(t.directory("place")),
    "place|path",
    "directory|folder|place",
)
call("save NUL", lambda: t.normalizer().save("norm\0.json"), "path|norm", "null|NUL|x00")
call("load int", lambda: wp.Normalizer.load(5), "path", "5|int")
call(
    "load directory", lambda: wp.Normalizer.load(t.directory("place")), "place|path", "directory|folder|place"
)
call("load empty", lambda: wp.Normalizer.load(""), "path", "''|\"\"|empty")
call("load NUL", lambda: wp.Normalizer.load("a\0b"), "path|a", "null|NUL|x00")
call("load normalizer", lambda: wp.Normalizer.load(t.normalizer()), "path", "Normalizer")
fine("load", lambda: wp.Normalizer.load(t.saved()))
call("fold int", lambda: t.normalizer().fold_into(5), "model", "5|int")
call("fold no layer", lambda: t.normalizer().fold_into(nn.ReLU()), "model|layer", "ReLU|fold")
call(
    "fold nonlinear first",
    lambda: t.normalizer().fold_into(nn.Sequential(nn.ReLU(), nn.Linear(3, 2))),
    "model|layer|input",
    "ReLU|0|raw",
)
call(
    "fold lazy",
    lambda: t.normalizer().fold_into(nn.LazyLinear(2)),
    "model|lazy|layer|parameter",
    "lazy|LazyLinear|uninitialized",
)
call("fold input unknown", lambda: t.normalizer().fold_into(nn.Linear(3, 2), input="nope"), "input", "nope")
call("fold input int", lambda: t.normalizer().fold_into(nn.Linear(3, 2), input=5), "input", "5|int")
call(
    "fold example width",
    lambda: t.normalizer().fold_into(nn.Linear(3, 2), example=torch.ones(2, 9)),
    "example",
    "9",
)
call("fold example str", lambda: t.normalizer().fold_into(nn.Linear(3, 2), example="x"), "example", "str|'x'")
call(
    "fold meta",
    lambda: t.normalizer().fold_into(nn.Linear(3, 2, device="meta")),
    "model|layer|device|parameter",
    "meta",
)
call("onnx dtype None", lambda: t.normalizer().to_onnx(dtype=None), "dtype", "None")
call("onnx path int", lambda: t.normalizer().to_onnx(5), "path", "5|int")
call("onnx path bool", lambda: t.normalizer().to_onnx(True), "path", "True|bool")
call(
    "onnx directory",
    lambda: t.normalizer().to_onnx(t.directory("place")),
    "place|path",
    "directory|folder|place",
)
call("onnx nowhere", lambda: t.normalizer().to_onnx("nowhere/n.onnx"), "nowhere|path", "nowhere")
call("sql mixed", lambda: t.named().to_sql(["a", 5]), "table", "5|int")
call("sql NUL", lambda: t.named().to_sql("a\0b"), "table", "NUL|null|x00|a")
call("sql dialect None", lambda: t.named().to_sql("rows", dialect=None), "dialect", "None")
call("sql without names", lambda: t.normalizer().to_sql("rows"), "name|column", "name")
call("to_torch argument", lambda: t.normalizer().to_torch(5), "positional", "2", python=True)
call("to_jax argument", lambda: t.normalizer().to_jax(5), "positional", "2", python=True)
call(
    "torch module one column", lambda: t.normalizer().to_torch()(torch.ones(2, 1)), "column|shape|input", "1"
)
call("torch module str", lambda: t.normalizer().to_torch()("x"), "x|input", "str|'x'")
call(
    "sklearn one column",
    lambda: t.normalizer().to_sklearn().transform(np.ones((2, 1))),
    "column|shape|feature",
    "1",
    "error|passes",
    cause=ValueError,
)
call(
    "sklearn strings",
    lambda: t.normalizer().to_sklearn().transform(np.array([["a", "b", "c"]])),
    "X|x|data|number|array",
    "<U|str|string",
    "error|passes",
    cause=ValueError,
)
call("drift generator", lambda: t.normalizer().drift(t.arrays()), "data", "generator|once")
fine("drift", lambda: t.normalizer().drift(t.table()))
call("signals model int", lambda: t.signals(model=5), "model", "5|int")
user("signals model raises", lambda: t.signals(model=t.Raising()), t.PlantedError)
call(
    "signals late parameter",
    lambda: t.signals(model=t.LateParameter()),
    "model|parameter|scale|forward",
    "scale|parameter|forward",
    "error|fine",
)
call("signals loss str", lambda: t.signals(loss="mse"), "loss", "mse|str")
call("signals loss tuple", lambda: t.signals(loss=lambda o, y: (t.mse(o, y), 1)), "loss", "tuple")
user("signals loss raises", lambda: t.signals(loss=t.planted), t.PlantedError)
call("signals train None", lambda: t.signals(train=None), "train", "None|without|no ")
call("signals train int", lambda: t.signals(train=5), "train", "5|int")
call(
    "signals train mismatched",
    lambda: t.signals(train=(t.x(64), torch.zeros(60, 1))),
    "train|inputs|targets",
    "60",
)
call("signals optimizer str", lambda: t.signals(optimizer="adam"), "optimizer", "adam|str")
call(
    "signals Problem and loss", lambda: wp.measure_signals(t.problem(), t.mse), "loss|Problem", "loss|Problem"
)
fine("signals", lambda: str(t.signals()))
call("init model int", lambda: wp.initialize(5), "model", "5|int")
call("init model None", lambda: wp.initialize(None), "model", "None")
call("init model empty", lambda: wp.initialize(nn.Sequential()), "model|parameter", "no |parameter")
call("init model lazy", lambda: wp.initialize(t.lazy()), "model|parameter|lazy", "lazy|uninitialized")
call("init inputs three rows", lambda: wp.initialize(t.net(), t.x(3)), "inputs|rows", "3")
call("init inputs str", lambda: wp.initialize(t.net(), "x"), "inputs", "str|'x'")
call("init inputs int", lambda: wp.initialize(t.net(), 5), "inputs", "5|int")
call("init inputs nan", lambda: wp.initialize(t.net(), t.spoiled(float("nan"))), "inputs", "nan")
call("init inputs no rows", lambda: wp.initialize(t.net(), t.x(0)), "inputs|rows", "0|empty")
call(
    "init inputs other width",
    lambda: wp.initialize(t.net(), t.x(16, 7)),
    "inputs|model",
    "7",
    "error|user|passes",
    cause=Exception,
)
call("init inputs generator", lambda: wp.initialize(t.net(), t.generator()), "inputs", "generator")
call("init inputs strings", lambda: wp.initialize(t.net(), np.array([["a"] * 4] * 8)), "inputs", "<U|str")
call(
    "init inputs complex",
    lambda: wp.initialize(t.net(), t.x() * 1j),
    "inputs",
    "complex",
    "error|user|passes",
    cause=Exception,
)
call("init inputs empty tuple", lambda: wp.initialize(t.net(), ()), "inputs", "no tensor|()|empty|tuple")
call("init scheme near miss", lambda: wp.initialize(t.net(), scheme="glorto"), "scheme", "glorto")
call("init scheme int", lambda: wp.initialize(t.net(), scheme=5), "scheme", "5|int")
call("init seed float", lambda: wp.initialize(t.net(), seed=1.5), "seed", "1.5|float")
call("init seed None", lambda: wp.initialize(t.net(), seed=None), "seed", "None")
call("init loss alone", lambda: wp.initialize(t.net(), t.x(), loss=t.mse), "targets|loss", "targets")
call(
    "init loss without inputs",
    lambda: wp.initialize(t.net(), loss=t.mse, targets=t.xy()[1]),
    "inputs|loss|targets",
    "inputs",
)
call("init loss int", lambda: wp.initialize(t.net(), t.x(), loss=5, targets=t.xy()[1]), "loss", "5|int")
call(
    "init model raises",
    lambda: wp.initialize(t.Raising(), t.x()),
    "",
    "",
    "user|passes",
    cause=t.PlantedError,
)
call("init misspelt", lambda: wp.initialize(t.net(), shceme="he"), "shceme", "unexpected", python=True)
fine("init with loss", lambda: wp.initialize(t.net(), t.x(), loss=t.mse, targets=t.xy()[1]))
command("cli misspelt option", "wellposed check train.py:problem --slect WP1", 2, "--slect")
command("cli no problem", "wellposed check", 2, "train.py:problem|argument")
command("cli dots", "wellposed check ..:x", 2, "..")
command("cli dot", "wellposed check .:x", 2, ".:x|.")
command("cli no name", "wellposed check train.py", 2, "train.py")
command("cli missing module", "wellposed check no_pkg.mod:problem", 2, "no_pkg")
command("cli missing attribute", "wellposed check train.py:porblem", 2, "porblem")
command("cli attribute with dots", "wellposed check train.py:problem.nothing", 2, "nothing")
command("cli json for Python", "wellposed check norm.json:problem", 2, "norm.json")
command("cli dev null", "wellposed check /dev/null:problem", 2, "/dev/null")
command("cli number", "wellposed check train.py:number", 2, "int|5|number")
command("cli None", "wellposed check train.py:nothing", 2, "None|nothing")
command("cli model alone", "wellposed check train.py:model", 2, "model|Sequential")
command("cli format xml", "wellposed check train.py:problem --format xml", 2, "xml")
command("cli seed float", "wellposed check train.py:problem --seed 1.5", 2, "1.5")
command("cli select near miss", "wellposed check train.py:problem --select inptu-scale", 2, "inptu-scale")
command("cli select empty", "wellposed check train.py:problem --select ''", 2, "select|empty|''")
command("cli select commas", "wellposed check train.py:problem --select ,,", 2, "select|,,|empty")
command("cli ignore unknown", "wellposed check train.py:problem --ignore dead-unit", 2, "dead-unit")
command("cli explain empty", "wellposed explain ''", 2, "''|empty|rule")
command("cli explain nothing", "wellposed explain", 2, "argument|WP101")
command("cli rules unknown", "wellposed rules WP9x", 2, "WP9x")
command("cli gradcheck order", "wellposed gradcheck train.py:square --order 3", 2, "3")
command("cli gradcheck resolution nan", "wellposed gradcheck train.py:square --resolution nan", 2, "nan")
command("cli gradcheck no loss", "wellposed gradcheck train.py:no_loss", 2, "loss")
command("cli gradcheck number", "wellposed gradcheck train.py:number", 2, "int|5|number")
command("cli fix no loss", "wellposed fix train.py:no_loss", (0, 1, 2), "loss")
command("cli demo argument", "wellposed demo now", 2, "now|argument")
command("cli crash at import", "wellposed check raises.py:problem", 3)
command("cli syntax error", "wellposed check syntax.py:problem", (2, 3), "syntax.py")
command("cli leaves", "wellposed check train.py:leave", (2, 3), "SystemExit|exit|7")
command("cli gradcheck raises", "wellposed gradcheck train.py:raising", 3)
command("cli -o directory", "wellposed check train.py:problem -o data", 2, "data")
command(
    "cli -o text file", "wellposed check train.py:problem -o notes.txt", 2, "notes.txt", keeps="notes.txt"
)
command("cli -o data", "wellposed check train.py:problem -o rows.npy", 2, "rows.npy", keeps="rows.npy")
command(
    "cli -o foreign json",
    "echo '{\"lr\": 0.1}' > config.json; cp config.json kept.json; wellposed check train.py:problem -o config.json; code=$?; cmp config.json kept.json || exit 99; exit $code",
    2,
    "config.json",
)
command(
    "cli -o hard link to program",
    "ln train.py out.json; wellposed check train.py:problem -o out.json",
    2,
    "train.py|out.json",
    keeps="train.py",
)
command("cli -o empty", "wellposed check train.py:problem -o ''", 2, "output|-o|''|empty")
command("cli -o full disk", "wellposed check train.py:problem -o /dev/full", 2, "/dev/full")
command(
    "cli -o read-only report",
    "cp report.json mine.json; chmod 444 mine.json; wellposed check train.py:problem -o mine.json",
    (0, 1, 2),
    "mine.json",
    powerless=True,
)
command(
    "cli -o own report again",
    "cp report.json again.json; wellposed check train.py:problem -o again.json",
    (0, 1),
)
command(
    "cli fix -o the program", "wellposed fix train.py:scaled -o train.py", 2, "train.py", keeps="train.py"
)
command(
    "cli fit -o its data", "wellposed normalize fit rows.csv -o rows.csv", 2, "rows.csv", keeps="rows.csv"
)
command("cli fit -o full disk", "wellposed normalize fit rows.csv -o /dev/full", 2, "/dev/full")
command(
    "cli fit checkpoint program",
    "wellposed normalize fit rows.csv -o n.json --checkpoint train.py",
    2,
    "train.py",
    keeps="train.py",
)
command(
    "cli apply -o program",
    "wellposed normalize apply norm.json rows.csv -o train.py",
    2,
    "train.py",
    keeps="train.py",
)
command("cli apply -o directory", "wellposed normalize apply norm.json rows.csv -o data", 2, "data")
command("cli apply -o full disk", "wellposed normalize apply norm.json rows.csv -o /dev/full", 2, "/dev/full")
command("cli fit no output", "wellposed normalize fit rows.csv", 2, "-o|output")
command("cli fit empty folder", "wellposed normalize fit empty -o n.json", 2, "empty")
command("cli fit pattern of none", "wellposed normalize fit 'none-*.csv' -o n.json", 2, "none-*.csv")
command("cli fit axis", "wellposed normalize fit rows.npy -o n.json --axis last", 2, "last")
command("cli fit key missing", "wellposed normalize fit rows.npz -o n.json --key z", 2, "z")
command("cli fit key not said", "wellposed normalize fit rows.npz -o n.json", (0, 2), "key|a, b|a")
command("cli fit key of csv", "wellposed normalize fit rows.csv -o n.json --key a", 2, "key")
command("cli apply missing", "wellposed normalize apply norm.json none.csv -o o.csv", 2, "none.csv")
command("cli apply no statistics", "wellposed normalize apply none.json rows.csv -o o.csv", 2, "none.json")
command("cli apply report", "wellposed normalize apply report.json rows.csv -o o.csv", 2, "report.json")
command("cli apply swapped", "wellposed normalize apply rows.csv norm.json -o o.csv", 2, "rows.csv")
command(
    "cli apply other format",
    "wellposed normalize apply norm.json rows.csv -o o.parquet",
    (0, 2),
    "o.parquet|parquet",
)
command("cli show directory", "wellposed normalize show data", 2, "data")
command("cli drift other kind", "wellposed normalize drift norm.json notes.txt", 2, "notes.txt")
command("cli report csv", "wellposed report rows.csv", 2, "rows.csv")
command("cli report missing", "wellposed report none.json", 2, "none.json")
command("cli report directory", "wellposed report data", 2, "data")
command("cli stderr closed", "wellposed rules 2>&-", 0)
command("cli both closed", "wellposed check train.py:problem >&- 2>&-", (0, 1, 2))
command("cli stdin closed", "wellposed rules <&-", 0)
command(
    "cli reader closes at once",
    "set +o pipefail; wellposed check train.py:problem -v | true; exit ${PIPESTATUS[0]}",
    (0, 1, 141),
)
command(
    "cli reader of json closes",
    "set +o pipefail; wellposed check train.py:problem --format json | head -c 10; exit ${PIPESTATUS[0]}",
    (0, 1, 141),
)
command(
    "cli no colour",
    "wellposed check train.py:problem",
    (0, 1),
    environment={"NO_COLOR": "1", "TERM": "xterm-256color"},
)
command("cli narrow", "wellposed check train.py:problem", (0, 1), environment={"COLUMNS": "20"})
command("cli one column", "wellposed rules", 0, environment={"COLUMNS": "1"})
command("cli columns text", "wellposed rules", 0, environment={"COLUMNS": "wide"})
command("cli columns negative", "wellposed normalize show norm.json", 0, environment={"COLUMNS": "-5"})
command(
    "cli locale C",
    "wellposed check train.py:problem",
    (0, 1),
    environment={"LC_ALL": "C", "PYTHONIOENCODING": "ascii"},
)
command("cli no home", "env -u HOME wellposed normalize show norm.json", 0)
command("cli folder gone", "mkdir gone; cd gone; rmdir ../gone; wellposed rules", (0, 2))
command("cli json on error", "wellposed check nothing.py:x --format json", 2, "nothing.py")
command("cli plain", "wellposed check train.py:problem", (0, 1))
command("cli function", "wellposed check train.py:make", (0, 1))
