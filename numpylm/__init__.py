"""numpylm: a Transformer language model in pure NumPy, with every gradient written by hand and checked.

One shape for every layer::

    out, cache = layer.forward(x)         # nothing is stored on the layer
    dx = layer.backward(dout, cache)      # returns input gradients, adds (+=) to Parameter.grad

Dimensions, the same letters everywhere:

    B  batch: sequences that are processed together
    T  time: positions of a sequence (queries, in attention)
    S  source: positions that are looked at (keys, in attention); T = S in self-attention
    C  channels: numbers that describe one position (``n_embd``)
    H  heads
    D  channels of one head, C / H
    V  vocabulary: different tokens
    L  layers (blocks)
"""

from numpylm._version import __version__
from numpylm.check.gradcheck import gradcheck
from numpylm.check.optimizer.clipping import check_clipping
from numpylm.check.optimizer.optimizers import check_optimizer
from numpylm.files.bert_files import save_bert
from numpylm.files.gpt2_files import load_gpt2, save_gpt2, tokenizer_from_pretrained
from numpylm.files.llama_files import save_llama
from numpylm.files.load_model import (
    bert_from_pretrained,
    llama_from_pretrained,
    load_model,
    speech_ctc_from_pretrained,
    transformer_from_pretrained,
    whisper_from_pretrained,
)
from numpylm.files.marian_files import save_marian
from numpylm.files.whisper_files import save_whisper
from numpylm.inference.classify import classify
from numpylm.inference.generation import generate, generate_batch
from numpylm.inference.recognize import recognize
from numpylm.inference.scoring import log_prob, rank
from numpylm.inference.transcribe import transcribe
from numpylm.inference.translate import translate
from numpylm.models.bert import Bert, BertConfig
from numpylm.models.gpt import GPT, GPTConfig
from numpylm.models.llama import Llama, LlamaConfig
from numpylm.models.speech_ctc import SpeechCTC, SpeechCTCConfig
from numpylm.models.transformer import Transformer, TransformerConfig
from numpylm.models.whisper import Whisper, WhisperConfig
from numpylm.nn.attention import (
    CausalSelfAttention,
    scaled_dot_product_attention,
    scaled_dot_product_attention_backward,
)
from numpylm.nn.blocks import MLP, Block
from numpylm.nn.conv import Conv1d
from numpylm.nn.ctc import ctc_loss, ctc_loss_backward
from numpylm.nn.encoder_decoder import DecoderBlock, EncoderBlock
from numpylm.nn.functional import (
    cross_entropy,
    cross_entropy_backward,
    gelu,
    gelu_backward,
    relu,
    relu_backward,
    silu,
    silu_backward,
    softmax,
    softmax_backward,
)
from numpylm.nn.gated_mlp import GatedMLP
from numpylm.nn.grouped_query_attention import GroupedQueryAttention
from numpylm.nn.layers import Dropout, Embedding, LayerNorm, Linear, RMSNorm
from numpylm.nn.llama_block import LlamaBlock
from numpylm.nn.mixture_of_experts import MixtureOfExperts
from numpylm.nn.module import Module, Parameter
from numpylm.nn.optim import AdamW, clip_grad_norm, warmup_cosine
from numpylm.nn.positions import Rotary, sinusoidal
from numpylm.nn.self_and_cross_attention import CrossAttention, SelfAttention
from numpylm.system.processor import keep_memory
from numpylm.text.char_tokenizer import CharTokenizer
from numpylm.text.token_view import show_tokens
from numpylm.text.tokenizer import Tokenizer
from numpylm.text.wordpiece import WordPiece
from numpylm.training.diagnose import diagnose
from numpylm.training.parallel import DataParallel

# models/gpt.py contains only the model. Functions that use a trained model are in other packages. Here they become
# methods, so that gpt.generate(...) and GPT.from_pretrained(...) work.
GPT.generate = Llama.generate = generate
GPT.generate_batch = Llama.generate_batch = generate_batch
GPT.log_prob = Llama.log_prob = log_prob
GPT.rank = Llama.rank = rank
GPT.from_pretrained = classmethod(load_gpt2)
GPT.save_pretrained = save_gpt2
Llama.from_pretrained = classmethod(llama_from_pretrained)
Llama.save_pretrained = save_llama
Bert.classify = classify
Bert.from_pretrained = classmethod(bert_from_pretrained)
Bert.save_pretrained = save_bert
Transformer.translate = translate
Transformer.from_pretrained = classmethod(transformer_from_pretrained)
Transformer.save_pretrained = save_marian
Whisper.transcribe = transcribe
SpeechCTC.recognize = Whisper.recognize = recognize
SpeechCTC.from_pretrained = classmethod(speech_ctc_from_pretrained)
Whisper.from_pretrained = classmethod(whisper_from_pretrained)
Whisper.save_pretrained = save_whisper
Tokenizer.from_pretrained = classmethod(tokenizer_from_pretrained)

__all__ = [
    "GPT",
    "MLP",
    "AdamW",
    "Bert",
    "BertConfig",
    "Block",
    "CausalSelfAttention",
    "CharTokenizer",
    "Conv1d",
    "CrossAttention",
    "DataParallel",
    "DecoderBlock",
    "Dropout",
    "Embedding",
    "EncoderBlock",
    "GPTConfig",
    "GatedMLP",
    "GroupedQueryAttention",
    "LayerNorm",
    "Linear",
    "Llama",
    "LlamaBlock",
    "LlamaConfig",
    "MixtureOfExperts",
    "Module",
    "Parameter",
    "RMSNorm",
    "Rotary",
    "SelfAttention",
    "SpeechCTC",
    "SpeechCTCConfig",
    "Tokenizer",
    "Transformer",
    "TransformerConfig",
    "Whisper",
    "WhisperConfig",
    "WordPiece",
    "__version__",
    "check_clipping",
    "check_optimizer",
    "clip_grad_norm",
    "cross_entropy",
    "cross_entropy_backward",
    "ctc_loss",
    "ctc_loss_backward",
    "diagnose",
    "gelu",
    "gelu_backward",
    "gradcheck",
    "keep_memory",
    "load_model",
    "relu",
    "relu_backward",
    "scaled_dot_product_attention",
    "scaled_dot_product_attention_backward",
    "show_tokens",
    "silu",
    "silu_backward",
    "sinusoidal",
    "softmax",
    "softmax_backward",
    "warmup_cosine",
]
