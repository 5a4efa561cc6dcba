"""Half a of the hostile and broken files; the halves were drawn at random."""

from __future__ import annotations

import wellposed as wp

from . import hostile as h
from . import things as t
from .cases import Cases

cases = Cases()
call, fine, command = cases.call, cases.fine, cases.command

command(
    "npy cut by little",
    "wellposed normalize fit bad.npy -o n.json",
    2,
    "bad.npy",
    make=h.cut("rows.npy", "bad.npy", 0.999),
)
command(
    "npy negative dim",
    "wellposed normalize fit bad.npy -o n.json",
    2,
    "bad.npy",
    make=h.put("bad.npy", h.npy(h.describe("(-1, 3)"), bytes(240))),
)
command(
    "npy negative dims",
    "wellposed normalize fit bad.npy -o n.json",
    2,
    "bad.npy",
    make=h.put("bad.npy", h.npy(h.describe("(-5, -6)"), bytes(240))),
)
command(
    "npy huge dims",
    "wellposed normalize fit bad.npy -o n.json",
    2,
    "bad.npy",
    make=h.put("bad.npy", h.npy(h.describe("(1000000000000, 1000000)"), bytes(240))),
)
command(
    "npy dims that wrap to small",
    "wellposed normalize fit bad.npy -o n.json",
    2,
    "bad.npy",
    make=h.put("bad.npy", h.npy(h.describe("(9223372036854775808, 2)"), bytes(240))),
)
command(
    "npy shape text",
    "wellposed normalize fit bad.npy -o n.json",
    2,
    "bad.npy",
    make=h.put("bad.npy", h.npy(h.describe("'ab'"), bytes(240))),
)
command(
    "npy shape floats",
    "wellposed normalize fit bad.npy -o n.json",
    2,
    "bad.npy",
    make=h.put("bad.npy", h.npy(h.describe("(1.5, 2)"), bytes(240))),
)
command(
    "npy shape too large",
    "wellposed normalize fit bad.npy -o n.json",
    2,
    "bad.npy",
    make=h.put("bad.npy", h.npy(h.describe("(50, 3)"), bytes(240))),
)
command(
    "npy dtype unknown",
    "wellposed normalize fit bad.npy -o n.json",
    2,
    "bad.npy",
    make=h.put("bad.npy", h.npy(h.describe("(10, 3)", "'<q9'"), bytes(240))),
)
command(
    "npy dtype of size 0",
    "wellposed normalize fit bad.npy -o n.json",
    2,
    "bad.npy",
    make=h.put("bad.npy", h.npy(h.describe("(10, 3)", "'|V0'"), b"")),
)
command(
    "npy structured",
    "wellposed normalize fit bad.npy -o n.json",
    (0, 2),
    "bad.npy",
    make=h.put("bad.npy", h.npy(h.describe("(10,)", "[('a', '<f8'), ('b', '|O')]"), bytes(160))),
)
command(
    "npy header of code",
    "wellposed normalize fit bad.npy -o n.json",
    2,
    "bad.npy",
    make=h.put("bad.npy", h.npy("__import__('os').mkdir('EXECUTED')", bytes(240))),
)
command(
    "npy header not closed",
    "wellposed normalize fit bad.npy -o n.json",
    2,
    "bad.npy",
    make=h.put("bad.npy", h.npy("{'descr': '<f8'", bytes(240))),
)
command(
    "npy header without shape",
    "wellposed normalize fit bad.npy -o n.json",
    2,
    "bad.npy",
    make=h.put("bad.npy", h.npy("{'descr': '<f8', 'fortran_order': False}", bytes(240))),
)
command(
    "npy version 9",
    "wellposed normalize fit bad.npy -o n.json",
    2,
    "bad.npy",
    make=h.put("bad.npy", h.npy(h.describe("(10, 3)"), bytes(240), version=b"\x09\x00")),
)
command(
    "npy complex",
    "wellposed normalize fit bad.npy -o n.json",
    2,
    "bad.npy|complex",
    make=h.put("bad.npy", h.npy(h.describe("(10, 1)", "'<c16'"), bytes(160))),
)
command(
    "npy text",
    "wellposed normalize fit bad.npy -o n.json",
    2,
    "bad.npy|<U|text",
    make=h.put("bad.npy", h.npy(h.describe("(10, 1)", "'<U2'"), bytes(80))),
)
command(
    "npy holes of 3 GB",
    "wellposed normalize fit bad.npy -o n.json",
    (0, 2),
    "bad.npy",
    make=h.sparse_npy("bad.npy", 400_000_000),
)
command(
    "npy mutated 1",
    "wellposed normalize fit bad.npy -o n.json",
    (0, 2),
    "bad.npy",
    make=h.mutate("rows.npy", "bad.npy", 1, 40),
)
command(
    "npy applied cut",
    "wellposed normalize apply norm.json bad.npy -o o.npy",
    2,
    "bad.npy",
    make=h.cut("rows.npy", "bad.npy", 0.5),
)
command("npz empty", "wellposed normalize fit bad.npz -o n.json", 2, "bad.npz", make=h.put("bad.npz", b""))
command(
    "npz cut half",
    "wellposed normalize fit bad.npz -o n.json",
    2,
    "bad.npz",
    make=h.cut("rows.npz", "bad.npz", 0.5),
)
command(
    "npz member climbs",
    "wellposed normalize fit bad.npz -o n.json",
    (0, 2),
    "bad.npz",
    make=h.put("bad.npz", lambda: h.npz(**{"..__..__climbed": h.right_npy()})),
)
command(
    "npz member is text",
    "wellposed normalize fit bad.npz -o n.json",
    2,
    "bad.npz",
    make=h.put("bad.npz", lambda: h.npz(a=b"hello")),
)
command(
    "npz member huge shape",
    "wellposed normalize fit bad.npz -o n.json",
    2,
    "bad.npz",
    make=h.put("bad.npz", lambda: h.npz(a=h.npy(h.describe("(100000000000, 3)"), bytes(240)))),
)
command(
    "npz member negative",
    "wellposed normalize fit bad.npz -o n.json",
    2,
    "bad.npz",
    make=h.put("bad.npz", lambda: h.npz(a=h.npy(h.describe("(-1, 3)"), bytes(240)))),
)
command(
    "npz bomb C",
    "wellposed normalize fit bad.npz -o n.json",
    (0, 2),
    "bad.npz",
    make=h.npz_bomb("bad.npz", 3, fortran=False),
)
command(
    "npz bomb Fortran",
    "wellposed normalize fit bad.npz -o n.json",
    (0, 2),
    "bad.npz",
    make=h.npz_bomb("bad.npz", 3, fortran=True),
)
command(
    "npz bomb one column",
    "wellposed normalize fit bad.npz -o n.json",
    (0, 2),
    "bad.npz",
    make=h.npz_bomb("bad.npz", 3, fortran=False, columns=1),
)
command(
    "npz bomb Fortran applied",
    "wellposed normalize apply norm.json bad.npz -o o.npz",
    2,
    "bad.npz",
    make=h.npz_bomb("bad.npz", 3, fortran=True, columns=3),
)
command(
    "npz bomb drift",
    "wellposed normalize drift norm.json bad.npz",
    (0, 1, 2),
    "bad.npz",
    make=h.npz_bomb("bad.npz", 3, fortran=True, columns=3),
)
command(
    "parquet empty",
    "wellposed normalize fit bad.parquet -o n.json",
    2,
    "bad.parquet",
    make=h.put("bad.parquet", b""),
)
command(
    "parquet magic alone",
    "wellposed normalize fit bad.parquet -o n.json",
    2,
    "bad.parquet",
    make=h.put("bad.parquet", b"PAR1PAR1"),
)
command(
    "parquet cut half",
    "wellposed normalize fit bad.parquet -o n.json",
    2,
    "bad.parquet",
    make=h.cut("rows.parquet", "bad.parquet", 0.5),
)
command(
    "parquet cut end",
    "wellposed normalize fit bad.parquet -o n.json",
    2,
    "bad.parquet",
    make=h.cut("rows.parquet", "bad.parquet", 0.99),
)
command(
    "parquet mutated 2",
    "wellposed normalize fit bad.parquet -o n.json",
    (0, 2),
    "bad.parquet",
    make=h.mutate("rows.parquet", "bad.parquet", 2, 20),
)
command(
    "parquet huge footer",
    "wellposed normalize fit bad.parquet -o n.json",
    2,
    "bad.parquet",
    make=h.put("bad.parquet", b"PAR1" + bytes(60) + b"\xff\xff\xff\x7fPAR1"),
)
command(
    "parquet text column",
    "wellposed normalize fit bad.parquet -o n.json",
    2,
    "bad.parquet|column|number",
    make=h.parquet("bad.parquet", lambda: {"a": ["x", "y"]}),
)
command(
    "parquet no columns",
    "wellposed normalize fit bad.parquet -o n.json",
    2,
    "bad.parquet|column",
    make=h.parquet("bad.parquet", dict),
)
command(
    "parquet nulls alone",
    "wellposed normalize fit bad.parquet -o n.json",
    2,
    "a|column",
    make=h.parquet("bad.parquet", lambda: {"a": h.np.full(10, h.np.nan)}),
)
command(
    "arrow cut",
    "wellposed normalize fit bad.arrow -o n.json",
    2,
    "bad.arrow",
    make=h.broken_arrow("bad.arrow", lambda b: b[: len(b) // 2]),
)
command(
    "arrow cut end",
    "wellposed normalize fit bad.arrow -o n.json",
    2,
    "bad.arrow",
    make=h.broken_arrow("bad.arrow", lambda b: b[:-8]),
)
command(
    "arrow zeros",
    "wellposed normalize fit bad.arrow -o n.json",
    2,
    "bad.arrow",
    make=h.broken_arrow("bad.arrow", lambda b: b[:100] + bytes(len(b) - 100)),
)
command(
    "arrow huge sizes",
    "wellposed normalize fit bad.arrow -o n.json",
    (0, 2),
    "bad.arrow",
    make=h.broken_arrow("bad.arrow", lambda b: b[:16] + b"\xff\x7f" * 20 + b[56:]),
)
command(
    "parquet is csv",
    "wellposed normalize fit bad.parquet -o n.json",
    2,
    "bad.parquet",
    make=h.copied("rows.csv", "bad.parquet"),
)
command(
    "csv header alone",
    "wellposed normalize fit bad.csv -o n.json",
    2,
    "bad.csv|row",
    make=h.put("bad.csv", "a,b,c\n"),
)
command(
    "csv ragged short",
    "wellposed normalize fit bad.csv -o n.json",
    (0, 2),
    "bad.csv",
    make=h.put("bad.csv", "a,b\n1.5,2\n3.25\n6,7\n"),
)
command(
    "csv NULs",
    "wellposed normalize fit bad.csv -o n.json",
    (0, 2),
    "bad.csv",
    make=h.put("bad.csv", b"a,b\n1.5,2\x00\n\x00,4\n6,7\n"),
)
command(
    "csv all NULs",
    "wellposed normalize fit bad.csv -o n.json",
    2,
    "bad.csv",
    make=h.put("bad.csv", bytes(10_000)),
)
command(
    "csv quote open",
    "wellposed normalize fit bad.csv -o n.json",
    2,
    "bad.csv",
    make=h.put("bad.csv", 'a,b\n1.5,"2\n3,4\n5,6\n'),
)
command(
    "csv BOM",
    "wellposed normalize fit bad.csv -o n.json && wellposed normalize show n.json",
    0,
    shows="alpha",
    make=h.put("bad.csv", "\ufeff" + h.varied("alpha,beta", 2)),
)
command(
    "csv UTF-16",
    "wellposed normalize fit bad.csv -o n.json",
    (0, 2),
    "bad.csv",
    make=h.put("bad.csv", h.varied("alpha,beta", 2).encode("utf-16")),
)
command(
    "csv twice a name",
    "wellposed normalize fit bad.csv -o n.json",
    2,
    "bad.csv|a",
    make=h.put("bad.csv", h.varied("a,a", 2)),
)
command(
    "csv formula names",
    "wellposed normalize fit bad.csv -o n.json && wellposed normalize show n.json",
    0,
    make=h.put("bad.csv", h.varied("=1+1,@SUM(A1)", 2)),
)
command(
    "csv long name",
    "wellposed normalize fit bad.csv -o n.json && wellposed normalize show n.json",
    (0, 2),
    make=h.put("bad.csv", h.varied("x" * 20_000 + ",b", 2)),
)
command(
    "csv long name unknown",
    "wellposed normalize drift norm.json bad.csv",
    2,
    "bad.csv|column|age",
    make=h.put("bad.csv", h.varied("z" * 20_000 + ",b", 2)),
)
command(
    "csv name of spaces",
    "wellposed normalize fit bad.csv -o n.json && wellposed normalize show n.json",
    (0, 2),
    make=h.put("bad.csv", h.varied(" " * 20_000 + ",b", 2)),
)
command(
    "csv 100,000 columns",
    "wellposed normalize fit bad.csv -o n.json",
    (0, 2),
    "bad.csv|column",
    make=h.put("bad.csv", lambda: h.varied(",".join(f"c{i}" for i in range(100_000)), 100_000, 3).encode()),
)
command(
    "csv 100,000 columns drift",
    "wellposed normalize drift norm.json bad.csv",
    2,
    "bad.csv|column|age",
    make=h.put("bad.csv", lambda: h.varied(",".join(f"c{i}" for i in range(100_000)), 100_000, 3).encode()),
)
command(
    "csv 100,000 columns applied",
    "wellposed normalize apply norm.json bad.csv -o o.csv",
    2,
    "bad.csv|column|age",
    make=h.put("bad.csv", lambda: h.varied(",".join(f"c{i}" for i in range(100_000)), 100_000, 3).encode()),
)
command(
    "csv 1e400",
    "wellposed normalize fit bad.csv -o n.json",
    (0, 2),
    "a|bad.csv",
    make=h.put("bad.csv", "a,b\n1e400,1.5\n1.25,-1e400\n2,3\n"),
)
command(
    "csv huge ints",
    "wellposed normalize fit bad.csv -o n.json",
    (0, 2),
    "a|bad.csv",
    make=h.put("bad.csv", "a,b\n" + "9" * 400 + ",1.5\n1,2\n2,3\n"),
)
command(
    "csv escapes in names",
    "wellposed normalize fit bad.csv -o n.json && wellposed normalize show n.json && wellposed normalize show n.json --format json",
    (0, 2),
    "bad.csv|name",
    make=h.put("bad.csv", h.varied(h.BOTH + ",b", 2)),
)
command(
    "csv escapes drift",
    "wellposed normalize fit bad.csv -o n.json && wellposed normalize drift n.json bad.csv; wellposed normalize drift n.json bad.csv --format json",
    (0, 1, 2),
    make=h.put("bad.csv", h.varied(h.BOTH + ",b", 2)),
)
command("fifo csv", "wellposed normalize fit x.csv -o n.json", 2, "x.csv", make=h.fifo("x.csv"))
command("fifo npy", "wellposed normalize fit x.npy -o n.json", 2, "x.npy", make=h.fifo("x.npy"))
command(
    "fifo parquet", "wellposed normalize drift norm.json x.parquet", 2, "x.parquet", make=h.fifo("x.parquet")
)
command("fifo report", "wellposed report x.json", 2, "x.json", make=h.fifo("x.json"))
command(
    "fifo in a folder", "wellposed normalize fit data -o n.json", (0, 2), "x.csv", make=h.fifo("data/x.csv")
)
command("fifo program", "wellposed check x.py:problem", 2, "x.py", make=h.fifo("x.py"))
command("loop csv", "wellposed normalize fit x.csv -o n.json", 2, "x.csv", make=h.link("x.csv", "x.csv"))
command("loop artifact", "wellposed normalize show x.json", 2, "x.json", make=h.link("x.json", "x.json"))
command("loop report", "wellposed report x.json", 2, "x.json", make=h.link("x.json", "x.json"))
command(
    "loop output", "wellposed normalize fit rows.csv -o x.json", 2, "x.json", make=h.link("x.json", "x.json")
)
command("loop program", "wellposed check x.py:problem", 2, "x.py", make=h.link("x.py", "x.py"))
command(
    "dangling csv", "wellposed normalize fit x.csv -o n.json", 2, "x.csv", make=h.link("gone.csv", "x.csv")
)
command(
    "link to device npy",
    "wellposed normalize fit x.npy -o n.json",
    2,
    "x.npy",
    make=h.link("/dev/zero", "x.npy"),
)
command("apply zero", "wellposed normalize apply /dev/zero rows.csv -o o.csv", 2, "/dev/zero")
command("fit zero", "wellposed normalize fit /dev/zero -o n.json", 2, "/dev/zero")
command("fit null", "wellposed normalize fit /dev/null -o n.json", 2, "/dev/null")
command("report process memory", "wellposed report /proc/self/mem", 2, "/proc/self/mem")
command(
    "directory applied",
    "wellposed normalize apply norm.json x.csv -o o.csv",
    2,
    "x.csv",
    make=h.directory("x.csv"),
)
command("directory program", "wellposed check x.py:problem", 2, "x.py", make=h.directory("x.py"))
command(
    "locked npy",
    "wellposed normalize fit x.npy -o n.json",
    2,
    "x.npy",
    make=h.locked("rows.npy", "x.npy"),
    powerless=True,
)
command(
    "locked parquet",
    "wellposed normalize fit x.parquet -o n.json",
    2,
    "x.parquet",
    make=h.locked("rows.parquet", "x.parquet"),
    powerless=True,
)
command(
    "locked artifact",
    "wellposed normalize show x.json",
    2,
    "x.json",
    make=h.locked("norm.json", "x.json"),
    powerless=True,
)
command(
    "locked program",
    "wellposed check x.py:problem",
    2,
    "x.py",
    make=h.locked("train.py", "x.py"),
    powerless=True,
)
command(
    "locked in folder",
    "wellposed normalize fit shut/rows.csv -o n.json",
    2,
    "shut/rows.csv|shut",
    make=h.locked_folder("rows.csv", "shut"),
    powerless=True,
)
command("name surrogates missing", "wellposed report $'bad\\xff.json'", 2, "bad")
command("name surrogates output", "wellposed normalize fit rows.csv -o $'out\\xff.json'", (0, 2), "out")
command(
    "name surrogates report", "wellposed check train.py:problem -o $'out\\xff\\x1b[1m.json'", (0, 1, 2), "out"
)
command(
    "name escapes rule",
    "wellposed explain $'WP\\x1b[31m9\\u202e'",
    2,
    "WP",
    environment={"LC_ALL": "C.UTF-8"},
)
command("name escapes select", "wellposed check train.py:problem --select $'WP\\x1b[31m9'", 2, "WP")
command(
    "artifact cut half",
    "wellposed normalize show bad.json",
    2,
    "bad.json",
    make=h.cut("norm.json", "bad.json", 0.5),
)
command("artifact program", "wellposed normalize show train.py", 2, "train.py")
command(
    "artifact nested",
    "wellposed normalize show bad.json",
    2,
    "bad.json",
    make=h.put("bad.json", h.nested(10**5)),
)
command(
    "artifact no version", "wellposed normalize show bad.json", 2, "bad.json", make=h.put("bad.json", "{}")
)
command(
    "artifact huge int",
    "wellposed normalize show bad.json",
    2,
    "bad.json",
    make=h.put("bad.json", '{"schema": ' + "9" * 100_000 + "}"),
)
command(
    "artifact 100 MB", "wellposed normalize show bad.json", 2, "bad.json", make=h.long_text("bad.json", 100)
)
command("artifact binary", "wellposed normalize apply rows.npy rows.csv -o o.csv", 2, "rows.npy")
call(
    "load pickle",
    lambda: wp.Normalizer.load(t.here("bad.json")),
    "bad.json",
    "JSON|not|character|byte",
    make=h.put("bad.json", lambda: h.pickle.dumps(h.Payload())),
)
call(
    "load nested",
    lambda: wp.Normalizer.load(t.here("bad.json", h.nested(10**5))),
    "bad.json",
    "deep|nest|JSON|recursion|not",
)
call("load zero", lambda: wp.Normalizer.load("/dev/zero"), "/dev/zero", "device|file|not|size|large")
call(
    "load huge int",
    lambda: wp.Normalizer.load(t.here("bad.json", '{"schema": ' + "9" * 100_000 + "}")),
    "bad.json",
    "digit|integer|number|schema|version|not",
)
call(
    "load surrogate",
    lambda: wp.Normalizer.load(t.here("bad.json", '{"schema": "\\ud800"}')),
    "bad.json",
    "schema|version|not|surrogate",
)
command(
    "report cut half", "wellposed report bad.json", 2, "bad.json", make=h.cut("report.json", "bad.json", 0.5)
)
command("report program", "wellposed report train.py", 2, "train.py")
command("report nested", "wellposed report bad.json", 2, "bad.json", make=h.put("bad.json", h.nested(10**6)))
command(
    "report schema true",
    "wellposed report bad.json",
    2,
    "bad.json|schema|true|True",
    make=h.edit("report.json", "bad.json", lambda r: r.update(schema=[1])),
)
command(
    "report twice a key",
    "wellposed report bad.json",
    2,
    "bad.json",
    make=h.put("bad.json", '{"schema": 1, "schema": 2}'),
)
command("report 100 MB", "wellposed report bad.json", 2, "bad.json", make=h.long_text("bad.json", 100))
command(
    "report findings dict",
    "wellposed report bad.json",
    2,
    "bad.json|findings",
    make=h.edit("report.json", "bad.json", lambda r: r.update(findings={"a": 1})),
)
command(
    "report pickle",
    "wellposed report bad.json",
    2,
    "bad.json",
    make=h.put("bad.json", lambda: h.pickle.dumps(h.Payload())),
)
command(
    "report strange words",
    "wellposed report bad.json -v; wellposed report bad.json --format json",
    (0, 1, 2),
    "bad.json",
    make=h.edit(
        "report.json",
        "bad.json",
        lambda r: r.update(
            findings=[
                {
                    "code": "WP101",
                    "name": "n" + h.BOTH,
                    "severity": "error",
                    "where": "w" + h.BOTH,
                    "summary": "s" + h.BOTH,
                    "quantity": "q" + h.BOTH,
                    "measured": 1.0,
                    "limit": 2.0,
                    "why": "y" + h.BOTH,
                    "fix": "f" + h.BOTH,
                    "confidence": "measured",
                }
            ]
        ),
    ),
)
command(
    "report strange environment",
    "wellposed report bad.json -v",
    (0, 1, 2),
    "bad.json",
    make=h.edit("report.json", "bad.json", lambda r: r.update(environment={"torch" + h.BOTH: "2" + h.BOTH})),
)
command(
    "report strange passed",
    "wellposed report bad.json -v",
    (0, 1, 2),
    "bad.json|passed",
    make=h.edit("report.json", "bad.json", lambda r: r.update(passed=["WP" + h.BOTH])),
)
call("from_json deep", lambda: wp.Report.from_json(h.deep(10**6)), "report|JSON", "deep|nest|JSON|recursion")
call(
    "from_json nested",
    lambda: wp.Report.from_json(h.nested(10**6)),
    "report|JSON",
    "deep|nest|JSON|recursion",
)
call(
    "from_json 100 MB",
    lambda: wp.Report.from_json('{"schema": 1, "findings": "' + "x" * 100_000_000 + '"}'),
    "report|findings",
    "str|x|findings",
)
call(
    "from_json huge int",
    lambda: wp.Report.from_json('{"schema": ' + "9" * 100_000 + "}"),
    "report|schema|JSON",
    "digit|integer|number|99|schema",
)
call("from_json NaN", lambda: wp.Report.from_json('{"schema": NaN}'), "report|schema|JSON", "nan")
call(
    "from_json 1e400",
    lambda: wp.Report.from_json('{"schema": 1e400}'),
    "report|schema|JSON",
    "inf|1e400|range|schema",
)
call(
    "from_json surrogate",
    lambda: wp.Report.from_json('"\ud800"'),
    "report|JSON",
    "surrogate|utf|UTF|str|encode|JSON|text",
)
fine("names repr of report", lambda: h.must_be_safe(repr(wp.check(h.strange_problem(h.BOTH)))))
fine("names json of report", lambda: h.must_be_safe(wp.check(h.strange_problem(h.BOTH)).to_json()))
fine("names str of signals", lambda: h.must_be_safe(str(wp.measure_signals(h.strange_problem(h.BOTH)))))
fine(
    "names str of initialize",
    lambda: h.must_be_safe(str(wp.initialize(h.strange_problem(h.BOTH).model, scheme="he"))),
)
fine("names str of fix", lambda: h.must_be_safe(str(wp.fix(h.strange_problem(h.BOTH)))))
fine(
    "names repr of normalizer",
    lambda: h.must_be_safe(repr(wp.Normalizer.fit(t.frame().rename(columns={"age": h.BOTH})))),
)
command(
    "names check bidi json", "wellposed check strange.py:problem --format json", (0, 1), make=h.names(h.BIDI)
)
command("names signals", "wellposed signals strange.py:problem", (0, 1), make=h.names(h.BOTH))
command(
    "names signals json", "wellposed signals strange.py:problem --format json", (0, 1), make=h.names(h.BOTH)
)
command("names init", "wellposed init strange.py:problem", (0, 1), make=h.names(h.BOTH))
command("names fix", "wellposed fix strange.py:problem", (0, 1), make=h.names(h.BOTH))
command("names gradcheck", "wellposed gradcheck strange.py:problem", (0, 1), make=h.names(h.BOTH))
command(
    "names gradcheck json",
    "wellposed gradcheck strange.py:problem --format json",
    (0, 1),
    make=h.names(h.BIDI),
)
