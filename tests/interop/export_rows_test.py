"""safetensors and FBGEMM exports, read by the safetensors package and decoded by NumPy from their description alone.

    export_rows_test.py EQAT
"""

import json
import sys

import numpy as np
import safetensors
import safetensors.numpy

from eqat_models import Workspace, check_equal, qconfig, table

DEPLOYS = [(8, "torch"), (4, "torch"), (2, "torch"), (8, "fbgemm_half"), (4, "fbgemm_half"), (2, "fbgemm_half"),
           ("signed 8", "gguf_q8_0"), (4, "gguf_q4_0"), (4, "gguf_q4_1"), (8, "onnx_qdq"), (4, "onnx_qdq"),
           (8, "onnx_block"), (4, "onnx_block"), (8, None), (4, None), (2, None), ("signed 8", None)]


def unpack(codes, bits, signed, columns):
    """Low bits first."""
    if bits == 8:
        return codes.view(np.int8 if signed else np.uint8).astype(np.int64)
    unpacked = np.unpackbits(codes, axis=1, bitorder="little")[:, :columns * bits]
    return unpacked.reshape(len(codes), columns, bits) @ (1 << np.arange(bits))


def decode(tensors, name, table_description):
    """The formula that the file's metadata gives, with its float32( ) as one rounding of a float64."""
    columns, bits = table_description["embedding_dim"], table_description["bits"]
    group = table_description.get("columns_per_scale", columns)
    code = unpack(tensors[f"{name}.weight.codes"], bits, table_description["signed"], columns).astype(np.float64)

    def expand(key):
        values = tensors[f"{name}.weight.{key}"].astype(np.float64)
        return np.repeat(values.reshape(len(code), -1), group, axis=1)[:, :columns]

    scope = {"code": code, "scale": expand("scale"), "float32": lambda values: values.astype(np.float32)}
    offset = "bias" if "bias" in table_description["value"] else "zero_point"
    return eval(table_description["value"], scope | {offset: expand(offset)})


def safetensors_describes_itself(work):
    for bits, deploy in DEPLOYS:
        for cols in (32, 64) if deploy else (1, 2, 3, 7, 16, 33, 130):
            weight = table(work.rng, 30, cols)
            model = work.quantized_model("table", {"item": (weight, "Embedding", {"padding_idx": 1})},
                                         qconfig(bits, deploy))
            with safetensors.safe_open(work.export(model, "safetensors", "file"), "numpy") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}
                metadata = file.metadata()
            described = json.loads(metadata["tables"])
            assert list(described) == ["item"] and described["item"]["padding_idx"] == 1, metadata
            check_equal(f"{bits} bits for {deploy}, {cols} columns", work.values(model, "item", 30),
                        decode(tensors, "item", described["item"]))
    print("safetensors: 0 differing")


def independent_fbgemm_rows(weight, bits, params_last, alignment):
    """FBGEMM's FloatOrHalfToFusedNBitRowwiseQuantizedSBHalf, from its description."""
    levels = np.float32(2**bits - 1)
    smallest = weight[np.arange(len(weight)), weight.argmin(1)]  # the first: 0 and -0 are equal
    bias = smallest.astype(np.float16)
    spread = weight.max(1) - bias.astype(np.float32)
    scale = np.where(spread == 0, np.float32(1), spread / levels).astype(np.float16)
    scale[scale == 0] = 1
    inverse = np.float32(1) / scale.astype(np.float32)
    codes = np.rint((weight - bias.astype(np.float32)[:, None]) * inverse[:, None]).clip(0, levels).astype(np.uint8)
    as_bits = np.unpackbits(codes[:, :, None], axis=2, bitorder="little")[:, :, :bits].reshape(len(codes), -1)
    packed = np.packbits(as_bits, axis=1, bitorder="little")
    params = np.stack([scale, bias], 1).view(np.uint8)
    rows = np.concatenate([packed, params] if params_last else [params, packed], 1)
    return np.pad(rows, ((0, 0), (0, -rows.shape[1] % alignment)))


def fbgemm_rows_are_fbgemms(work):
    for bits in (8, 4, 2):
        for cols in (1, 2, 3, 5, 8, 17, 64, 130):
            weight = table(work.rng, 30, cols)
            model = work.quantized_model("table", {"item": (weight, "EmbeddingBag", {"mode": "sum"})},
                                         qconfig(bits, "fbgemm_half"))
            for flags, params_last, alignment in (([], False, 1), (["--scale-bias-last"], True, 1),
                                                  (["--row-alignment", "16"], False, 16)):
                file = work.export(model, "fbgemm_half", "rows", *flags)
                rows = safetensors.numpy.load_file(file)["item"]
                check_equal(f"{bits} bits, {cols} columns, {flags}", rows,
                            independent_fbgemm_rows(weight, bits, params_last, alignment))
    print("FBGEMM rows: 0 differing bytes")


if __name__ == "__main__":
    workspace = Workspace(sys.argv[1])
    for test in (safetensors_describes_itself, fbgemm_rows_are_fbgemms):
        test(workspace)
