"""In what the kinds of model differ, and the model types that have no row of the table: each with the
reason."""

from __future__ import annotations

from tests.model_kinds.kinds import SEES

_DIFFUSION = "refused: it writes by diffusion"
NOT_RUN = {
    f"llava{SEES}": "mlx_vlm's processor fails on pictures; text runs",
    "bitnet": "its kernels are Metal's alone",
    f"florence2{SEES}": "refused: an encoder-decoder model",
    "gear": "mlx_lm fails on it",
    f"minicpmv{SEES}": "neither library has it",
    f"moondream1{SEES}": "refused: mlx_vlm fetches its tokeniser from a hub, with code it would run",
    f"moondream2{SEES}": "refused: mlx_vlm fetches its tokeniser from a hub, with code it would run",
    "muse_spark": "its kernels are Metal's alone",
    "olmo": "needs the package ai2-olmo",
    "phi3small": "damages the heap of MLX's CPU backend",
    "diffusion_gemma": _DIFFUSION,
    f"falcon_ocr{SEES}": "its processor puts an instruction of its own in the place of what is said",
    f"got{SEES}": "its tokeniser is code of its repository, which isn't run",
    "llada2_moe": _DIFFUSION,
    f"llmjpvl{SEES}": "its images need code of its repository, which isn't run; text runs",
    f"molmo_point{SEES}": "refused: it points into images with tokens of its own for each",
    f"muse_spark{SEES}": "its kernels are Metal's alone",
    "nemotron_labs_diffusion": _DIFFUSION,
    f"plamo2vl{SEES}": "its processor has no roles, and fails without a picture",
    "prism_hadamard_qwen35": "its weights exist packed in 2 bits only",
    f"youtu_vl{SEES}": "its images need code of its repository, which isn't run; text runs",
}
"""Model types that these tests can't run, and why."""
REFUSED = {
    "makes vectors of texts or images": (
        "bert colidefics3 colqwen2_5 dinov2 embedding_gemma2 gemma3_embedding lfm2_colbert"
        " lfm2_embedding lfm2_encoder llama_bidirec llama_nemotron_vl_embedding"
        " ministral3_embedding modernbert qwen3_embedding qwen3_vl_embedding siglip xlm_roberta"
    ),
    "makes images, video or sound": (
        "bonsai ernie_image flux2 flux3 ideogram4 llada_image mage_flow ming_image minimax_h3"
        " moss_image qwen_image z_image"
    ),
    "finds objects, poses, depth or layout in images": (
        "falcon_perception moge3 pp_doclayout_v3 rfdetr rt_detr_v2 sam3 sam3_1 sam3d_body"
        " sam3d_objects sapiens2 video_depth_anything yolo11"
    ),
    "answers typed questions with probabilities": "clef d1 d1_omni decider2 laya",
    "marks parts of a text": "gliner2_5 openai_privacy_filter",
    "is an encoder-decoder model": "nemotron_parse",
    "speaks, and needs sound to answer": "nemotron_voicechat",
}
"""Model types that mlx_vlm has for other tasks than chats, by what they do: the service refuses
each by name before it reads any weights."""

_POSITIONS = "takes turns: its library has one position for all rows of a batch"
TAKES_TURNS = {
    "afm7": _POSITIONS,
    "deepseek_v41": "takes turns: its cache can't be merged",
    "gemma2": "takes turns: its library's grouped heads have no room for a mask of each row",
    "gpt_bigcode": _POSITIONS,
    "limite": _POSITIONS,
    "longcat_flash_sparse": _POSITIONS,
    "llama4": "takes turns: chunks can't be merged",
    f"llama4{SEES}": "takes turns: chunks can't be merged",
    "minimax_m3": _POSITIONS,
    "minimax_m3_vl": _POSITIONS,
    f"cohere_compass{SEES}": "takes turns: its library looks for rows where their windows began",
    f"hunyuan_vl{SEES}": _POSITIONS,
    f"jina_vlm{SEES}": _POSITIONS,
    f"minimax_m3_vl{SEES}": _POSITIONS,
    f"mllama{SEES}": _POSITIONS,
    f"paligemma{SEES}": "takes turns: its library says something else in company",
    f"qwen4_exp{SEES}": _POSITIONS,
    f"unlimited_ocr{SEES}": "takes turns: its library's merged rows keep all of an answer",
    "z1t": "takes turns: its cache can't be merged",
}
"""Kinds whose chats can't share a forward pass, and why."""
REUSES_NOTHING = {
    f"unlimited_ocr{SEES}": "reuses nothing: it drops tokens of an answer, but none of a prompt",
    f"paligemma{SEES}": "reuses nothing: a prompt's tokens see each other in both directions",
}
_ONE = (
    "deepseek_vl_v2",
    "deepseekocr",
    "deepseekocr_2",
    "granite4_vision",
    "granite_vision",
    "jina_vlm",
    "llava_bunny",
    "llava_next",
    "molmo",
    "moondream3",
    "multi_modality",
    "paddleocr_vl",
    "paligemma",
    "step3p7",
    "unlimited_ocr",
)
ONE_PICTURE = {
    f"{kind}{SEES}": "sees one picture in a conversation: a second is refused" for kind in _ONE
}
"""Kinds that see one picture and no more, and why."""
_LATENT = "isn't quantised: its attention multiplies with the cached latents itself"
_ITSELF = "isn't quantised: its attention works on keys and values itself"
_STATES = "isn't quantised: it has states in place of keys and values"
_OWN_CACHES = "isn't quantised: its caches are of kinds of their own"
NOT_QUANTISED = {
    "bailing_hybrid": _LATENT,
    "bailing_moe_v3": _LATENT,
    "deepseek_v4": _OWN_CACHES,
    f"deepseek_v4{SEES}": _OWN_CACHES,
    f"deepseek_v41{SEES}": _OWN_CACHES,
    "flint": "isn't quantised: its library has no quantised attention with sinks",
    "hy_v4": _LATENT,
    f"inkling{SEES}": _ITSELF,
    "longcat_flash_sparse": _LATENT,
    f"mistral_large3{SEES}": _LATENT,
    f"unlimited_ocr{SEES}": _OWN_CACHES,
    "deepseek_v3": _LATENT,
    "deepseek_v32": _LATENT,
    "deepseek_v41": _OWN_CACHES,
    "falcon_mamba": _STATES,
    "gemma2": _ITSELF,
    "glm4_moe_lite": _LATENT,
    f"glm5_next{SEES}": _LATENT,
    "glm_moe_dsa": _LATENT,
    "gpt_oss": "isn't quantised: its library has no quantised attention with sinks",
    "iquestloopcoder": "isn't quantised: all its layers read the keys a second time, as plain ones",
    "joyai_llm_flash": _LATENT,
    "kimi_k2": _LATENT,
    "kimi_k25": _LATENT,
    "kimi_k3": _LATENT,
    f"kimi_k3{SEES}": _LATENT,
    "kimi_linear": _LATENT,
    "kimi_vl": _LATENT,
    "longcat_flash": _LATENT,
    "longcat_flash_ngram": _LATENT,
    "mamba": _STATES,
    "mamba2": _STATES,
    "minimax_m3": _ITSELF,
    f"minimax_m3_vl{SEES}": _ITSELF,
    "mistral4": _LATENT,
    f"kimi_k25{SEES}": _LATENT,
    f"moondream3{SEES}": _ITSELF,
    "phi": _ITSELF,
    f"phi3_v{SEES}": _ITSELF,
    f"phi4_siglip{SEES}": _ITSELF,
    f"phi4mm{SEES}": _ITSELF,
    "phixtral": _ITSELF,
    "plamo": _ITSELF,
    "plamo2": _ITSELF,
    f"qwen4_exp{SEES}": _OWN_CACHES,
    "recurrent_gemma": "isn't quantised: it has states and windows in place of plain keys and values",
    "rwkv7": _STATES,
    "stablelm": _ITSELF,
    "xing4_0": _LATENT,
    "z1t": _STATES,
    f"zaya1_vl{SEES}": _ITSELF,
}
"""Kinds of which no layer's cache can be quantised, and why."""
_SHARED = "quantises all but the layer whose keys others read, as plain ones"
QUANTISED_IN_PART = {
    "afm7": _SHARED,
    "gemma4_text": _SHARED,
    "limite": "quantises all layers but those that work on the values themselves",
    "minimax_m3_vl": "quantises its dense layers: the others work on keys themselves",
}
"""Kinds of which some layers that hold every token stay as they are, and why."""
