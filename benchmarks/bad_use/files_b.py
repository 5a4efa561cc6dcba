"""Half b of the hostile and broken files; the halves were drawn at random."""

from __future__ import annotations

import wellposed as wp

from . import hostile as h
from . import things as t
from .cases import Cases

cases = Cases()
call, fine, command = cases.call, cases.fine, cases.command

command("npy cut at 0", "wellposed normalize fit bad.npy -o n.json", 2, "bad.npy", make=h.put("bad.npy", b""))
command(
    "npy cut in magic",
    "wellposed normalize fit bad.npy -o n.json",
    2,
    "bad.npy",
    make=h.put("bad.npy", b"\x93NUM"),
)
command(
    "npy cut in header",
    "wellposed normalize fit bad.npy -o n.json",
    2,
    "bad.npy",
    make=h.cut("rows.npy", "bad.npy", 0.05),
)
command(
    "npy cut in data",
    "wellposed normalize fit bad.npy -o n.json",
    2,
    "bad.npy",
    make=h.cut("rows.npy", "bad.npy", 0.6),
)
command(
    "npy longer",
    "wellposed normalize fit bad.npy -o n.json",
    (0, 2),
    "bad.npy",
    make=h.put("bad.npy", lambda: h.right_npy() + b"more"),
)
command(
    "npy dims that overflow",
    "wellposed normalize fit bad.npy -o n.json",
    2,
    "bad.npy",
    make=h.put("bad.npy", h.npy(h.describe("(4294967296, 4294967296)"), bytes(240))),
)
command(
    "npy header deep",
    "wellposed normalize fit bad.npy -o n.json",
    2,
    "bad.npy",
    make=h.put("bad.npy", h.npy("(" * 30000 + ")" * 30000, bytes(240))),
)
command(
    "npy header length",
    "wellposed normalize fit bad.npy -o n.json",
    2,
    "bad.npy",
    make=h.put("bad.npy", h.npy(h.describe("(10, 3)"), bytes(240), length=60000)),
)
command(
    "npy pickle",
    "wellposed normalize fit bad.npy -o n.json",
    2,
    "bad.npy",
    make=h.put("bad.npy", h.pickled_npy),
)
command(
    "npy bare pickle",
    "wellposed normalize fit bad.npy -o n.json",
    2,
    "bad.npy",
    make=h.put("bad.npy", lambda: h.pickle.dumps(h.Payload())),
)
command(
    "npy pickle applied",
    "wellposed normalize apply norm.json bad.npy -o o.npy",
    2,
    "bad.npy",
    make=h.put("bad.npy", h.pickled_npy),
)
command(
    "npy pickle drift",
    "wellposed normalize drift norm.json bad.npy",
    2,
    "bad.npy",
    make=h.put("bad.npy", h.pickled_npy),
)
command(
    "npy scalar",
    "wellposed normalize fit bad.npy -o n.json",
    2,
    "bad.npy",
    make=h.put("bad.npy", h.npy(h.describe("()"), bytes(8))),
)
command(
    "npy 40 dims",
    "wellposed normalize fit bad.npy -o n.json",
    2,
    "bad.npy",
    make=h.put("bad.npy", h.npy(h.describe("(" + "1, " * 70 + ")"), bytes(8))),
)
command(
    "npy no rows",
    "wellposed normalize fit bad.npy -o n.json",
    2,
    "bad.npy|row",
    make=h.put("bad.npy", h.npy(h.describe("(0, 3)"))),
)
command(
    "npy no columns",
    "wellposed normalize fit bad.npy -o n.json",
    2,
    "bad.npy|column",
    make=h.put("bad.npy", h.npy(h.describe("(10, 0)"))),
)
command(
    "npy mutated 2",
    "wellposed normalize fit bad.npy -o n.json",
    (0, 2),
    "bad.npy",
    make=h.mutate("rows.npy", "bad.npy", 2, 40),
)
command(
    "npy is csv",
    "wellposed normalize fit bad.npy -o n.json",
    2,
    "bad.npy",
    make=h.copied("rows.csv", "bad.npy"),
)
command(
    "npz no member",
    "wellposed normalize fit bad.npz -o n.json",
    2,
    "bad.npz",
    make=h.put("bad.npz", lambda: h.npz()),
)
command(
    "npz cut end",
    "wellposed normalize fit bad.npz -o n.json",
    2,
    "bad.npz",
    make=h.cut("rows.npz", "bad.npz", 0.98),
)
command(
    "npz mutated 1",
    "wellposed normalize fit bad.npz -o n.json --key a",
    (0, 2),
    "bad.npz|a",
    make=h.mutate("rows.npz", "bad.npz", 1, 30),
)
command(
    "npz mutated 2",
    "wellposed normalize fit bad.npz -o n.json --key a",
    (0, 2),
    "bad.npz|a",
    make=h.mutate("rows.npz", "bad.npz", 2, 30),
)
command(
    "npz mutated 3",
    "wellposed normalize fit bad.npz -o n.json --key b",
    (0, 2),
    "bad.npz|b",
    make=h.mutate("rows.npz", "bad.npz", 3, 30),
)
command(
    "npz pickle",
    "wellposed normalize fit bad.npz -o n.json",
    2,
    "bad.npz",
    make=h.put("bad.npz", lambda: h.npz(a=h.pickled_npy())),
)
command(
    "npz pickle by key",
    "wellposed normalize fit bad.npz -o n.json --key b",
    2,
    "bad.npz",
    make=h.put("bad.npz", lambda: h.npz(a=h.right_npy(), b=h.pickled_npy())),
)
command(
    "npz pickle drift",
    "wellposed normalize drift norm.json bad.npz",
    2,
    "bad.npz",
    make=h.put("bad.npz", lambda: h.npz(a=h.pickled_npy())),
)
command(
    "npz member shape too large",
    "wellposed normalize fit bad.npz -o n.json",
    2,
    "bad.npz",
    make=h.put("bad.npz", lambda: h.npz(a=h.npy(h.describe("(500, 3)"), bytes(240)))),
)
command(
    "npz member huge shape Fortran",
    "wellposed normalize fit bad.npz -o n.json",
    2,
    "bad.npz",
    make=h.put("bad.npz", lambda: h.npz(a=h.npy(h.describe("(1000000000, 3)", fortran=True), bytes(240)))),
)
command(
    "npz bomb that lies",
    "wellposed normalize fit bad.npz -o n.json",
    (0, 2),
    "bad.npz",
    make=h.npz_bomb("bad.npz", 3, fortran=False, honest=False),
)
command(
    "npz bomb wide",
    "wellposed normalize fit bad.npz -o n.json",
    (0, 2),
    "bad.npz",
    make=h.npz_bomb("bad.npz", 3, fortran=False, columns=200_000_000),
)
command(
    "npz many members",
    "wellposed normalize fit bad.npz -o n.json",
    2,
    "bad.npz|key",
    make=h.many_members("bad.npz", 20_000),
)
command(
    "npz zip of text",
    "wellposed normalize fit bad.npz -o n.json --key nothing",
    2,
    "nothing|bad.npz",
    make=h.put("bad.npz", lambda: h.npz(a=h.right_npy())),
)
command(
    "parquet mutated 1",
    "wellposed normalize fit bad.parquet -o n.json",
    (0, 2),
    "bad.parquet",
    make=h.mutate("rows.parquet", "bad.parquet", 1, 20),
)
command(
    "parquet mutated 3",
    "wellposed normalize apply norm.json bad.parquet -o o.parquet",
    (0, 2),
    "bad.parquet",
    make=h.mutate("rows.parquet", "bad.parquet", 3, 20),
)
command(
    "parquet mutated 4",
    "wellposed normalize drift norm.json bad.parquet",
    (0, 1, 2),
    "bad.parquet",
    make=h.mutate("rows.parquet", "bad.parquet", 4, 20),
)
command(
    "parquet nested column",
    "wellposed normalize fit bad.parquet -o n.json",
    2,
    "bad.parquet|column|number",
    make=h.parquet("bad.parquet", lambda: {"a": [[1.0], [2.0, 3.0]]}),
)
command(
    "parquet no rows",
    "wellposed normalize fit bad.parquet -o n.json",
    2,
    "bad.parquet|row|empty",
    make=h.parquet("bad.parquet", lambda: {"a": h.np.zeros(0)}),
)
command(
    "parquet strange names",
    "wellposed normalize fit bad.parquet -o n.json && wellposed normalize show n.json && wellposed normalize show n.json --format json",
    (0, 2),
    "bad.parquet|column|name",
    make=h.parquet("bad.parquet", lambda: {h.BOTH: h.np.arange(30.0) ** 2}),
)
command(
    "arrow empty", "wellposed normalize fit bad.arrow -o n.json", 2, "bad.arrow", make=h.put("bad.arrow", b"")
)
command(
    "arrow is csv",
    "wellposed normalize fit bad.arrow -o n.json",
    2,
    "bad.arrow",
    make=h.copied("rows.csv", "bad.arrow"),
)
command(
    "csv is parquet",
    "wellposed normalize fit bad.csv -o n.json",
    2,
    "bad.csv",
    make=h.copied("rows.parquet", "bad.csv"),
)
command(
    "csv is npy",
    "wellposed normalize fit bad.csv -o n.json",
    2,
    "bad.csv",
    make=h.copied("rows.npy", "bad.csv"),
)
command("csv empty", "wellposed normalize fit bad.csv -o n.json", 2, "bad.csv", make=h.put("bad.csv", ""))
command(
    "csv newlines", "wellposed normalize fit bad.csv -o n.json", 2, "bad.csv", make=h.put("bad.csv", "\n\n\n")
)
command(
    "csv cut in a row",
    "wellposed normalize fit bad.csv -o n.json",
    (0, 2),
    "bad.csv",
    make=h.cut("rows.csv", "bad.csv", 0.5),
)
command(
    "csv applied cut",
    "wellposed normalize apply norm.json bad.csv -o o.csv",
    (0, 2),
    "bad.csv",
    make=h.cut("rows.csv", "bad.csv", 0.3),
)
command(
    "csv ragged long",
    "wellposed normalize fit bad.csv -o n.json",
    2,
    "bad.csv",
    make=h.put("bad.csv", "a,b\n1,2\n3,4,5\n6,7\n"),
)
command(
    "csv quote open long",
    "wellposed normalize fit bad.csv -o n.json",
    2,
    "bad.csv",
    make=h.put("bad.csv", 'a,b\n1,"' + "2,3\n" * 500_000),
)
command(
    "csv latin-1",
    "wellposed normalize fit bad.csv -o n.json",
    (0, 2),
    "bad.csv",
    make=h.put("bad.csv", h.varied("h\xf6he,beta", 2).encode("latin-1")),
)
command(
    "csv bad UTF-8",
    "wellposed normalize fit bad.csv -o n.json",
    (0, 2),
    "bad.csv",
    make=h.put("bad.csv", b"a,\xff\xfe\xfa\n1.5,2\n3,4\n"),
)
command(
    "csv empty names",
    "wellposed normalize fit bad.csv -o n.json",
    (0, 2),
    "bad.csv|name",
    make=h.put("bad.csv", h.varied(",,", 3)),
)
command(
    "csv formulas",
    "wellposed normalize fit bad.csv -o n.json",
    2,
    "bad.csv|column|number",
    make=h.put("bad.csv", h.rows("a", "=cmd|'/c calc'!A1")),
)
command(
    "csv long name drift",
    "wellposed normalize fit bad.csv -o n.json && wellposed normalize drift n.json bad.csv",
    (0, 2),
    make=h.put("bad.csv", h.varied("y" * 20_000 + ",b", 2)),
)
command(
    "csv long name column option",
    "wellposed normalize fit bad.csv -o n.json --columns c",
    2,
    "c|column",
    make=h.put("bad.csv", h.varied("z" * 20_000 + ",b", 2)),
)
command(
    "csv long wide name",
    "wellposed normalize fit bad.csv -o n.json && wellposed normalize show n.json",
    (0, 2),
    make=h.put("bad.csv", h.varied("\u6f22" * 20_000 + ",b", 2)),
)
command(
    "csv long cell",
    "wellposed normalize fit bad.csv -o n.json",
    (0, 2),
    "bad.csv",
    make=h.put("bad.csv", "a,b\n1.5," + "9" * 5_000_000 + "\n2,3\n"),
)
command(
    "csv long line",
    "wellposed normalize fit bad.csv -o n.json",
    2,
    "bad.csv",
    make=h.put("bad.csv", "a" * 50_000_000),
)
command(
    "csv commas alone",
    "wellposed normalize fit bad.csv -o n.json",
    2,
    "bad.csv|column",
    make=h.put("bad.csv", ("," * 20_000 + "\n") * 20),
)
command(
    "csv infinities",
    "wellposed normalize fit bad.csv -o n.json",
    (0, 2),
    "a|bad.csv",
    make=h.put("bad.csv", h.rows("a,b", "inf,1.5")),
)
command(
    "csv numbers then text",
    "wellposed normalize fit bad.csv -o n.json",
    (0, 2),
    "a|bad.csv",
    make=h.put("bad.csv", h.varied("a,b", 2, 3000) + "oops,1\n"),
)
command(
    "csv escapes unknown column",
    "wellposed normalize fit bad.csv -o n.json --columns nothing",
    2,
    "nothing",
    make=h.put("bad.csv", h.varied(h.BOTH + ",b", 2)),
)
command(
    "csv escapes in cells",
    "wellposed normalize fit bad.csv -o n.json",
    2,
    "bad.csv|column|number",
    make=h.put("bad.csv", h.rows("a", h.BOTH)),
)
command(
    "csv bidi names",
    "wellposed normalize fit bad.csv -o n.json && wellposed normalize show n.json --format json",
    (0, 2),
    "bad.csv|name",
    make=h.put("bad.csv", h.varied(h.BIDI + ",b", 2)),
)
command(
    "csv newline in name",
    "wellposed normalize fit bad.csv -o n.json && wellposed normalize show n.json",
    (0, 2),
    "bad.csv|name",
    make=h.put("bad.csv", h.varied('"two\nlines\rthree",b', 2)),
)
command(
    "fifo applied", "wellposed normalize apply norm.json x.csv -o o.csv", 2, "x.csv", make=h.fifo("x.csv")
)
command("fifo artifact", "wellposed normalize show x.json", 2, "x.json", make=h.fifo("x.json"))
command("fifo output", "wellposed normalize fit rows.csv -o x.json", 2, "x.json", make=h.fifo("x.json"))
command(
    "loop folder", "wellposed normalize fit data -o n.json", (0, 2), "again", make=h.link("..", "data/again")
)
command(
    "link to device", "wellposed normalize fit x.csv -o n.json", 2, "x.csv", make=h.link("/dev/zero", "x.csv")
)
command(
    "link to device artifact",
    "wellposed normalize show x.json",
    2,
    "x.json",
    make=h.link("/dev/zero", "x.json"),
)
command("report zero", "wellposed report /dev/zero", 2, "/dev/zero")
command("report random", "wellposed report /dev/urandom", 2, "/dev/urandom")
command("show zero", "wellposed normalize show /dev/zero", 2, "/dev/zero")
command("report stdin closed", "wellposed report /dev/stdin <&-", 2, "/dev/stdin")
command("fit stdin closed", "wellposed normalize fit /dev/stdin -o n.json <&-", 2, "/dev/stdin")
command("show stdin closed", "wellposed normalize show /dev/stdin <&-", 2, "/dev/stdin")
command("check zero", "wellposed check /dev/zero:problem", 2, "/dev/zero")
command("directory csv", "wellposed normalize fit x.csv -o n.json", 2, "x.csv", make=h.directory("x.csv"))
command("directory npy", "wellposed normalize drift norm.json x.npy", 2, "x.npy", make=h.directory("x.npy"))
command(
    "locked csv",
    "wellposed normalize fit x.csv -o n.json",
    2,
    "x.csv",
    make=h.locked("rows.csv", "x.csv"),
    powerless=True,
)
command(
    "locked report",
    "wellposed report x.json",
    2,
    "x.json",
    make=h.locked("report.json", "x.json"),
    powerless=True,
)
command(
    "locked folder",
    "wellposed normalize fit shut -o n.json",
    2,
    "shut",
    make=h.locked_folder("rows.csv", "shut"),
    powerless=True,
)
command(
    "name escapes",
    "wellposed normalize fit $'bad\\x1b[31m\\x07.csv' -o n.json",
    (0, 2),
    "bad",
    make=h.copied("rows.csv", "bad\x1b[31m\x07.csv"),
)
command("name escapes missing", "wellposed normalize fit $'none\\x1b[31m\\x07.csv' -o n.json", 2, "none")
command(
    "name escapes broken",
    "wellposed normalize fit $'bad\\x1b]0;title\\x07.npy' -o n.json",
    2,
    "bad",
    make=h.put("bad\x1b]0;title\x07.npy", b"hello"),
)
command(
    "name newline",
    "wellposed normalize fit $'two\\nlines.csv' -o n.json && wellposed normalize show n.json",
    (0, 2),
    "two",
    make=h.copied("rows.csv", "two\nlines.csv"),
)
command(
    "name bidi",
    "wellposed normalize fit $'safe\\u202evsc.csv' -o n.json && wellposed normalize show n.json && wellposed normalize show n.json --format json",
    (0, 2),
    "safe",
    make=h.copied("rows.csv", "safe\u202evsc.csv"),
    environment={"LC_ALL": "C.UTF-8"},
)
command(
    "name bidi missing",
    "wellposed report $'safe\\u202evsc.json'",
    2,
    "safe",
    environment={"LC_ALL": "C.UTF-8"},
)
command(
    "name surrogates",
    "wellposed normalize fit $'bad\\xff\\xfe.csv' -o n.json && wellposed normalize show n.json",
    (0, 2),
    "bad",
    make=h.copied("rows.csv", b"bad\xff\xfe.csv"),
)
command(
    "name as option",
    "wellposed normalize fit -o n.json -- --columns.csv",
    (0, 2),
    "--columns.csv",
    make=h.copied("rows.csv", "--columns.csv"),
)
command(
    "name with brackets",
    "wellposed normalize fit 'rows[1].csv' -o n.json",
    0,
    make=h.copied("rows.csv", "rows[1].csv"),
)
command("name too long", "wellposed normalize fit " + "x" * 300 + ".csv -o n.json", 2, "xxx")
command("name with markup", "wellposed report '[red]none[/red].json'", 2, "[red]none[/red].json")
command("name escapes program", "wellposed check $'none\\x1b[31m.py:problem'", 2, "none")
command(
    "artifact cut end",
    "wellposed normalize apply bad.json rows.csv -o o.csv",
    2,
    "bad.json",
    make=h.cut("norm.json", "bad.json", 0.97),
)
command(
    "artifact deep", "wellposed normalize show bad.json", 2, "bad.json", make=h.put("bad.json", h.deep(10**6))
)
command("artifact list", "wellposed normalize show bad.json", 2, "bad.json", make=h.put("bad.json", "[1, 2]"))
command(
    "artifact NaN",
    "wellposed normalize show bad.json",
    2,
    "bad.json",
    make=h.put("bad.json", '{"schema": NaN}'),
)
command(
    "artifact twice a key",
    "wellposed normalize show bad.json",
    2,
    "bad.json",
    make=h.put("bad.json", '{"schema": 1, "schema": 2}'),
)
command(
    "artifact UTF-16",
    "wellposed normalize show bad.json",
    2,
    "bad.json",
    make=h.put("bad.json", '{"schema": 1}'.encode("utf-16")),
)
command(
    "artifact pickle",
    "wellposed normalize show bad.json",
    2,
    "bad.json",
    make=h.put("bad.json", lambda: h.pickle.dumps(h.Payload())),
)
call(
    "load deep",
    lambda: wp.Normalizer.load(t.here("bad.json", h.deep(10**6))),
    "bad.json",
    "deep|nest|JSON|recursion|not",
)
command(
    "report cut end", "wellposed report bad.json", 2, "bad.json", make=h.cut("report.json", "bad.json", 0.98)
)
command("report deep", "wellposed report bad.json", 2, "bad.json", make=h.put("bad.json", h.deep(10**6)))
command(
    "report deep json",
    "wellposed report bad.json --format json",
    2,
    "bad.json",
    make=h.put("bad.json", h.deep(10**6)),
)
command(
    "report deep measurements",
    "wellposed report bad.json --format json",
    (0, 1, 2),
    "bad.json",
    make=h.put(
        "bad.json",
        '{"schema": 1, "findings": [], "passed": [], "skipped": [], "environment": {}, "measurements": {"a": '
        + h.nested(50_000)
        + "}}",
    ),
)
command(
    "report huge int",
    "wellposed report bad.json",
    2,
    "bad.json",
    make=h.put("bad.json", '{"schema": ' + "9" * 100_000 + "}"),
)
command("report NaN", "wellposed report bad.json", 2, "bad.json", make=h.put("bad.json", '{"schema": NaN}'))
command(
    "report 1e400", "wellposed report bad.json", 2, "bad.json", make=h.put("bad.json", '{"schema": 1e400}')
)
command(
    "report schema 2",
    "wellposed report bad.json",
    2,
    "bad.json|999",
    make=h.edit("report.json", "bad.json", lambda r: r.update(schema=999)),
)
command(
    "report passed numbers",
    "wellposed report bad.json",
    2,
    "bad.json|passed",
    make=h.edit("report.json", "bad.json", lambda r: r.update(passed=[1, None])),
)
command(
    "report skipped strings",
    "wellposed report bad.json",
    2,
    "bad.json|skipped",
    make=h.edit("report.json", "bad.json", lambda r: r.update(skipped=["x"])),
)
command(
    "report measurements list",
    "wellposed report bad.json",
    2,
    "bad.json|measurements",
    make=h.edit("report.json", "bad.json", lambda r: r.update(measurements=[1])),
)
command(
    "report environment numbers",
    "wellposed report bad.json",
    2,
    "bad.json|environment",
    make=h.edit("report.json", "bad.json", lambda r: r.update(environment=5)),
)
command(
    "report mutated 1",
    "wellposed report bad.json",
    (0, 1, 2),
    "bad.json",
    make=h.mutate("report.json", "bad.json", 1, 30),
)
command(
    "report mutated 2",
    "wellposed report bad.json",
    (0, 1, 2),
    "bad.json",
    make=h.mutate("report.json", "bad.json", 2, 30),
)
command(
    "artifact mutated 1",
    "wellposed normalize show bad.json",
    (0, 2),
    "bad.json",
    make=h.mutate("norm.json", "bad.json", 1, 20),
)
command(
    "artifact mutated 2",
    "wellposed normalize drift bad.json rows.csv",
    (0, 1, 2),
    "bad.json",
    make=h.mutate("norm.json", "bad.json", 2, 20),
)
command(
    "report BOM",
    "wellposed report bad.json",
    (0, 1, 2),
    "bad.json",
    make=h.put("bad.json", b"\xef\xbb\xbf{}"),
)
command(
    "report strange skipped",
    "wellposed report bad.json -v",
    (0, 1, 2),
    "bad.json|skipped",
    make=h.edit("report.json", "bad.json", lambda r: [s.update(reason="r" + h.BOTH) for s in r["skipped"]]),
)
command(
    "report lone surrogate",
    "wellposed report bad.json; wellposed report bad.json --format json",
    (0, 1, 2),
    "bad.json",
    make=h.edit("report.json", "bad.json", lambda r: r.update(passed=["WP\ud800"])),
)
fine("names str of report", lambda: h.must_be_safe(str(wp.check(h.strange_problem(h.BOTH)))))
fine("names bidi str of report", lambda: h.must_be_safe(str(wp.check(h.strange_problem(h.BIDI)))))
fine("names bidi str of signals", lambda: h.must_be_safe(str(wp.measure_signals(h.strange_problem(h.BIDI)))))
fine(
    "names bidi str of initialize",
    lambda: h.must_be_safe(str(wp.initialize(h.strange_problem(h.BIDI).model, t.x(64, 3)))),
)
fine(
    "names str of gradient check", lambda: h.must_be_safe(str(wp.check_gradients(h.strange_problem(h.BOTH))))
)
fine(
    "names str of normalizer",
    lambda: h.must_be_safe(str(wp.Normalizer.fit(t.frame().rename(columns={"age": h.BOTH})))),
)
fine(
    "names label",
    lambda: h.must_be_safe(wp.Normalizer.fit(t.frame().rename(columns={"age": h.BOTH})).label(0)),
)
fine(
    "names str of drift",
    lambda: h.must_be_safe(
        str(
            wp.Normalizer.fit(t.frame().rename(columns={"age": h.BOTH})).drift(
                t.frame().rename(columns={"age": h.BOTH}) + 9
            )
        )
    ),
)
command("names check", "wellposed check strange.py:problem", (0, 1), make=h.names(h.BOTH))
command("names check verbose", "wellposed check strange.py:problem -v", (0, 1), make=h.names(h.BOTH))
command("names check json", "wellposed check strange.py:problem --format json", (0, 1), make=h.names(h.BOTH))
command(
    "names check saved",
    "wellposed check strange.py:problem -o r.json; wellposed report r.json -v; cat r.json",
    (0, 1),
    make=h.names(h.BOTH),
)
command("names init json", "wellposed init strange.py:problem --format json", (0, 1), make=h.names(h.BIDI))
command("names fix json", "wellposed fix strange.py:problem --format json", (0, 1), make=h.names(h.BIDI))
command("names exploding", "wellposed check strange.py:problem -v", (0, 1), make=h.names(h.BOTH, scale=1e6))
