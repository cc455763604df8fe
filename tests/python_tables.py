"""Tables by pyarrow and polars, and whether rows that somebody else read of them are theirs.

    python_tables.py write DIRECTORY      writes DIRECTORY/*.arrow
    python_tables.py compare DIRECTORY    for each of these, compares *.rows: a line per row, its time in ns, a tab, one JSON object

Exits with 1 and says where, when a row differs.
"""

import datetime
import decimal
import json
import math
import pathlib
import struct
import sys

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.ipc as ipc

try:
    import polars
except ImportError:
    polars = None

N = 1000
NS = 1_700_000_000_123_456_789


def times(unit="ns", tz=None, n=N):
    scale = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}[unit]
    return pa.array([(NS + row * 1_000_000_007) // scale for row in range(n)], pa.timestamp(unit, tz))


def some(make, n=N):
    """Every seventh is null."""
    return [None if row % 7 == 3 else make(row) for row in range(n)]


def prices(n=N):
    return pa.table(
        {
            "ts": times(n=n),
            "price": pa.array([100 + row / 8 for row in range(n)]),
            "volume": pa.array(range(n), pa.uint64()),
            "symbol": pa.array([f"S{row % 7}" for row in range(n)]),
        }
    )


def every_type():
    text = lambda row: ["", "short", "exactly 12 b", "longer than twelve bytes ä \"\\\n\x01"][row % 4] + str(row % 5)
    blob = lambda row: bytes([row % 256]) * (row % 20)
    floats = [0.0, -0.0, 0.1, 1e300, 5e-324, 1e16, 1e-7, math.nan, math.inf, -math.inf, 123456.789]
    columns = {"when": times()}
    for bits in (8, 16, 32, 64):
        low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        columns[f"i{bits}"] = pa.array(some(lambda row: [low, high, row % 100][row % 3]), getattr(pa, f"int{bits}")())
        columns[f"u{bits}"] = pa.array(some(lambda row: [0, 2 * high + 1, row % 100][row % 3]), getattr(pa, f"uint{bits}")())
    columns |= {
        "null": pa.nulls(N),
        "bool": pa.array(some(lambda row: row % 3 == 0)),
        "f16": pa.array(some(lambda row: [0.5, -2.25, 65504.0, math.inf, 2.0**-24][row % 5]), pa.float16()),
        "f32": pa.array(some(lambda row: floats[row % 3]), pa.float32()),
        "f64": pa.array(some(lambda row: floats[row % len(floats)] if row % 2 else math.sin(row))),
        "text": pa.array(some(text)),
        "large text": pa.array(some(text), pa.large_string()),
        "text view": pa.array(some(text), pa.string_view()),
        "binary": pa.array(some(blob)),
        "large binary": pa.array(some(blob), pa.large_binary()),
        "binary view": pa.array(some(blob), pa.binary_view()),
        "fixed": pa.array(some(lambda row: struct.pack("<HB", row, 7)), pa.binary(3)),
        "decimal": pa.array(some(lambda row: decimal.Decimal(row - 500) / 100), pa.decimal128(30, 2)),
        "date32": pa.array(some(lambda row: datetime.date(1960, 1, 1) + datetime.timedelta(row)), pa.date32()),
        "date64": pa.array(some(lambda row: datetime.date(1960, 1, 1) + datetime.timedelta(row)), pa.date64()),
        "time32": pa.array(some(lambda row: row), pa.time32("ms")),
        "time64": pa.array(some(lambda row: row * 1001), pa.time64("ns")),
        "duration": pa.array(some(lambda row: row - 500), pa.duration("us")),
        "other time": times("s", "Asia/Tokyo"),
        "dictionary": pa.array(some(text)).dictionary_encode(),
        "numbers": pa.array(some(lambda row: row % 9 / 4)).dictionary_encode(),
    }
    return pa.table(columns)


def write_file(path, table, chunk=None, **options):
    with ipc.new_file(path, table.schema, options=ipc.IpcWriteOptions(**options)) as writer:
        for batch in table.to_batches(max_chunksize=chunk):
            writer.write_batch(batch)


def growing_dictionary():
    words = [["a", "b", "a"], ["a", "b", "c", "d", "d"], ["d", "a", "e"]]
    known, batches = [], []
    for at, chunk in enumerate(words):
        known = known + [word for word in dict.fromkeys(chunk) if word not in known]
        column = pa.DictionaryArray.from_arrays(pa.array([known.index(word) for word in chunk], pa.int8()), pa.array(known))
        ts = pa.array([10 * at + row for row in range(len(chunk))], pa.timestamp("us"))
        batches.append(pa.record_batch({"ts": ts, "word": column}))
    return pa.Table.from_batches(batches)


def write(directory):
    feather.write_feather(prices(), directory / "prices.arrow", compression="uncompressed")
    feather.write_feather(prices(), directory / "feather-default.arrow")
    feather.write_feather(prices(), directory / "chunks.arrow", compression="uncompressed", chunksize=64)
    feather.write_feather(prices(), directory / "chunks-lz4.arrow", compression="lz4", chunksize=333)
    feather.write_feather(prices(), directory / "refused-zstd.arrow", compression="zstd")
    feather.write_feather(prices(0), directory / "empty.arrow", compression="uncompressed")
    for unit in ("s", "ms", "us", "ns"):
        table = pa.table({"x": pa.array(range(N)), "when": times(unit, "Europe/Berlin" if unit == "ms" else None)})
        write_file(directory / f"unit-{unit}.arrow", table, 300)
    write_file(directory / "integer-time.arrow", pa.table({"ts_event": pa.array(range(N)), "x": pa.array(range(N))}))
    days = [datetime.date(2020, 1, 1) + datetime.timedelta(row) for row in range(N)]
    write_file(directory / "days.arrow", pa.table({"day": pa.array(days, pa.date32()), "x": pa.array(range(N))}))
    write_file(directory / "millis.arrow", pa.table({"day": pa.array(days, pa.date64()), "x": pa.array(range(N))}))
    write_file(directory / "types.arrow", every_type())
    write_file(directory / "types-chunks.arrow", every_type(), 100)
    write_file(directory / "types-lz4.arrow", every_type(), 100, compression="lz4")
    # Slices: offsets that don't begin at 0, bits that begin within a byte.
    write_file(directory / "types-slice.arrow", every_type().slice(13, 700), 77)
    write_file(directory / "version4.arrow", prices(), 99, metadata_version=ipc.MetadataVersion.V4)
    legacy = {"metadata_version": ipc.MetadataVersion.V4, "use_legacy_format": True}
    write_file(directory / "legacy.arrow", prices(), 99, **legacy)
    write_file(directory / "deltas.arrow", growing_dictionary(), emit_dictionary_deltas=True)
    if polars is None:
        print("no polars: its tables are left out", file=sys.stderr)
        return
    frame = polars.from_arrow(prices())
    frame = frame.with_columns(
        polars.col("symbol").cast(polars.Categorical).alias("category"),
        (polars.col("symbol") + " with a long text behind it").alias("long"),
        polars.when(polars.col("volume") % 3 == 0).then(None).otherwise(polars.col("price")).alias("nulls"),
    )
    frame.write_ipc(directory / "polars.arrow", compression="uncompressed")
    frame.write_ipc(directory / "polars-lz4.arrow", compression="lz4")
    frame.write_ipc(directory / "polars-oldest.arrow", compression="uncompressed", compat_level=polars.CompatLevel.oldest())


def time_column(schema):
    """As docs/tables.md says."""
    first = lambda test: next((at for at, field in enumerate(schema) if test(field)), None)
    found = first(lambda field: pa.types.is_timestamp(field.type))
    for name in ("timestamp", "ts", "ts_event", "time"):
        if found is None:
            found = first(lambda field: field.name == name and pa.types.is_integer(field.type))
    return first(lambda field: pa.types.is_date(field.type)) if found is None else found


def plain(column):
    """Values as JSON has them."""
    of = column.type
    if pa.types.is_dictionary(of):
        # By hand: not all values that polars has in dictionaries can be taken out by pyarrow.
        parts = [(plain(pa.chunked_array([chunk.dictionary])), chunk.indices.to_pylist()) for chunk in column.chunks]
        return [None if number is None else values[number] for values, numbers in parts for number in numbers]
    if pa.types.is_temporal(of):
        return column.cast(pa.int32() if of.bit_width == 32 else pa.int64()).to_pylist()
    convert = lambda value: value
    if pa.types.is_floating(of):
        convert = lambda value: value if math.isfinite(value) else None
    elif pa.types.is_decimal(of):
        convert = lambda value: format(value, "f")
    elif isinstance(column[0].as_py() if len(column) else None, bytes) or "binary" in str(of):
        convert = bytes.hex
    return [None if value is None else convert(value) for value in column.to_pylist()]


def ns_of(column):
    of = column.type
    if pa.types.is_date32(of):
        return [86_400 * 10**9 * day for day in plain(column)]
    unit = "ms" if pa.types.is_date64(of) else of.unit if pa.types.is_timestamp(of) else "ns"
    return [value * {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}[unit] for value in plain(column)]


def rounded(value, of):
    """What a number of that type is that is written as `value`."""
    form = {"halffloat": "<e", "float": "<f"}.get(str(of))
    return value if form is None or value is None else struct.unpack(form, struct.pack(form, value))[0]


def compare(directory):
    n_rows = 0
    for path in sorted(directory.glob("*.rows")):
        with ipc.open_file(path.with_suffix(".arrow")) as file:
            table = file.read_all()
        at = time_column(table.schema)
        ns = ns_of(table.column(at))
        fields = [field for n, field in enumerate(table.schema) if n != at]
        columns = [plain(column) for n, column in enumerate(table.columns) if n != at]
        # Not `splitlines`, which takes more for an end of a line.
        lines = path.read_text().split("\n")[:-1]
        if len(lines) != table.num_rows:
            sys.exit(f"{path}: {len(lines)} rows, expected {table.num_rows}")
        for row, line in enumerate(lines):
            time, text = line.split("\t", 1)
            found = json.loads(text, object_pairs_hook=list)
            found = [(name, rounded(value, field.type)) for (name, value), field in zip(found, fields)]
            expected = [(field.name, values[row]) for field, values in zip(fields, columns)]
            # `repr`: -0.0 is not 0.0, and 1 not 1.0.
            if int(time) != ns[row] or repr(found) != repr(expected):
                sys.exit(f"{path}, row {row}:\nfound    {time} {found}\nexpected {ns[row]} {expected}")
        n_rows += len(lines)
    print(f"{n_rows} rows are equal")


if __name__ == "__main__":
    {"write": write, "compare": compare}[sys.argv[1]](pathlib.Path(sys.argv[2]))
